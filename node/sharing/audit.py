"""The audit log as a whole: signing checkpoints while the node runs, and proving the log to anybody who asks.

Appending is not here: every use case appends its event in its own transaction (``store.audit.append``).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from node.clock import Clock
from node.crypto.identity import Identity, public_key_of_certificate
from node.crypto.notes import (
    checkpoint_body,
    parse_checkpoint,
    parse_note,
    sign_note,
    verify_checkpoint,
    verify_cosignature,
)
from node.crypto.tlog import Frontier, leaf_hash, verify_inclusion
from node.errors.audit import NoSuchEvent
from node.errors.base import LeveretError
from node.errors.crypto_identity import MalformedNote
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PeerId
from node.store import audit as rows
from node.store import audit_tree, trust
from node.store import witness as witnesses
from node.store.audit import AuditQuery, LogPart
from node.store.engine import Database, Read

CHECKPOINT_SECONDS = 1.0  # a change is covered by a signed head at most this much later
MAX_PAGE = 1000
_PROBLEMS_SHOWN = 20
_MAX_DIGITS = 18  # of an incarnation: what the index can hold
COSIGNED_LATELY = 60  # seconds: a witness of a head that old still vouches for the log as it stands


@dataclass(frozen=True, slots=True)
class CosignedHead:
    """A witness's word: at ``at`` the first ``size`` events continued the log that it knew."""

    peer: PeerId
    size: int
    at: int


@dataclass(frozen=True, slots=True)
class LogGap:
    """What a restore left out: positions from ``first`` to before ``next``, of which some may have been used."""

    first: int
    next: int
    incarnation: int  # of the tree that begins at ``next``


@dataclass(frozen=True, slots=True)
class AuditProof:
    """What ``audit verify`` found. ``root`` is that of the newest tree, which begins at ``base``."""

    ok: bool
    size: int  # the position after the last event
    root: str  # hexadecimal
    checkpoints: int
    problems: tuple[str, ...]
    incarnation: int = 1
    base: int = 0
    gaps: tuple[LogGap, ...] = ()
    cosigned: tuple[CosignedHead, ...] = ()


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """An event's leaf hash, its path to the root (RFC 6962 section 2.1.1), and the signed head that has the root."""

    position: int
    leaf: bytes
    path: tuple[bytes, ...]
    checkpoint: str


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """An event as an auditor sees it. ``holds``: its bytes lead to the signed root; ``index`` is its place there."""

    row: rows.AuditRow
    index: int
    proof: InclusionProof | None
    holds: bool
    cosigned: tuple[CosignedHead, ...]


def witness_name(peer: PeerId) -> str:
    """The name under which a node co-signs."""
    return f"leveret/{peer.compact}/witness"


def origin_of(identity: Identity, incarnation: int = 1) -> str:
    """The log's name in checkpoints: the PeerId, so that a witness knows whose log it signs."""
    return origin_of_peer(identity.peer_id, incarnation)


def origin_of_peer(peer: PeerId, incarnation: int = 1) -> str:
    """The name of a peer's log; each tree that begins after a restore has a name of its own."""
    name = f"leveret/{peer.compact}/audit"
    return name if incarnation == 1 else f"{name}/{incarnation}"


def incarnation_of(note: str, peer: PeerId) -> int:
    """Which tree of the log of ``peer`` a checkpoint, not verified yet, says that it is of.

    Raises:
        MalformedNote: of no log of this peer.
    """
    origin = parse_checkpoint(parse_note(note).text).origin
    if origin == origin_of_peer(peer):
        return 1
    number = origin.removeprefix(origin_of_peer(peer) + "/")
    if not (number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS and int(number) > 1):
        raise MalformedNote
    if origin != origin_of_peer(peer, int(number)):
        raise MalformedNote
    return int(number)


