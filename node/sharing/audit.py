"""The audit log as a whole: signing checkpoints while the node runs, and proving the log to anybody who asks.

Appending is not here: every use case appends its event in its own transaction (``store.audit.append``).
"""

import asyncio
from dataclasses import dataclass

from node.clock import Clock
from node.crypto.identity import Identity
from node.crypto.notes import checkpoint_body, sign_note, verify_checkpoint
from node.crypto.tlog import Frontier, leaf_hash
from node.errors.base import LeveretError
from node.model.audit import AuditEvent, AuditType
from node.store import audit as rows
from node.store.engine import Database, Read

CHECKPOINT_SECONDS = 1.0  # a change is covered by a signed head at most this much later
MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class AuditProof:
    """What ``audit verify`` found."""

    ok: bool
    size: int
    root: str  # hexadecimal
    checkpoints: int
    problems: tuple[str, ...]
    cosigned_by: tuple[str, ...] = ()


def origin_of(identity: Identity) -> str:
    """The log's name in checkpoints: the PeerId, so that a witness knows whose log it signs."""
    return f"leveret/{identity.peer_id.compact}/audit"


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
        return row

    async def page(
        self, *, before: int | None = None, limit: int = 100, types: tuple[AuditType, ...] = ()
    ) -> list[rows.AuditRow]:
        """Events newest first, at most ``limit`` (1000 at most) of them older than position ``before``."""
        async with self._db.read() as rx:
            return await rows.page(rx, before=before, limit=min(limit, MAX_PAGE), types=types)

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
    return _proof(tree, heads, problems)


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
