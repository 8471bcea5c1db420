"""A sink that works on instances while they arrive: what it is shown, and when it is not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from support.ct import CtStudy, dataset_of
from support.dicom_peer import SECONDS, Peer, data, store_rq

from node.dicom.glance import GLANCE_BYTES
from node.dicom.received import Arriving, Status
from node.dicom.scp import ReceivedInstance, ScpSettings, StorageScp
from node.dicom.upper_layer.intake import LOOK_BYTES
from node.log import make_logger

CT = dataset_of(next(CtStudy(1, rows=1200).files()))


class Shown:
    """What has been shown of one instance. Keeps the views, as a thread would that is still at work."""

    def __init__(self, beginning: memoryview) -> None:
        self.views = [beginning]
        self.told = asyncio.Event()

    def more(self, dataset: memoryview) -> None:
        self.views.append(dataset)
        self.told.set()


class Sink:
    def __init__(self) -> None:
        self.begun: list[Shown] = []
        self.stored: list[tuple[bytes, Arriving | None]] = []
        self.looks = True
        self.has_begun = asyncio.Event()

    def begin(self, received: ReceivedInstance) -> Arriving | None:
        shown = Shown(received.dataset)
        self.begun.append(shown)
        self.has_begun.set()
        return shown if self.looks else None

    async def store(self, received: ReceivedInstance) -> None:
        await asyncio.sleep(0)
        self.stored.append((bytes(received.dataset), received.arriving))


@pytest.fixture
def sink() -> Sink:
    return Sink()


@contextlib.asynccontextmanager
async def connected(sink: Sink) -> AsyncIterator[Peer]:
    settings = ScpSettings("127.0.0.1", 0)
    async with StorageScp(settings, sink, make_logger(level="ERROR")) as scp, Peer.connect(scp.address) as peer:
        await peer.associate()
        yield peer


async def test_is_shown_what_has_arrived_each_quarter_mebibyte(sink: Sink) -> None:
    async with connected(sink) as peer:
        for number in (1, 2):
            assert (await peer.store(CT, f"1.2.{number}", number)).status == Status.SUCCESS
    assert [stored for stored, _ in sink.stored] == [CT, CT]
    assert [arriving for _, arriving in sink.stored] == sink.begun
    for shown in sink.begun:
        sizes = [len(view) for view in shown.views]
        assert sizes[0] >= GLANCE_BYTES
        assert sizes == sorted(sizes)
        assert [size // LOOK_BYTES for size in sizes[1:]] == list(range(1, len(CT) // LOOK_BYTES + 1))
        assert all(
            view == CT[: len(view)] for view in shown.views
        )  # though the memory grew meanwhile, and is used again


async def test_small_ones_and_those_of_no_interest_are_not_shown(sink: Sink) -> None:
    sink.looks = False
    async with connected(sink) as peer:
        await peer.store(CT[: GLANCE_BYTES - 2])
        assert sink.begun == []
        await peer.store(CT)
    assert [len(shown.views) for shown in sink.begun] == [1]
    assert [arriving for _, arriving in sink.stored] == [None, None]


async def test_what_never_becomes_complete_is_not_stored(sink: Sink) -> None:
    async with connected(sink) as peer:
        await peer.send(store_rq() + data(CT)[: len(CT) // 2])
        async with asyncio.timeout(SECONDS):
            await sink.has_begun.wait()
            await sink.begun[0].told.wait()
    assert sink.stored == []
