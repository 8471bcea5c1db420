"""Witnesses: peers co-sign each other's audit logs, so that no facility can rewrite its own history unseen.

As a **witness** this node remembers, for each peer, the largest head of its log that it has co-signed; it co-signs the
next only if that provably continues the one before, and writes it down first. As an **owner** it shows its new heads to
every peer it can reach. Both look out for the two things that honest logs never do: to shrink, and to fork.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.clock import Clock
from node.crypto.identity import Identity, public_key_of_certificate
from node.crypto.notes import cosign, parse_note, verify_checkpoint, verify_cosignature
from node.crypto.tlog import verify_consistency
from node.errors.audit import NoSuchEvent, WitnessRefused
from node.errors.base import LeveretError
from node.errors.crypto_identity import ProofRejected
from node.errors.peers import RemoteRefusal
from node.errors.sharing import TooManyRequests
from node.log import Logger
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.ids import PeerId, RequestId
from node.model.transfer import Direction
from node.peers import limits
from node.peers.buckets import TokenBuckets
from node.peers.client import PeerClients
from node.peers.handlers_witness import MAX_CHECKPOINT_BYTES, WITNESS, AddCheckpoint, Held, Witness
from node.sharing.audit import incarnation_of, origin_of, origin_of_peer, witness_name
from node.sharing.restored import restart_log
from node.sharing.trust import TrustList
from node.store import audit, audit_tree, restored, transfers
from node.store import witness as rows
from node.store.audit import CheckpointRow, LogPart
from node.store.engine import Database, Write
from node.store.restored import Heard
from node.store.witness import Conflict, Cosigned, Witnessed

ROUND_SECONDS = 3.0  # between two rounds; a change is co-signed within ten seconds
ATTEMPTS = 2  # the second with the size that the witness named
MAX_ANSWER_BYTES = 4096

PutBack = Callable[[Sequence[RequestId]], None]  # ends what is being sent


@dataclass(frozen=True, slots=True)
class WitnessParts:
    """What witnessing works with."""

    db: Database
    identity: Identity
    trust: TrustList
    clients: PeerClients
    clock: Clock
    log: Logger


@dataclass(frozen=True, slots=True)
class _Seen:
    """A head of this node's own log that a witness has co-signed."""

    incarnation: int
    size: int
    root: bytes


class WitnessDesk:
    """Co-signs what peers show (``peers.handlers_witness.WitnessPort``)."""

    def __init__(self, parts: WitnessParts) -> None:
        self._parts = parts
        self._budgets = TokenBuckets(
            parts.clock,
            burst=limits.WITNESS_BURST,
            per_second=limits.WITNESS_PER_SECOND,
            remembered=limits.PEERS_REMEMBERED,
        )

    async def add(self, peer: PeerId, asked: AddCheckpoint) -> Witness:
        """Co-sign the peer's head if it continues the last one.

        Raises:
            MalformedNote, BadSignature: no checkpoint of the peer's own log.
            WitnessRefused: it shrank or forked; the evidence is kept.
            TooManyRequests: not now.
        """
        parts = self._parts
        if not self._budgets.spend(peer.compact):
            raise TooManyRequests
        key = public_key_of_certificate(parts.trust.certificate_of(peer))
        incarnation = incarnation_of(asked.checkpoint, peer)
        given = verify_checkpoint(asked.checkpoint, origin_of_peer(peer, incarnation), key)
        now = parts.clock.now()
        after = Witnessed(peer, incarnation, given.size, given.root, asked.checkpoint, now)
        async with parts.db.write() as tx:
            held = await rows.witnessed(tx, peer)
            before = held if held is not None and held.incarnation == incarnation else None
            kind = "shrank" if held is not None and held.incarnation > incarnation else ""
            kind = kind or ("" if before is None else _contradiction(before, given.size, given.root))
            size = 0 if before is None else before.size
            if not kind and asked.old != size:
                return Witness(size, None)
            if not kind and before is not None and not _continues(before, given.size, given.root, asked.proof):
                kind = "forked"
            if kind:
                assert held is not None, "nothing contradicts nothing"
                await self._accuse(tx, Conflict(peer, kind, held.note, asked.checkpoint, now))
            else:
                if held is not None and before is None:
                    await self._note_restart(tx, held, after)
                await rows.put_witnessed(tx, after)
        if kind:
            raise WitnessRefused(kind)
        text = parse_note(asked.checkpoint).text
        return Witness(given.size, cosign(parts.identity, witness_name(parts.identity.peer_id), text, now))

    async def _note_restart(self, tx: Write, before: Witnessed, after: Witnessed) -> None:
        """The peer says that it was restored: what it logged after ``before`` may be lost, and people should know."""
        if not await rows.add_restart(tx, before, after):
            return
        detail: dict[str, str | int] = {"size": before.size, "incarnation": after.incarnation}
        await audit.append(tx, AuditEvent(AuditType.PEER_LOG_RESTARTED, after.at, peer=after.peer, detail=detail))
        log = self._parts.log
        tx.after_commit(lambda: log.warning("a peer's audit log began anew, after a restore", peer=after.peer.log))

    async def held(self, peer: PeerId) -> Held:
        """What the peer's log was when this node co-signed it last."""
        async with self._parts.db.read() as rx:
            held = await rows.witnessed(rx, peer)
        return Held("" if held is None else held.note)

    async def _accuse(self, tx: Write, conflict: Conflict) -> None:
        if not await rows.add_conflict(tx, conflict):
            return
        event = AuditEvent(
            AuditType.PEER_LOG_CONFLICT,
            conflict.at,
            outcome=Outcome.FAILURE,
            peer=conflict.peer,
            code=WitnessRefused.code,
            detail={"kind": conflict.kind},
        )
        await audit.append(tx, event)
        log = self._parts.log
        tx.after_commit(lambda: log.error("a peer's audit log contradicts itself", peer=conflict.peer.log))


