"""A node as far as trust goes: real index, real TLS, pairing and presence; no studies."""

import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

from node.crypto.identity import Identity
from node.crypto.tls import ServerTls
from node.log import make_logger
from node.metrics import Metrics
from node.model.audit import AuditType
from node.model.ids import PeerId
from node.model.trust import Address, TrustState
from node.peers.client import PeerClients
from node.peers.handlers_pairing import routes
from node.peers.interfaces import own_addresses
from node.peers.presence import Presence
from node.peers.server import PeerServer
from node.sharing.pairing import Pairing
from node.sharing.trust import TrustList
from node.store import audit
from node.store.engine import Database
from support.clocks import MovedClock
from support.tasks import in_background


class TrustNode:
    """Everything wired as the composition root does it."""

    def __init__(self, name: str, db: Database, identity: Identity) -> None:
        self.name = name
        self.db = db
        self.identity = identity
        self.clock = MovedClock()
        self.metrics = Metrics()
        self.logged = io.StringIO()
        log = make_logger(self.logged)
        self.tls = ServerTls(identity)
        self.trust = TrustList(db=db, identity=identity, tls=self.tls, clock=self.clock, log=log)
        self.clients = PeerClients(identity=identity, directory=self.trust, log=log)
        self.presence = Presence(clients=self.clients, directory=self.trust, clock=self.clock, metrics=self.metrics)
        self.pairing = Pairing(
            db=db,
            identity=identity,
            trust=self.trust,
            clients=self.clients,
            tls=self.tls,
            clock=self.clock,
            log=log,
            name=lambda: name,
        )
        self.server = PeerServer(
            listen=Address("127.0.0.1", 0),
            tls=self.tls,
            directory=self.trust,
            clock=self.clock,
            log=log,
            metrics=self.metrics,
        )
        self.server.add_routes(routes(self.pairing, self.trust, self.clock))
        for listener in (self.server, self.clients, self.presence):
            self.trust.subscribe(listener)
        self.trust.on_seen(self.presence.seen)

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    def state_of(self, other: "TrustNode") -> TrustState | None:
        return self.trust.state_of(other.peer_id)

    def phrase_with(self, other: "TrustNode") -> str:
        return self.trust.get(other.peer_id).safety_phrase

    async def audited(self) -> list[AuditType]:
        """The log's event types, oldest first."""
        async with self.db.read() as rx:
            return [row.event.type for row in reversed(await audit.page(rx, before=None, limit=1000))]


@contextlib.asynccontextmanager
async def trust_node(
    name: str, directory: Path, *, identity: Identity | None = None, presence: bool = True
) -> AsyncIterator[TrustNode]:
    """A running node whose index lies in ``directory``."""
    async with await Database.open(directory / f"{name}.db", b"k" * 32) as db:
        node = TrustNode(name, db, identity or Identity.generate())
        await node.trust.load()
        async with node.clients, node.server:
            await node.trust.publish(name, own_addresses(node.server.address))
            work = [node.trust.run(), node.pairing.run(), *([node.presence.run()] if presence else [])]
            async with in_background(*work):
                yield node
