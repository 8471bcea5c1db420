"""The peer transport alone: how fast bytes go from one process to another over mutual TLS, nothing done with them."""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.peer_node import PeerNode
from support.table import Table

from node.crypto.identity import Identity
from node.model.trust import Address, TrustState
from node.peers import limits

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]
PIECES = 4096  # 1 GiB
ROUNDS = 3


async def _pull(node: PeerNode, other: Identity) -> int:
    path = f"/torrent?pieces={PIECES}"
    async with node.clients.get(other.peer_id).stream("GET", path, max_bytes=2**40) as answer:
        async for _piece in answer:
            pass
        return answer.received


@pytest.mark.parametrize("streams", [1, 3])
async def test_streams_over_tls(table: Table, streams: int) -> None:
    ours, theirs = os.urandom(32), os.urandom(32)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "support.torrent", theirs.hex(), ours.hex()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(__file__).parents[n]) for n in (1, 2))},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    node, other = PeerNode(identity=Identity.from_seed(ours)), Identity.from_seed(theirs)
    node.directory.put(other, TrustState.TRUSTED, Address("127.0.0.1", port))
    seconds = []
    async with node.clients:
        for _ in range(ROUNDS):
            started = time.monotonic()
            received = sum(await asyncio.gather(*(_pull(node, other) for _ in range(streams))))
            seconds.append(time.monotonic() - started)
            assert received == streams * PIECES * limits.PIECE_BYTES
    process.stdin.close()
    assert await process.wait() == 0
    table.row(f"peer stream over TLS, {streams} at once", received, statistics.median(seconds), streams * PIECES)