class AuditLog:
    """The log of one node."""

    def __init__(self, db: Database, identity: Identity, clock: Clock) -> None:
        self._db = db
        self._identity = identity
        self._clock = clock

    async def record(self, event: AuditEvent) -> int:
        """Append an event that stands alone (a read, a start); returns its position."""
        async with self._db.write() as tx:
            return await rows.append(tx, event)

    async def run(self) -> None:
        """Sign a checkpoint whenever the log has grown; ends by cancellation, after a last one."""
        try:
            while True:
                await self.checkpoint()
                await asyncio.sleep(CHECKPOINT_SECONDS)
        finally:
            await asyncio.shield(self.checkpoint())

    async def checkpoint(self) -> rows.CheckpointRow | None:
        """Sign the present tree head unless it is signed already."""
        async with self._db.read() as rx:
            edge = await rows.read_edge(rx)
            last = await rows.last_checkpoint(rx, edge.part)
        size, incarnation = edge.tree.size, edge.part.incarnation
        if size == 0 or (last is not None and last.size == size):
            return last
        root, origin = edge.tree.root(), origin_of(self._identity, incarnation)
        note = sign_note(self._identity, origin, checkpoint_body(origin, size, root))
        row = rows.CheckpointRow(incarnation, size, root, self._clock.now(), note)
        async with self._db.write() as tx:
            await rows.add_checkpoint(tx, row)
            await audit_tree.fill(tx, edge.part, row.size)
        return row

    async def page(
        self, *, before: int | None = None, limit: int = 100, types: tuple[AuditType, ...] = ()
    ) -> list[rows.AuditRow]:
        """Events newest first, at most ``limit`` (1000 at most) of them older than position ``before``."""
        async with self._db.read() as rx:
            return await rows.page(rx, before=before, limit=min(limit, MAX_PAGE), types=types)

    async def find(
        self, query: AuditQuery, *, before: int | None = None, limit: int = 100, by: str
    ) -> list[rows.AuditRow]:
        """Events that match ``query``, newest first, older than position ``before``; the look becomes one."""
        async with self._db.read() as rx:
            found = await rows.find(rx, query, before=before, limit=min(limit, MAX_PAGE))
        detail: dict[str, str | int] = {"found": len(found)}
        seen = AuditEvent(
            AuditType.AUDIT_READ, self._clock.now(), by, patient=query.patient, study=query.study, detail=detail
        )
        await self.record(seen)
        return found

    async def show(self, position: int, *, by: str) -> ShownEvent:
        """One event with the proof that it stands in the log, checked; the look is an event. Raises NoSuchEvent."""
        async with self._db.read() as rx:
            row = await rows.get(rx, position)
            part = next((p for p in reversed(await rows.parts(rx)) if p.base <= position), None)
            if row is None or part is None:
                raise NoSuchEvent
            cosigned = await _cosigned(rx, part)
        try:
            proof: InclusionProof | None = await self.inclusion(position)
        except NoSuchEvent:  # it is younger than the newest signed head: a second later it is in one
            proof = None
        holds = proof is not None and self._holds(row, part, proof)
        await self.record(
            AuditEvent(AuditType.AUDIT_READ, self._clock.now(), by, patient=row.event.patient, study=row.event.study)
        )
        return ShownEvent(row, position - part.base, proof, holds, tuple(cosigned))

    def _holds(self, row: rows.AuditRow, part: LogPart, proof: InclusionProof) -> bool:
        """Whether the event's own bytes lead to the root that this node signed."""
        try:
            head = verify_checkpoint(
                proof.checkpoint, origin_of(self._identity, part.incarnation), self._identity.public_key
            )
            verify_inclusion(leaf_hash(row.body), row.position - part.base, head.size, proof.path, head.root)
        except LeveretError:
            return False
        return True

    async def since(self, position: int = 0) -> AsyncIterator[rows.AuditRow]:
        """Every event from ``position`` to the end as it is now, oldest first; holds no transaction between batches."""
        async with self._db.read() as rx:
            end = (await rows.read_edge(rx)).end
        while position < end:
            async with self._db.read() as rx:
                batch = await rows.page_from(rx, position, min(MAX_PAGE, end - position))
            if not batch:
                return
            for row in batch:
                yield row
            position = batch[-1].position + 1

    async def inclusion(self, position: int) -> InclusionProof:
        """Proof that an event stands in the newest signed head of its tree; raises NoSuchEvent."""
        async with self._db.read() as rx:
            part = next((p for p in reversed(await rows.parts(rx)) if p.base <= position), None)
            head = None if part is None else await rows.last_checkpoint(rx, part)
            if part is None or head is None or position - part.base >= head.size:
                raise NoSuchEvent
            index = position - part.base
            path = await audit_tree.inclusion_path(rx, part, index, head.size)
            return InclusionProof(position, await audit_tree.leaf_at(rx, part, index), tuple(path), head.note)

    async def consistency(self, old: int, size: int) -> tuple[bytes, ...]:
        """Proof that the first ``size`` events of the newest tree continue the first ``old``; raises NoSuchEvent."""
        async with self._db.read() as rx:
            edge = await rows.read_edge(rx)
            if size > edge.tree.size:
                raise NoSuchEvent
            return tuple(await audit_tree.consistency_path(rx, edge.part, old, size))

    async def verify(self) -> AuditProof:
        """Recompute the tree from the events' bytes and hold it against every signed checkpoint."""
        async with self._db.read() as rx:
            return await prove(rx, self._identity)


