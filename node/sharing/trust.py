"""The trust list: what operators do to it, and how it reaches TLS, live connections and the other rooms.

The list is kept in memory as the database has it (every change is written first, and seen only once it is durable),
because the TLS handshake and every request ask it. Whoever must act on a change subscribes: the server cuts
connections off, the clients close their sessions, announcements begin or end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import msgspec

from node.clock import Clock
from node.crypto.identity import Identity
from node.crypto.tls import ServerTls
from node.errors.base import LeveretError
from node.errors.trust import AmbiguousPeer, InvalidCard, PeerNotTrusted, UnknownPeer
from node.log import Logger
from node.model.audit import NODE_ACTOR, AuditEvent, AuditType
from node.model.ids import PeerId
from node.model.trust import Address, Card, Peer, PeerPolicy, TrustEvent, TrustState, next_state
from node.peers.ports import TrustListener
from node.sharing.cards import (
    CARD_SECONDS,
    MAX_ADDRESSES,
    RENEW_SECONDS,
    peer_of_card,
    presentable,
    read_card,
    sign_card,
)
from node.store import trust as store
from node.store.audit import append
from node.store.engine import Database, Write

_FLUSH_SECONDS = 60.0  # how often `last_seen` is written
_CLOCK_SLACK = 24 * 3600  # how far two clocks may be apart before a card counts as expired
_SHORTEST_PREFIX = 4  # characters of a PeerId that may stand for the whole

Ending = Callable[[Write, PeerId, str], Awaitable[None]]  # ends what a peer was promised; the last is who revoked it

_AUDIT = {
    TrustEvent.IMPORT: AuditType.PEER_JOINED,
    TrustEvent.REDEEM: AuditType.PEER_JOINED,
    TrustEvent.REDEEM_AUTO: AuditType.PEER_JOINED,
    TrustEvent.CONFIRM: AuditType.PEER_TRUSTED,
    TrustEvent.SUSPEND: AuditType.PEER_SUSPENDED,
    TrustEvent.RESUME: AuditType.PEER_RESUMED,
    TrustEvent.REVOKE: AuditType.PEER_REVOKED,
}


class TrustList:
    """Who may speak to this node (``peers.ports.PeerDirectory``), and the changes to that."""

    def __init__(self, *, db: Database, identity: Identity, tls: ServerTls, clock: Clock, log: Logger) -> None:
        self._db = db
        self._identity = identity
        self._tls = tls
        self._clock = clock
        self._log = log
        self._peers: dict[PeerId, Peer] = {}
        self._listeners: list[TrustListener] = []
        self._seen_by: list[Callable[[PeerId], None]] = []
        self._endings: list[Ending] = []
        self._hints: Callable[[PeerId], Sequence[Address]] = lambda _peer: ()
        self._unwritten: dict[PeerId, int] = {}
        self._own: store.OwnCardRow | None = None
        self._own_facts: tuple[str, tuple[Address, ...]] = ("unnamed facility", ())

    async def load(self) -> None:
        """Read the list; before the server starts."""
        async with self._db.read() as rx:
            rows = await store.peers(rx)
            self._own = await store.own_card(rx)
        self._peers = {row.peer_id: _peer(row) for row in rows}
        self._refresh_tls()

    async def run(self) -> None:
        """Write down who was seen, and renew this node's card in time, until cancelled."""
        try:
            while True:
                await asyncio.sleep(_FLUSH_SECONDS)
                await self._upkeep()
        finally:
            await self._upkeep()

    # What peers and TLS ask ---------------------------------------------------------------------------------------

    def state_of(self, peer: PeerId) -> TrustState | None:
        """The peer's state; None for a stranger."""
        known = self._peers.get(peer)
        return None if known is None else known.state

    def trusted(self) -> Sequence[PeerId]:
        """All TRUSTED peers."""
        return [p.peer_id for p in self._peers.values() if p.state is TrustState.TRUSTED]

    def certificate_of(self, peer: PeerId) -> bytes:
        """The certificate (DER) to pin; raises UnknownPeer."""
        return self.get(peer).certificate

    def addresses_of(self, peer: PeerId) -> Sequence[Address]:
        """Where to try it: what its card says, then what discovery saw. A wrong one is harmless: TLS pins the key.

        An expired card's addresses stay in use until there are better ones.
        """
        known = self.get(peer).card.addresses
        return [*known, *(hint for hint in self._hints(peer) if hint not in known)]

    def saw(self, peer: PeerId) -> None:
        """The peer proved its identity just now."""
        if peer in self._peers:
            self._unwritten[peer] = self._clock.now()
            for listener in self._seen_by:
                listener(peer)

    def own_card(self) -> str:
        """This node's current card; only after ``publish``."""
        assert self._own is not None, "publish() comes first"
        return self._own.card

    async def take_card(self, peer: PeerId, token: str) -> None:
        """Keep the card that ``peer`` showed if it is newer than the known one.

        Raises:
            InvalidCard: not its card, damaged, expired, or with another certificate than it paired with.
        """
        known = self.get(peer)
        card = read_card(token)
        if card.certificate != known.certificate:
            raise InvalidCard("another certificate")
        if card.expires_at + _CLOCK_SLACK < self._clock.now():
            raise InvalidCard("expired")
        if card.sequence <= known.card.sequence:
            return
        async with self._db.write() as tx:
            if await store.set_card(tx, peer, token, card.sequence):
                tx.after_commit(lambda: self._keep(replace(self._peers[peer], card=card, name=card.name)))

    # What operators and other rooms ask ---------------------------------------------------------------------------

    def peers(self) -> list[Peer]:
        """Everybody ever paired with, by name."""
        return sorted((self.get(p) for p in self._peers), key=lambda p: (p.name.casefold(), p.peer_id.digest))

    def get(self, peer: PeerId) -> Peer:
        """One peer; raises UnknownPeer."""
        if peer not in self._peers:
            raise UnknownPeer(peer.short)
        return replace(self._peers[peer], last_seen=self._unwritten.get(peer, self._peers[peer].last_seen))

    def policy_of(self, peer: PeerId) -> PeerPolicy:
        """What the operator allows the peer; raises UnknownPeer."""
        return self.get(peer).policy

    def require_trusted(self, peer: PeerId) -> Peer:
        """One TRUSTED peer; raises UnknownPeer or PeerNotTrusted."""
        known = self.get(peer)
        if known.state is not TrustState.TRUSTED:
            raise PeerNotTrusted(known.state.value)
        return known

    def find(self, text: str) -> PeerId:
        """The peer that an operator means: a PeerId, its first characters, or the facility's name.

        Raises:
            UnknownPeer: nobody is called that. AmbiguousPeer: several are.
        """
        wanted = "".join(text.split())
        compact = wanted.replace("-", "").upper().translate(str.maketrans("018", "OIB"))  # as PeerId.parse reads
        by_id = [p for p in self._peers if len(compact) >= _SHORTEST_PREFIX and p.compact.startswith(compact)]
        by_name = [p.peer_id for p in self._peers.values() if "".join(p.name.split()).casefold() == wanted.casefold()]
        found = by_id or by_name
        if not found:
            raise UnknownPeer
        if len(found) > 1:
            raise AmbiguousPeer(f"{len(found)} peers")
        return found[0]

    def subscribe(self, listener: TrustListener) -> None:
        """Tell ``listener`` of every change from now on, after it is durable."""
        self._listeners.append(listener)

    def on_seen(self, callback: Callable[[PeerId], None]) -> None:
        """Call ``callback`` whenever a peer proves its identity."""
        self._seen_by.append(callback)

    def on_revoked(self, ending: Ending) -> None:
        """Run ``ending`` in the transaction that revokes a peer: what it was promised ends with the trust."""
        self._endings.append(ending)

    def use_hints(self, hints: Callable[[PeerId], Sequence[Address]]) -> None:
        """Ask ``hints`` (discovery) for further addresses of a peer."""
        self._hints = hints

    async def confirm(self, peer: PeerId, *, actor: str = NODE_ACTOR) -> Peer:
        """Trust a PENDING peer; its safety phrase has been compared."""
        return await self._change(peer, TrustEvent.CONFIRM, actor)

    async def suspend(self, peer: PeerId, *, actor: str = NODE_ACTOR) -> Peer:
        """Shut a TRUSTED peer out for now; its live connections end at once."""
        return await self._change(peer, TrustEvent.SUSPEND, actor)

    async def resume(self, peer: PeerId, *, actor: str = NODE_ACTOR) -> Peer:
        """Let a SUSPENDED peer in again."""
        return await self._change(peer, TrustEvent.RESUME, actor)

    async def revoke(self, peer: PeerId, *, actor: str = NODE_ACTOR) -> Peer:
        """Shut a peer out for good; its live connections, open releases and requests in review end at once."""
        return await self._change(peer, TrustEvent.REVOKE, actor)

    async def set_policy(self, peer: PeerId, settings: Mapping[str, str], *, actor: str = NODE_ACTOR) -> Peer:
        """Change what the peer is allowed, from ``key=value`` as typed; raises InvalidPolicy, UnknownPeer."""
        async with self._db.write() as tx:
            row = await self._row(tx, peer)
            policy = row.policy.changed(settings)
            await store.set_policy(tx, peer, policy)
            detail = {key: str(getattr(policy, key)).lower() for key in settings}
            await append(tx, self._event(AuditType.PEER_POLICY_CHANGED, peer, actor, detail))
            tx.after_commit(lambda: self._keep(replace(self._peers[peer], policy=policy)))
        return self.get(peer)

    async def publish(self, name: str, addresses: Sequence[Address]) -> None:
        """Say who and where this node is: makes a new card if that changed, or the old one is half through its life."""
        self._own_facts = (presentable(name), tuple(addresses[:MAX_ADDRESSES]))
        facts = msgspec.json.encode([self._own_facts[0], [str(a) for a in self._own_facts[1]]])
        now = self._clock.now()
        if self._own is not None and self._own.facts == facts and self._own.expires_at - now > RENEW_SECONDS:
            return
        sequence = self._own.sequence + 1 if self._own is not None else 1
        card = Card(self._identity.certificate, *self._own_facts, sequence, now, now + CARD_SECONDS)
        row = store.OwnCardRow(sequence, card.expires_at, facts, sign_card(self._identity, card))
        async with self._db.write() as tx:
            await store.put_own_card(tx, row)
        self._own = row

    async def _upkeep(self) -> None:
        try:
            await self.flush()
            await self.publish(*self._own_facts)
        except LeveretError as error:  # a full disk must not stop the node; there is a next time
            self._log.warning("trust list not written", component="trust", code=error.code)

    async def flush(self) -> None:
        """Write down who was seen since the last time."""
        seen, self._unwritten = self._unwritten, {}
        if not seen:
            return
        for peer, at in seen.items():
            if peer in self._peers:
                self._peers[peer] = replace(self._peers[peer], last_seen=at)
        async with self._db.write() as tx:
            await store.set_last_seen(tx, seen)

    # What pairing does --------------------------------------------------------------------------------------------

    async def enter(self, tx: Write, token: str, event: TrustEvent, phrase: str, actor: str) -> TrustState:
        """Enter the node of a verified card into the list, or change its state, within the caller's transaction.

        Raises:
            IllegalTrustChange: not in its present state.
        """
        card = read_card(token)
        peer = peer_of_card(card)
        known = await store.peer(tx, peer)
        state = next_state(known.state if known else None, event)
        if known is not None and read_card(known.card).sequence > card.sequence:
            token, card = known.card, read_card(known.card)
        since = known.since if known is not None and known.state is state else self._clock.now()
        row = store.PeerRow(peer, state, since, card.certificate, phrase, token)
        if known is not None:
            row = replace(row, last_seen=known.last_seen, policy=known.policy)
        await store.put_peer(tx, row, card.sequence)
        await append(tx, self._event(_AUDIT[event], peer, actor, {"state": state.value, "by": event.value}))
        tx.after_commit(lambda: self._changed(_peer(row)))
        return state

    async def _change(self, peer: PeerId, event: TrustEvent, actor: str) -> Peer:
        async with self._db.write() as tx:
            row = await self._row(tx, peer)
            state = next_state(row.state, event)
            if state is not row.state:
                since = self._clock.now()
                await store.set_state(tx, peer, state, since)
                await append(tx, self._event(_AUDIT[event], peer, actor, {"state": state.value}))
                tx.after_commit(lambda: self._changed(replace(self._peers[peer], state=state, since=since)))
                for ending in self._endings if state is TrustState.REVOKED else ():
                    await ending(tx, peer, actor)
        return self.get(peer)

    async def _row(self, tx: Write, peer: PeerId) -> store.PeerRow:
        row = await store.peer(tx, peer)
        if row is None:
            raise UnknownPeer(peer.short)
        return row

    def _event(self, kind: AuditType, peer: PeerId, actor: str, detail: Mapping[str, str]) -> AuditEvent:
        return AuditEvent(type=kind, at=self._clock.now(), actor=actor, peer=peer, detail=detail)

    def _changed(self, peer: Peer) -> None:
        """Durable: now TLS, then whoever holds something of the peer's."""
        self._keep(peer)
        self._refresh_tls()
        self._log.info("trust changed", peer=peer.peer_id.log, state=peer.state.value)
        for listener in self._listeners:
            listener.trust_changed(peer.peer_id, peer.state)

    def _keep(self, peer: Peer) -> None:
        self._peers[peer.peer_id] = peer

    def _refresh_tls(self) -> None:
        self._tls.set_trust([p.certificate for p in self._peers.values() if p.state is TrustState.TRUSTED])


def _peer(row: store.PeerRow) -> Peer:
    card = read_card(row.card)
    return Peer(
        peer_id=row.peer_id,
        name=card.name,
        state=row.state,
        since=row.since,
        certificate=row.certificate,
        safety_phrase=row.safety_phrase,
        card=card,
        policy=row.policy,
        last_seen=row.last_seen,
    )
