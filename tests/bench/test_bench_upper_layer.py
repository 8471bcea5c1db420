"""C-STORE from dcmtk's storescu, data dropped: what the protocol alone costs, beside pynetdicom, in one run."""

import asyncio
import contextlib
import io
import socket
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, evt
from support.ct import CtStudy
from support.peers import NODELAY
from support.table import Table

from node.dicom.received import ReceivedInstance
from node.dicom.upper_layer.codes import Rejection
from node.dicom.upper_layer.operation import Operation
from node.dicom.upper_layer.pdu import AssociateRq
from node.dicom.upper_layer.server import Listener, ListenerSettings
from node.dicom.upper_layer.service import Admission, Outcome
from node.log import make_logger

pytestmark = [pytest.mark.bench, pytest.mark.peers, pytest.mark.timeout(900)]
INSTANCES = 400
ROUNDS = 5


class Drop:
    """Says success and forgets."""

    streams = False

    def admit(self, request: AssociateRq, address: str) -> Rejection | Admission:  # noqa: ARG002 - the protocol names it
        return Admission()

    async def operate(self, operation: Operation, dataset: bytes) -> Outcome:
        raise NotImplementedError

    def begin(self, received: ReceivedInstance) -> None:
        """Nothing is done before the end."""

    async def store(self, received: ReceivedInstance) -> Outcome:  # noqa: ARG002 - the protocol names it
        return Outcome(0)

    async def store_stream(self, received: ReceivedInstance, rest: AsyncIterator[bytes]) -> Outcome:
        raise NotImplementedError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ct")
    for path in CtStudy(instances=INSTANCES).write(made):
        path.read_bytes()
    return made


async def send(port: int, folder: Path, associations: int = 1) -> float:
    """Seconds until every storescu has ended, its start included."""
    started = time.perf_counter()
    command = ("storescu", "--scan-directories", "127.0.0.1", str(port), str(folder))
    senders = [await asyncio.create_subprocess_exec(*command, env=NODELAY) for _ in range(associations)]
    assert [await sender.wait() for sender in senders] == [0] * associations
    return time.perf_counter() - started


def report(table: Table, what: str, folder: Path, seconds: list[float], cpu: float, *, associations: int = 1) -> None:
    """The median round; the first is a warm-up and not counted."""
    size = associations * sum(path.stat().st_size for path in folder.iterdir())
    counted = seconds[1:]
    spread = f"{size / max(counted) / 1e6:.0f}-{size / min(counted) / 1e6:.0f}"
    table.row(f"{what} ({spread})", size, statistics.median(counted), associations * INSTANCES)
    print(f"    CPU seconds of the receiver a GB: {cpu / (size * len(seconds) / 1e9):.2f}")


@pytest.mark.parametrize(("max_pdu", "associations"), [(16384, 1), (131072, 1), (262144, 1), (0, 1), (262144, 2)])
async def test_receiving(max_pdu: int, associations: int, folder: Path, table: Table) -> None:
    settings = ListenerSettings("127.0.0.1", 0, max_pdu=max_pdu)
    async with Listener(settings, Drop(), make_logger(io.StringIO())) as listener:
        cpu = time.process_time()
        seconds = [await send(listener.address[1], folder, associations) for _ in range(1 + ROUNDS)]
        cpu = time.process_time() - cpu
    report(table, f"receive, PDU {max_pdu}, {associations} at a time", folder, seconds, cpu, associations=associations)


@contextlib.contextmanager
def pynetdicom(max_pdu: int) -> Iterator[int]:
    ae = AE()
    ae.maximum_pdu_size = max_pdu
    ae.supported_contexts = AllStoragePresentationContexts
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)])
    assert server is not None
    server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@pytest.mark.parametrize("max_pdu", [16382, 0])
async def test_pynetdicom(max_pdu: int, folder: Path, table: Table) -> None:
    with pynetdicom(max_pdu) as port:
        cpu = time.process_time()
        seconds = [await send(port, folder) for _ in range(1 + ROUNDS)]
        cpu = time.process_time() - cpu
    report(table, f"receive, pynetdicom, PDU {max_pdu}", folder, seconds, cpu)
