"""A node as far as trust goes: real index, real TLS, pairing and presence; no studies."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from node.crypto.identity import Identity
from node.model.audit import AuditType
from node.model.trust import TrustState
from node.peers.handlers_pairing import routes
from node.peers.interfaces import own_addresses
from node.peers.presence import Presence
from node.sharing.pairing import Pairing
from node.store.engine import Database
from support.clocks import MovedClock
from support.peered import Peered
from support.tasks import in_background


class TrustNode(Peered):
    """Everything wired as the composition root does it."""

    def __init__(self, name: str, db: Database, identity: Identity) -> None:
        self.clock = MovedClock()
        super().__init__(name, db, identity, self.clock)
        self.presence = Presence(
            clients=self.clients, directory=self.trust, clock=self.clock, metrics=self.metrics, log=self.log
        )
        self.pairing = Pairing(
            db=db,
            identity=identity,
            trust=self.trust,
            clients=self.clients,
            tls=self.tls,
            clock=self.clock,
            log=self.log,
            name=lambda: name,
        )
        self.server.add_routes(routes(self.pairing, self.trust, self.clock))
        self.trust.subscribe(self.presence)
        self.trust.on_seen(self.presence.seen)

    def state_of(self, other: "TrustNode") -> TrustState | None:
        return self.trust.state_of(other.peer_id)

    def phrase_with(self, other: "TrustNode") -> str:
        return self.trust.get(other.peer_id).safety_phrase

    async def audited(self) -> list[AuditType]:
        """The log's event types, oldest first."""
        return [event.type for event in await self.events()]


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
