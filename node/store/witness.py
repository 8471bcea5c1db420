"""What peers co-signed of this node's log, and what this node co-signed of theirs."""

from dataclasses import dataclass

from node.model.ids import PeerId
from node.store.audit import CheckpointRow, LogPart
from node.store.engine import Read, Row, Write


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A peer's cosignature of one of this node's checkpoints."""

    peer: PeerId
    incarnation: int
    size: int
    line: str
    at: int


@dataclass(frozen=True, slots=True)
class Witnessed:
    """The largest head of a peer's log that this node has co-signed, of the newest tree that it has seen."""

    peer: PeerId
    incarnation: int
    size: int
    root: bytes
    note: str
    at: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two signed heads of a peer's log that cannot both be true."""

    peer: PeerId
    kind: str  # forked or shrank
    held: str
    given: str
    at: int


async def add_cosignature(tx: Write, one: Cosigned) -> None:
    """Keep a cosignature; the first of a peer for a size stands."""
    await tx.execute(
        "INSERT INTO audit_cosignature (incarnation, size, peer, line, at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (one.incarnation, one.size, one.peer.digest, one.line, one.at),
    )


async def newest_of_each(rx: Read, part: LogPart) -> list[tuple[Cosigned, CheckpointRow]]:
    """Each peer's newest cosignature of one tree with the checkpoint that it is about."""
    rows = await rx.fetch_all(
        "SELECT s.peer, s.incarnation, s.size, s.line, s.at, c.root, c.at, c.note FROM audit_cosignature s"
        " JOIN audit_checkpoint c ON c.incarnation = s.incarnation AND c.size = s.size WHERE s.incarnation = ?1"
        " AND s.size = (SELECT MAX(size) FROM audit_cosignature o WHERE o.peer = s.peer AND o.incarnation = ?1)",
        (part.incarnation,),
    )
    return [
        (Cosigned(PeerId(bytes(r[0])), r[1], r[2], r[3], r[4]), CheckpointRow(r[1], r[2], bytes(r[5]), r[6], r[7]))
        for r in rows
    ]


async def cosigned_size(rx: Read, peer: PeerId, part: LogPart) -> int:
    """How much of a tree the peer has co-signed; 0: nothing."""
    value = await rx.fetch_value(
        "SELECT MAX(size) FROM audit_cosignature WHERE peer = ? AND incarnation = ?", (peer.digest, part.incarnation)
    )
    return int(value or 0)


async def witnessed(rx: Read, peer: PeerId) -> Witnessed | None:
    """What this node has co-signed of the peer's log."""
    row = await rx.fetch_one(
        "SELECT peer, incarnation, size, root, note, at FROM witnessed WHERE peer = ?", (peer.digest,)
    )
    return None if row is None else Witnessed(PeerId(bytes(row[0])), row[1], row[2], bytes(row[3]), row[4], row[5])


async def put_witnessed(tx: Write, one: Witnessed) -> None:
    """This head is the largest now."""
    await tx.execute(
        "INSERT INTO witnessed (peer, incarnation, size, root, note, at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (peer) DO UPDATE SET incarnation = excluded.incarnation, size = excluded.size,"
        " root = excluded.root, note = excluded.note, at = excluded.at",
        (one.peer.digest, one.incarnation, one.size, one.root, one.note, one.at),
    )


async def add_restart(tx: Write, before: Witnessed, after: Witnessed) -> bool:
    """A peer's log began anew: keep the last head of the old tree beside the first of the new one.

    False if enough such is kept of the peer already.
    """
    changed = await tx.execute(
        "INSERT INTO witness_restart (peer, incarnation, held, given, at) SELECT ?1, ?2, ?3, ?4, ?5"
        " WHERE (SELECT COUNT(*) FROM witness_restart WHERE peer = ?1) < ?6 ON CONFLICT DO NOTHING",
        (before.peer.digest, after.incarnation, before.note, after.note, after.at, MAX_CONFLICTS),
    )
    return changed == 1


MAX_CONFLICTS = 16  # of one peer that are kept: one is proof enough, and nobody fills this index with its own lies


async def add_conflict(tx: Write, one: Conflict) -> bool:
    """Keep the evidence; False if it is known already, or there is enough."""
    changed = await tx.execute(
        "INSERT INTO witness_conflict (peer, kind, held, given, at) SELECT ?1, ?2, ?3, ?4, ?5"
        " WHERE (SELECT COUNT(*) FROM witness_conflict WHERE peer = ?1) < ?6 ON CONFLICT DO NOTHING",
        (one.peer.digest, one.kind, one.held, one.given, one.at, MAX_CONFLICTS),
    )
    return changed == 1


async def conflicts(rx: Read, limit: int = 100) -> list[Conflict]:
    """The evidence, newest first."""
    rows = await rx.fetch_all(
        "SELECT peer, kind, held, given, at FROM witness_conflict ORDER BY id DESC LIMIT ?", (limit,)
    )
    return [_conflict(row) for row in rows]


def _conflict(row: Row) -> Conflict:
    return Conflict(PeerId(bytes(row[0])), row[1], row[2], row[3], row[4])
