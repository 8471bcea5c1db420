"""What every node of the tests has that meets others: a trust list in its index, and TLS at both ends."""

import io

from node.clock import Clock
from node.crypto.identity import Identity
from node.crypto.tls import ServerTls
from node.log import make_logger
from node.metrics import Metrics
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PeerId
from node.model.trust import Address
from node.peers.client import PeerClients
from node.peers.server import PeerServer
from node.sharing.trust import TrustList
from node.store import audit
from node.store.engine import Database


class Peered:
    """Wired as the composition root does it; nothing listens yet, and no routes are there."""

    def __init__(self, name: str, db: Database, identity: Identity, clock: Clock, *, port: int = 0) -> None:
        self.name, self.db, self.identity = name, db, identity
        self.metrics, self.logged = Metrics(), io.StringIO()
        self.log = make_logger(self.logged)
        self.tls = ServerTls(identity)
        self.trust = TrustList(db=db, identity=identity, tls=self.tls, clock=clock, log=self.log)
        self.clients = PeerClients(identity=identity, directory=self.trust, log=self.log)
        self.server = PeerServer(
            listen=Address("127.0.0.1", port),
            tls=self.tls,
            directory=self.trust,
            clock=clock,
            log=self.log,
            metrics=self.metrics,
        )
        self.trust.subscribe(self.server)
        self.trust.subscribe(self.clients)

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    async def events(self, *kinds: AuditType) -> list[AuditEvent]:
        """The log's events of these types (all of them if none is named), oldest first."""
        async with self.db.read() as rx:
            rows = await audit.page(rx, before=None, limit=1000, types=kinds)
        return [row.event for row in reversed(rows)]