class Witnesses:
    """Shows this node's heads to its peers and keeps what they sign."""

    def __init__(self, parts: WitnessParts) -> None:
        self._parts = parts
        self._accused: set[PeerId] = set()
        self.on_put_back: PutBack = lambda _ended: None

    async def run(self) -> None:
        """Ask every reachable peer about each new head, until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """Once: every trusted peer that has not seen the newest head."""
        try:
            async with self._parts.db.read() as rx:
                part = (await audit.read_edge(rx)).part
                head = await audit.last_checkpoint(rx, part)
                behind = [
                    peer
                    for peer in self._parts.trust.trusted()
                    if head is not None and await rows.cosigned_size(rx, peer, part) < head.size
                ]
        except LeveretError as error:
            self._parts.log.warning("witnesses not asked", component="witness", code=error.code)
            return
        if head is not None and behind:
            await asyncio.gather(*(self._ask_guarded(peer, part, head) for peer in behind))

    async def _ask_guarded(self, peer: PeerId, part: LogPart, head: CheckpointRow) -> None:
        try:
            await self._ask(peer, part, head)
        except RemoteRefusal as refusal:
            if refusal.remote_code == WitnessRefused.code:
                await self._admit(peer, "forked")
            self._parts.log.debug("head not co-signed", peer=peer.log, code=refusal.remote_code)
        except LeveretError as error:
            self._parts.log.debug("head not co-signed", peer=peer.log, code=error.code)

    async def _ask(self, peer: PeerId, part: LogPart, head: CheckpointRow) -> None:
        async with self._parts.db.read() as rx:
            old = await rows.cosigned_size(rx, peer, part)
        for _ in range(ATTEMPTS):
            answer = await self._exchange(peer, part, head, old)
            if answer.line is not None:
                await self._keep(peer, head, answer.line)
                return
            if answer.size > head.size:
                await self._admit(peer, "shrank")
                return
            old = answer.size

    async def _exchange(self, peer: PeerId, part: LogPart, head: CheckpointRow, old: int) -> Witness:
        async with self._parts.db.read() as rx:
            path = await audit_tree.consistency_path(rx, part, old, head.size)
        asked = AddCheckpoint(old, [value.hex() for value in path], head.note)
        client = self._parts.clients.get(peer)
        return await client.call("POST", WITNESS, body=asked, response_type=Witness, max_bytes=MAX_ANSWER_BYTES)

    async def _keep(self, peer: PeerId, head: CheckpointRow, line: str) -> None:
        """Keep a cosignature that verifies; another one is as good as none."""
        key = public_key_of_certificate(self._parts.trust.certificate_of(peer))
        at = verify_cosignature(head.note + line, witness_name(peer), key)
        async with self._parts.db.write() as tx:
            await rows.add_cosignature(tx, Cosigned(peer, head.incarnation, head.size, line, at))

    async def _admit(self, peer: PeerId, kind: str) -> None:
        """A witness contradicts this node's log: its directory was put back to an older state, or was rewritten.

        Only if the witness shows a head that this node signed and that its log does not have: anybody can refuse. Then
        the node is restored, whether anybody said so or not (``store.restored``), and its log goes on in a new tree.
        """
        seen = None if peer in self._accused else await self._seen(peer)
        if seen is None or not await self._against(peer, seen):
            self._parts.log.debug("head not co-signed, and nothing shown against it", peer=peer.log, reason=kind)
            return
        self._accused.add(peer)
        self._parts.log.error("a witness contradicts this node's audit log", peer=peer.log, reason=kind)
        now = self._parts.clock.now()
        detail: dict[str, str | int] = {"kind": kind}
        event = AuditEvent(
            AuditType.OWN_LOG_CONFLICT, now, outcome=Outcome.FAILURE, peer=peer, code=WitnessRefused.code, detail=detail
        )
        async with self._parts.db.write() as tx:
            await audit.append(tx, event)
            ended = [transfer.request_id for transfer in await transfers.unfinished(tx, Direction.OUT)]
            await restored.mark(tx, now=now, log_ends=False)
            await restart_log(tx, {peer: Heard("", seen.incarnation, seen.size)}, now)
            tx.after_commit(lambda: self.on_put_back(ended))

    async def contradicted_by(self) -> list[str]:
        """Ask every reachable witness what it has co-signed of this log; what does not fit, as sentences."""
        found = await asyncio.gather(*(self._check(peer) for peer in self._parts.trust.trusted()))
        return [problem for problem in found if problem]

    async def _check(self, peer: PeerId) -> str:
        seen = await self._seen(peer)
        return "" if seen is None else await self._against(peer, seen)

    async def _seen(self, peer: PeerId) -> _Seen | None:
        """The head of this node's own log that the witness shows, if this node signed it."""
        parts = self._parts
        try:
            client = parts.clients.get(peer)
            held = await client.call("GET", WITNESS, response_type=Held, max_bytes=MAX_CHECKPOINT_BYTES)
            if not held.checkpoint:
                return None
            incarnation = incarnation_of(held.checkpoint, parts.identity.peer_id)
            origin = origin_of(parts.identity, incarnation)
            head = verify_checkpoint(held.checkpoint, origin, parts.identity.public_key)
        except LeveretError:
            return None  # away, or it shows nothing that this node signed: it contradicts nothing
        return _Seen(incarnation, head.size, head.root)

    async def _against(self, peer: PeerId, seen: _Seen) -> str:
        """What that says against the log, as a sentence; empty if it fits."""
        try:
            async with self._parts.db.read() as rx:
                part = (await audit.read_edge(rx)).part
                if seen.incarnation < part.incarnation:
                    return ""  # of before a restore, which is on record: it will see the new tree soon
                root = b"" if seen.incarnation > part.incarnation else await audit_tree.root_at(rx, part, seen.size)
        except LeveretError as error:
            is_short = isinstance(error, NoSuchEvent) or error.code == "audit_damaged"
            return f"witness {peer.short} co-signed {seen.size} events; this log has fewer" if is_short else ""
        if not root:
            return f"witness {peer.short} co-signed a later log than this one; this node was put back to an older state"
        return "" if root == seen.root else f"witness {peer.short} co-signed another log up to {seen.size}"


def _contradiction(held: Witnessed, size: int, root: bytes) -> str:
    if size < held.size:
        return "shrank"
    return "forked" if size == held.size and root != held.root else ""


def _continues(held: Witnessed, size: int, root: bytes, proof: list[str]) -> bool:
    try:
        verify_consistency(held.size, held.root, size, root, [bytes.fromhex(value) for value in proof])
    except ProofRejected:
        return False
    return True
