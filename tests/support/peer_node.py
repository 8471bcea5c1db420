"""A node's peer transport alone, with a trust list that tests move by hand."""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from node.clock import SystemClock
from node.crypto.identity import Identity
from node.crypto.tls import ServerTls, client_context
from node.errors.trust import UnknownPeer
from node.log import make_logger
from node.metrics import Metrics
from node.model.ids import PeerId
from node.model.trust import Address, TrustState
from node.peers.client import PeerClients
from node.peers.server import PeerServer

LOOPBACK = Address("127.0.0.1", 0)


class HandDirectory:
    """``ports.PeerDirectory`` without a database."""

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self.states: dict[PeerId, TrustState] = {}
        self.certificates: dict[PeerId, bytes] = {}
        self.addresses: dict[PeerId, list[Address]] = {}
        self.seen: list[PeerId] = []

    def put(self, identity: Identity, state: TrustState, *addresses: Address) -> None:
        self.states[identity.peer_id] = state
        self.certificates[identity.peer_id] = identity.certificate
        self.addresses[identity.peer_id] = list(addresses)
        self._tls.set_trust([self.certificates[p] for p in self.trusted()])

    def state_of(self, peer: PeerId) -> TrustState | None:
        return self.states.get(peer)

    def trusted(self) -> Sequence[PeerId]:
        return [p for p, s in self.states.items() if s is TrustState.TRUSTED]

    def certificate_of(self, peer: PeerId) -> bytes:
        if peer not in self.certificates:
            raise UnknownPeer
        return self.certificates[peer]

    def addresses_of(self, peer: PeerId) -> Sequence[Address]:
        return self.addresses.get(peer, [])

    def saw(self, peer: PeerId) -> None:
        self.seen.append(peer)

    def own_card(self) -> str:
        return "card"

    async def take_card(self, peer: PeerId, token: str) -> None:
        raise AssertionError((peer, token))


class PeerNode:
    """Server and clients of one identity."""

    def __init__(
        self,
        *,
        routes: Iterable[web.RouteDef] = (),
        listen: Address = LOOPBACK,
        identity: Identity | None = None,
    ) -> None:
        self.identity = identity or Identity.generate()
        self.tls = ServerTls(self.identity)
        self.directory = HandDirectory(self.tls)
        self.metrics = Metrics()
        self.logged = io.StringIO()
        log = make_logger(self.logged)
        self.server = PeerServer(
            listen=listen,
            tls=self.tls,
            directory=self.directory,
            clock=SystemClock(),
            log=log,
            metrics=self.metrics,
        )
        self.server.add_routes(routes)
        self.clients = PeerClients(identity=self.identity, directory=self.directory, log=log)

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    def trusts(self, other: "PeerNode", state: TrustState = TrustState.TRUSTED) -> None:
        """Put ``other`` on the list and tell whoever must know."""
        self.directory.put(other.identity, state, other.server.address)
        self.server.trust_changed(other.peer_id, state)
        self.clients.trust_changed(other.peer_id, state)

    def handshakes(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("leveret_peer_handshakes_total", {"outcome": outcome}) or 0.0

    async def connect(self, other: "PeerNode") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A raw TLS connection to ``other`` as this node."""
        context = client_context(self.identity, other.identity.certificate)
        return await raw_connect(other.server.address, context)


async def raw_connect(
    address: Address, context: ssl.SSLContext | None, server_name: str = "node.invalid"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        address.host, address.port, ssl=context, server_hostname=server_name if context else None
    )


@asynccontextmanager
async def serving(*nodes: PeerNode, seconds: float = 60) -> AsyncIterator[None]:
    """All of them listen, for ``seconds`` at most."""
    async with asyncio.timeout(seconds):
        for node in nodes:
            await node.server.__aenter__()
        try:
            yield
        finally:
            for node in nodes:
                await node.clients.__aexit__(None, None, None)
            for node in nodes:
                await node.server.__aexit__(None, None, None)
