"""Where nodes meet: a stranger's join message in the pairing context, and the exchange of cards between peers."""

from collections.abc import Iterable

from aiohttp import web

from node.clock import Clock
from node.errors.trust import TooManyAttempts
from node.peers import limits
from node.peers.buckets import TokenBuckets
from node.peers.ports import PairingDesk, PeerDirectory
from node.peers.server import PAIR_PATH
from node.peers.wire import JSON, bytes_reply, peer_of, read_body

CARD_PATH = "/peer/v1/card"
CARD_TYPE = "application/jose"


def routes(desk: PairingDesk, directory: PeerDirectory, clock: Clock) -> Iterable[web.RouteDef]:
    """POST pair (the guard lets only the pairing context through), GET and POST card."""
    attempts = TokenBuckets(clock, burst=limits.PAIRING_BURST, per_second=limits.PAIRING_PER_SECOND)

    async def pair(request: web.Request) -> web.Response:
        if not attempts.spend(""):
            raise TooManyAttempts
        body = await read_body(request, limit=limits.PAIRING_BYTES)
        return bytes_reply(await desk.redeem(body), content_type=JSON)

    async def show_card(_request: web.Request) -> web.Response:
        return bytes_reply(directory.own_card().encode(), content_type=CARD_TYPE)

    async def exchange_cards(request: web.Request) -> web.Response:
        token = await read_body(request, limit=limits.PAIRING_BYTES)
        await directory.take_card(peer_of(request), token.decode("ascii", "replace"))
        return bytes_reply(directory.own_card().encode(), content_type=CARD_TYPE)

    return [web.post(PAIR_PATH, pair), web.get(CARD_PATH, show_card), web.post(CARD_PATH, exchange_cards)]
