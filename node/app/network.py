"""What speaks to other facilities: TLS, the trust list, calls out, the server, signs of life, discovery."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from node import __version__
from node.clock import Clock
from node.config import Settings
from node.crypto.identity import Identity
from node.crypto.tls import ServerTls
from node.log import Logger
from node.metrics import Metrics
from node.model.trust import Address
from node.peers import handlers_pairing
from node.peers.client import PeerClients
from node.peers.discovery import Discovery, NearbyNode
from node.peers.interfaces import own_addresses
from node.peers.presence import Presence
from node.peers.server import PeerServer
from node.sharing.pairing import Pairing
from node.sharing.trust import TrustList
from node.store.engine import Database


@dataclass(slots=True)
class Network:
    """One node's place among the others."""

    trust: TrustList
    clients: PeerClients
    server: PeerServer
    presence: Presence
    pairing: Pairing
    discovery: Discovery | None = None

    def nearby(self) -> Sequence[NearbyNode]:
        """Who claims to be on the local network."""
        return [] if self.discovery is None else self.discovery.nearby()

    async def listen(
        self, stack: AsyncExitStack, *, settings: Settings, identity: Identity, clock: Clock, log: Logger
    ) -> None:
        """Take the port, say where this node is, and look around; once all routes are registered."""
        await stack.enter_async_context(self.server)
        advertised = tuple(Address.parse(text) for text in settings.peer.advertise)
        await self.trust.publish(settings.node.name, advertised or own_addresses(self.server.address))
        if settings.peer.discovery:
            found = Discovery(
                own=identity.peer_id, listen=self.server.address, version=__version__, clock=clock, log=log
            )
            self.discovery = await stack.enter_async_context(found)
            self.trust.use_hints(found.addresses_of)


async def build_network(
    stack: AsyncExitStack,
    *,
    settings: Settings,
    identity: Identity,
    db: Database,
    clock: Clock,
    metrics: Metrics,
    log: Logger,
) -> Network:
    """Build it; nothing listens yet."""
    tls = ServerTls(identity)
    trust = TrustList(db=db, identity=identity, tls=tls, clock=clock, log=log)
    await trust.load()
    clients = await stack.enter_async_context(PeerClients(identity=identity, directory=trust, log=log))
    server = PeerServer(
        listen=Address.parse(settings.peer.listen, allow_any_port=True),
        tls=tls,
        directory=trust,
        clock=clock,
        log=log,
        metrics=metrics,
    )
    presence = Presence(clients=clients, directory=trust, clock=clock, metrics=metrics, log=log)
    pairing = Pairing(
        db=db,
        identity=identity,
        trust=trust,
        clients=clients,
        tls=tls,
        clock=clock,
        log=log,
        name=lambda: settings.node.name,
    )
    server.add_routes(handlers_pairing.routes(pairing, trust, clock))
    for listener in (server, clients, presence):
        trust.subscribe(listener)
    trust.on_seen(presence.seen)
    return Network(trust, clients, server, presence, pairing)
