"""Peers that ask for much and read little: what they can make this node hold is bounded for each of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
from aiohttp import web
from support.ct import CtStudy
from support.peer_node import PeerNode, serving
from support.sharing_node import ACTOR, SharingNode, befriend, sharing_node
from support.torrent import torrent

from node.errors.sharing import TooManyStreams
from node.model.ids import PeerId, RequestId
from node.model.transfer import TransferState
from node.peers import limits
from node.peers.handlers_requests import routes
from node.sharing.serve import MAX_STREAMS

MANIFEST = b"GET /peer/v1/requests/00000000000000000000000000000001/manifest HTTP/1.1\r\nHost: x\r\n\r\n"


class Manifests:
    """A holder of one large manifest."""

    def __init__(self) -> None:
        self.asked = 0
        self.token = "x" * (16 << 20)

    async def manifest(self, peer: PeerId, request_id: RequestId) -> str:
        del peer, request_id
        self.asked += 1
        return self.token


@pytest.fixture
async def holder() -> AsyncIterator[tuple[Manifests, PeerNode, PeerNode]]:
    manifests = Manifests()
    paths = [web.get("/torrent", torrent), *routes(manifests, None)]  # type: ignore[arg-type]  # one route is played
    north, lake = PeerNode(routes=paths), PeerNode()
    async with serving(north, lake):
        north.trusts(lake)
        lake.trusts(north)
        yield manifests, north, lake


async def test_a_peer_that_hardly_reads_is_cut(holder: tuple[Manifests, PeerNode, PeerNode]) -> None:
    _, north, lake = holder
    with patch.object(limits, "GRACE_SECONDS", 0.2), patch.object(limits, "LEAST_WRITE_RATE", 10**9):
        reader, writer = await lake.connect(north)
        writer.write(b"GET /torrent?pieces=1000 HTTP/1.1\r\nHost: x\r\n\r\n")
        read = await _read_slowly(reader)
        assert 0 < read < 1000 * limits.PIECE_BYTES
        writer.transport.abort()


async def _read_slowly(reader: asyncio.StreamReader) -> int:
    """How many bytes come until the connection ends."""
    read = 0
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(64 * 1024):
            read += len(piece)
            await asyncio.sleep(0.01)
    return read


async def test_large_answers_that_are_not_read_are_held_once(holder: tuple[Manifests, PeerNode, PeerNode]) -> None:
    manifests, north, lake = holder
    connections = [await lake.connect(north) for _ in range(6)]
    for _, writer in connections:
        writer.write(MANIFEST)
    await _settled(manifests)
    assert manifests.asked == 1, "the others wait with nothing in memory"
    for reader, writer in connections:
        if await _has_begun(reader):
            writer.transport.abort()
    await _settled(manifests)
    assert manifests.asked == 2, "the next one's turn has come"
    for _, writer in connections:
        writer.transport.abort()


async def _settled(manifests: Manifests) -> None:
    async with asyncio.timeout(10):
        before = -1
        while not manifests.asked or manifests.asked != before:
            before = manifests.asked
            await asyncio.sleep(0.3)


async def _has_begun(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.1):
            return bool(await reader.read(1))
    except TimeoutError:
        return False


async def test_streams_are_counted_over_all_releases_to_a_peer(tmp_path: Path) -> None:
    study = CtStudy(instances=2, rows=16)
    north_node = sharing_node("north", tmp_path)
    async with north_node as north, sharing_node("lake", tmp_path) as lake, AsyncExitStack() as streams:
        await befriend(north, lake)
        await north.hold(study)
        await north.trust.set_policy(lake.peer_id, {"max_rate": "1"})  # so that both transfers last
        released = []
        for _ in range(2):
            code = await north.code_for(study)
            released.append(await lake.requests.ask(lake.order(north, study, code), by=ACTOR))
        async with asyncio.timeout(15):
            for one in released:
                await _begun(lake, one)
        opened = 0
        with contextlib.suppress(TooManyStreams):
            while opened <= MAX_STREAMS:  # lake's own come on top
                await streams.enter_async_context(north.objects.open(lake.peer_id, released[opened % 2], [0]))
                opened += 1
        assert 0 < opened <= MAX_STREAMS


async def _begun(lake: SharingNode, request_id: RequestId) -> None:
    async for view in lake.requests.follow(request_id):
        if view.transfer.state is TransferState.TRANSFERRING:
            return
