"""Withdrawals between two nodes (docs/protocol/withdrawal.md): a signed notice, answered with a signed word."""

from collections.abc import Iterable
from typing import Protocol

from aiohttp import web

from node.model.ids import PeerId
from node.peers import wire
from node.peers.withdrawal_messages import MAX_WITHDRAWAL_BYTES

WITHDRAWALS = "/peer/v1/withdrawals"


class WithdrawalPort(Protocol):
    """What a recipient does about a withdrawal; texts are compact JWS."""

    async def receive(self, peer: PeerId, token: str) -> str:
        """Obey, or raise why not; the acknowledgement. The same notice again gets the same one."""


def routes(port: WithdrawalPort) -> Iterable[web.RouteDef]:
    """The handlers, for ``PeerServer.add_routes``."""

    async def receive(request: web.Request) -> web.Response:
        token = await wire.read_jws(request, limit=MAX_WITHDRAWAL_BYTES)
        return wire.jws_reply(await port.receive(wire.peer_of(request), token))

    return [web.post(WITHDRAWALS, receive)]