async def prove(rx: Read, identity: Identity) -> AuditProof:
    """Check the whole log as one snapshot: positions without gaps, leaves, signatures, roots, the stored edge.

    Gaps are where a restore began a new tree, and nowhere else.
    """
    problems: list[str] = []
    gaps: list[LogGap] = []
    checkpoints, end, tree = 0, 0, Frontier()
    parts = await rows.parts(rx)
    for number, part in enumerate(parts):
        if number and part.base < end:
            problems.append(f"the tree that begins at {part.base} overlaps the one before it")
        if number:
            gaps.append(LogGap(end, part.base, part.incarnation))
        following = parts[number + 1].base if number + 1 < len(parts) else None
        heads = {head.size: head for head in await rows.checkpoints(rx, part)}
        checkpoints += len(heads)
        problems += _flaws(heads.values(), identity)
        tree = await _prove_part(rx, part, following, heads, problems)
        end = part.base + tree.size
    if not await _edge_fits(rx, tree):
        problems.append("the stored edge of the tree does not fit its events")
    return AuditProof(
        not problems,
        end,
        tree.root().hex(),
        checkpoints,
        tuple(problems[:_PROBLEMS_SHOWN]),
        parts[-1].incarnation,
        parts[-1].base,
        tuple(gaps),
        tuple(await _cosigned(rx, parts[-1])),
    )


async def _prove_part(
    rx: Read,
    part: LogPart,
    following: int | None,
    heads: dict[int, rows.CheckpointRow],
    problems: list[str],
) -> Frontier:
    """Recompute one tree, as far as its events go without a gap; what is wrong is added to ``problems``."""
    where = _where(part.incarnation)
    tree = Frontier()
    async for batch in rows.scan(rx, part.base, following):
        for position, body, leaf in batch:
            if position != part.base + tree.size:
                problems.append(f"events {part.base + tree.size} to {position - 1} are missing")
                return tree
            if leaf_hash(body) != leaf:
                problems.append(f"event {position} was changed")
            tree.append(leaf_hash(body))
            known = heads.get(tree.size)
            if known is not None and known.root != tree.root():
                problems.append(f"the log up to {tree.size}{where} is not what the checkpoint signed")
    if heads and max(heads) > tree.size:
        problems.append(f"the log was cut: {max(heads)} events{where} were signed, {tree.size} are left")
    return tree


async def _cosigned(rx: Read, part: LogPart) -> list[CosignedHead]:
    """Who vouches for the newest head, or for one signed just before it; only what verifies counts."""
    found: list[CosignedHead] = []
    certificates = {row.peer_id: row.certificate for row in await trust.peers(rx)}
    last = await rows.last_checkpoint(rx, part)
    newest_at = 0 if last is None else last.at
    for one, head in await witnesses.newest_of_each(rx, part):
        if newest_at - head.at > COSIGNED_LATELY:
            continue
        with contextlib.suppress(LeveretError):  # what does not verify is as good as none
            key = public_key_of_certificate(certificates[one.peer])
            at = verify_cosignature(head.note + one.line, witness_name(one.peer), key)
            found.append(CosignedHead(one.peer, one.size, at))
    return found


async def _edge_fits(rx: Read, tree: Frontier) -> bool:
    try:
        stored = (await rows.read_edge(rx)).tree
    except LeveretError:
        return False
    return (stored.size, stored.root()) == (tree.size, tree.root())


def _where(incarnation: int) -> str:
    return f" of log {incarnation}" if incarnation > 1 else ""


def _flaws(heads: Iterable[rows.CheckpointRow], identity: Identity) -> list[str]:
    return [
        f"checkpoint at {head.size}{_where(head.incarnation)}: {reason}"
        for head in heads
        if (reason := _flaw(head, identity))
    ]


def _flaw(head: rows.CheckpointRow, identity: Identity) -> str:
    """Why a stored checkpoint cannot be believed; empty if it can."""
    try:
        signed = verify_checkpoint(head.note, origin_of(identity, head.incarnation), identity.public_key)
    except LeveretError as exc:
        return exc.code
    if (signed.size, signed.root) != (head.size, head.root):
        return "its note says something else"
    return ""
