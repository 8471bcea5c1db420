"""A data set that is larger than memory may hold, from storescu through a whole node and back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from support.dicom_peer import Peer, p_data, store_rq
from support.large import write_large
from support.peers import storescu
from support.running import running

from node.dicom.received import ReceivedInstance
from node.dicom.upper_layer.intake import SPOOL_FROM_BYTES
from node.sharing.ingest import Ingest
from node.store.objects import PACKS_FOLDER

pytestmark = [pytest.mark.peers]
ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'


async def test_a_streamed_instance_is_kept_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streamed: list[str] = []
    ended = asyncio.Event()
    store_stream = Ingest.store_stream

    async def watched(self: Ingest, received: ReceivedInstance, rest: AsyncIterator[bytes]) -> None:
        streamed.append(received.calling_ae)
        try:
            await store_stream(self, received, rest)
        finally:
            ended.set()

    monkeypatch.setattr(Ingest, "store_stream", watched)
    study, sent = await asyncio.to_thread(write_large, tmp_path / "big", 12)
    async with running(tmp_path / "north") as node:
        host, port = str(node.node.addresses["dicom"]).rsplit(":", 1)
        cut = SPOOL_FROM_BYTES + 8_000_000
        async with Peer.connect((host, int(port))) as peer:  # breaks off when a stream has begun
            await peer.associate()
            await peer.send(store_rq(study.sop_uid(1)))
            for at in range(0, cut, 200_000):
                await peer.send(p_data((1, 0, sent[at : at + 200_000])))
        async with asyncio.timeout(10):
            await ended.wait()
        assert (await node.done("GET", "/status"))["instances"] == 0
        assert await asyncio.to_thread(packs, tmp_path) == []
        for _ in range(2):  # the second time it is held already
            await asyncio.to_thread(storescu, int(port), tmp_path / "big")
        assert (await node.done("GET", "/status"))["instances"] == 1
        assert streamed == ["RAW", "STORESCU", "STORESCU"]
        headers = {"Authorization": f"Bearer {await node.token('clinician')}", "Accept": ACCEPT}
        url = f"{node.api}/dicom-web/studies/{study.study_uid}"
        async with ClientSession() as session, session.get(url, headers=headers) as answer:
            body = await answer.read()
        assert sent in body


def packs(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "north").rglob(f"{PACKS_FOLDER}/**/*") if path.is_file()]
