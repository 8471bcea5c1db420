"""A peer in a process of its own that streams zeroes: ``python -m support.torrent OWN_SEED TRUSTED_SEED`` (hex)."""

import asyncio
import sys

from aiohttp import web

from node.crypto.identity import Identity
from node.model.trust import TrustState
from node.peers import limits
from node.peers.wire import stream_reply
from support.peer_node import PeerNode, serving


async def torrent(request: web.Request) -> web.StreamResponse:
    piece = bytes(limits.PIECE_BYTES)
    async with stream_reply(request) as out:
        for _ in range(int(request.query["pieces"])):
            await out.write(piece)
    return out.response


async def main(own: str, trusted: str) -> None:
    node = PeerNode(routes=[web.get("/torrent", torrent)], identity=Identity.from_seed(bytes.fromhex(own)))
    node.directory.put(Identity.from_seed(bytes.fromhex(trusted)), TrustState.TRUSTED)
    async with serving(node, seconds=600):
        print(node.server.address.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the parent closes it


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
