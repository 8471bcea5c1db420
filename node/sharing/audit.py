"""The audit log as a whole: signing checkpoints while the node runs, and proving the log to anybody who asks.

Appending is not here: every use case appends its event in its own transaction (``store.audit.append``).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from node.clock import Clock
from node.crypto.identity import Identity, public_key_of_certificate
from node.crypto.notes import checkpoint_body, sign_note, verify_checkpoint, verify_cosignature
from node.crypto.tlog import Frontier, leaf_hash
from node.errors.audit import NoSuchEvent
from node.errors.base import LeveretError
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PeerId
from node.store import audit as rows
from node.store import audit_tree, trust
from node.store import witness as witnesses
from node.store.engine import Database, Read

CHECKPOINT_SECONDS = 1.0  # a change is covered by a signed head at most this much later
MAX_PAGE = 1000
COSIGNED_LATELY = 60  # seconds: a witness of a head that old still vouches for the log as it stands


@dataclass(frozen=True, slots=True)
class CosignedHead:
    """A witness's word: at ``at`` the first ``size`` events continued the log that it knew."""

    peer: PeerId
    size: int
    at: int


@dataclass(frozen=True, slots=True)
class AuditProof:
    """What ``audit verify`` found."""

    ok: bool
    size: int
    root: str  # hexadecimal
    checkpoints: int
    problems: tuple[str, ...]
    cosigned: tuple[CosignedHead, ...] = ()


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """An event's leaf hash, its path to the root (RFC 6962 section 2.1.1), and the signed head that has the root."""

    position: int
    leaf: bytes
    path: tuple[bytes, ...]
    checkpoint: str


def witness_name(peer: PeerId) -> str:
    """The name under which a node co-signs."""
    return f"leveret/{peer.compact}/witness"


def origin_of(identity: Identity) -> str:
    """The log's name in checkpoints: the PeerId, so that a witness knows whose log it signs."""
    return origin_of_peer(identity.peer_id)


def origin_of_peer(peer: PeerId) -> str:
    """The name of a peer's log."""
    return f"leveret/{peer.compact}/audit"


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
            last = await rows.last_checkpoint(rx)
            frontier = await rows.read_frontier(rx)
        if frontier.size == 0 or (last is not None and last.size == frontier.size):
            return last
        root = frontier.root()
        body = checkpoint_body(origin_of(self._identity), frontier.size, root)
        note = sign_note(self._identity, origin_of(self._identity), body)
        row = rows.CheckpointRow(frontier.size, root, self._clock.now(), note)
        async with self._db.write() as tx:
            await rows.add_checkpoint(tx, row)
            await audit_tree.fill(tx, row.size)
        return row

    async def page(
        self, *, before: int | None = None, limit: int = 100, types: tuple[AuditType, ...] = ()
    ) -> list[rows.AuditRow]:
        """Events newest first, at most ``limit`` (1000 at most) of them older than position ``before``."""
        async with self._db.read() as rx:
            return await rows.page(rx, before=before, limit=min(limit, MAX_PAGE), types=types)

    async def since(self, position: int = 0) -> AsyncIterator[rows.AuditRow]:
        """Every event from ``position`` to the end as it is now, oldest first; holds no transaction between batches."""
        async with self._db.read() as rx:
            end = (await rows.read_frontier(rx)).size
        while position < end:
            async with self._db.read() as rx:
                batch = await rows.page_from(rx, position, min(MAX_PAGE, end - position))
            for row in batch:
                yield row
            position += MAX_PAGE

    async def inclusion(self, position: int) -> InclusionProof:
        """Proof that an event stands in the newest signed head; raises NoSuchEvent."""
        async with self._db.read() as rx:
            head = await rows.last_checkpoint(rx)
            if head is None or position >= head.size:
                raise NoSuchEvent
            path = await audit_tree.inclusion_path(rx, position, head.size)
            return InclusionProof(position, await audit_tree.leaf_at(rx, position), tuple(path), head.note)

    async def consistency(self, old: int, size: int) -> tuple[bytes, ...]:
        """Proof that the first ``size`` events continue the first ``old``; raises NoSuchEvent."""
        async with self._db.read() as rx:
            if size > (await rows.read_frontier(rx)).size:
                raise NoSuchEvent
            return tuple(await audit_tree.consistency_path(rx, old, size))

    async def verify(self) -> AuditProof:
        """Recompute the tree from the events' bytes and hold it against every signed checkpoint."""
        async with self._db.read() as rx:
            return await prove(rx, self._identity)


async def prove(rx: Read, identity: Identity) -> AuditProof:
    """Check the whole log as one snapshot: positions without gaps, leaves, signatures, roots, the stored edge."""
    problems: list[str] = []
    heads = {head.size: head for head in await rows.checkpoints(rx)}
    problems += [f"checkpoint at {head.size}: {reason}" for head in heads.values() if (reason := _flaw(head, identity))]
    tree = Frontier()
    async for batch in rows.scan(rx):
        for position, body, leaf in batch:
            if position != tree.size:
                problems.append(f"events {tree.size} to {position - 1} are missing")
                return _proof(tree, heads, problems)
            if leaf_hash(body) != leaf:
                problems.append(f"event {position} was changed")
            tree.append(leaf_hash(body))
            head = heads.get(tree.size)
            if head is not None and head.root != tree.root():
                problems.append(f"the log up to {tree.size} is not what the checkpoint signed")
    if heads and max(heads) > tree.size:
        problems.append(f"the log was cut: {max(heads)} events were signed, {tree.size} are left")
    if not await _edge_fits(rx, tree):
        problems.append("the stored edge of the tree does not fit its events")
    proof = _proof(tree, heads, problems)
    return replace(proof, cosigned=tuple(await _cosigned(rx)))


async def _cosigned(rx: Read) -> list[CosignedHead]:
    """Who vouches for the newest head, or for one signed just before it; only what verifies counts."""
    found: list[CosignedHead] = []
    certificates = {row.peer_id: row.certificate for row in await trust.peers(rx)}
    last = await rows.last_checkpoint(rx)
    newest_at = 0 if last is None else last.at
    for one, head in await witnesses.newest_of_each(rx):
        if newest_at - head.at > COSIGNED_LATELY:
            continue
        with contextlib.suppress(LeveretError):  # what does not verify is as good as none
            key = public_key_of_certificate(certificates[one.peer])
            at = verify_cosignature(head.note + one.line, witness_name(one.peer), key)
            found.append(CosignedHead(one.peer, one.size, at))
    return found


async def _edge_fits(rx: Read, tree: Frontier) -> bool:
    try:
        stored = await rows.read_frontier(rx)
    except LeveretError:
        return False
    return (stored.size, stored.root()) == (tree.size, tree.root())


def _flaw(head: rows.CheckpointRow, identity: Identity) -> str:
    """Why a stored checkpoint cannot be believed; empty if it can."""
    try:
        signed = verify_checkpoint(head.note, origin_of(identity), identity.public_key)
    except LeveretError as exc:
        return exc.code
    if (signed.size, signed.root) != (head.size, head.root):
        return "its note says something else"
    return ""


def _proof(tree: Frontier, heads: dict[int, rows.CheckpointRow], problems: list[str]) -> AuditProof:
    return AuditProof(not problems, tree.size, tree.root().hex(), len(heads), tuple(problems[:20]))
