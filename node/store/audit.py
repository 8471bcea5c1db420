"""The audit log's rows. :func:`append` runs in the transaction of the thing it records.

The log is one sequence of positions. It consists of one tree, and of one more after each restore: what was logged
between a backup and the disaster is lost, so the old tree cannot be continued, and begins no second time.
"""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from node.crypto.tlog import Frontier, leaf_hash
from node.errors.audit import AuditLogDamaged, LogAwaitsPeers
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.store.engine import Read, Write

SALT_BYTES = 16  # makes a leaf hash unguessable: 128 bits


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event as the tree covers it: JSON, fields in this order, defaults left out."""

    salt: str
    type: AuditType
    at: int
    actor: str
    outcome: Outcome
    peer: str = ""
    patient: tuple[str, str] | None = None
    study: str = ""
    request: str = ""
    purpose: str = ""
    code: str = ""
    detail: dict[str, str | int] = {}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An event and its place in the tree."""

    position: int
    event: AuditEvent
    body: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which events somebody wants to see; what is empty is no limit. Times in seconds, ``until`` exclusive."""

    types: tuple[AuditType, ...] = ()
    actor: str = ""
    patient: PatientKey | None = None
    study: StudyInstanceUID | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class LogPart:
    """One tree of the log. ``incarnation`` is 1 for the first, larger for each that began after a restore."""

    incarnation: int
    base: int  # position of its first event


@dataclass(frozen=True, slots=True)
class Edge:
    """Where the log ends: its newest tree, as far as appending needs it."""

    part: LogPart
    tree: Frontier

    @property
    def end(self) -> int:
        """The position that the next event will have."""
        return self.part.base + self.tree.size


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A signed tree head; ``size`` counts the events of its tree."""

    incarnation: int
    size: int
    root: bytes
    at: int
    note: str


async def append(tx: Write, event: AuditEvent) -> int:
    """Add ``event`` to the log within the caller's transaction; returns its position.

    Raises:
        LogAwaitsPeers: this node was restored, and has not asked its peers yet what they saw of the log.
    """
    if await tx.fetch_value("SELECT EXISTS (SELECT 1 FROM restoration WHERE asked_at IS NULL)"):
        raise LogAwaitsPeers
    body = encode(event, secrets.token_bytes(SALT_BYTES))
    leaf = leaf_hash(body)
    edge = await read_edge(tx)
    position = edge.end
    edge.tree.append(leaf)
    await tx.execute(
        "INSERT INTO audit_event (position, at, type, body, leaf) VALUES (?, ?, ?, ?, ?)",
        (position, event.at, event.type.value, body, leaf),
    )
    await _put_frontier(tx, edge.tree)
    return position


async def read_edge(rx: Read) -> Edge:
    """Where the log ends (its tree is empty for a new node)."""
    row = await rx.fetch_one(
        "SELECT incarnation, base, (SELECT frontier FROM audit_frontier WHERE id = 1) FROM audit_log"
        " ORDER BY incarnation DESC LIMIT 1"
    )
    assert row is not None, "the migration made the first"
    return Edge(LogPart(row[0], row[1]), Frontier() if row[2] is None else Frontier.parse(bytes(row[2])))


async def parts(rx: Read) -> list[LogPart]:
    """The trees of the log, oldest first."""
    return [
        LogPart(r[0], r[1]) for r in await rx.fetch_all("SELECT incarnation, base FROM audit_log ORDER BY incarnation")
    ]


async def begin_part(tx: Write, part: LogPart, now: int) -> None:
    """Go on with a new, empty tree; the old one stays as it is."""
    await tx.execute(
        "INSERT INTO audit_log (incarnation, base, began_at) VALUES (?, ?, ?)", (part.incarnation, part.base, now)
    )
    await _put_frontier(tx, Frontier())


async def _put_frontier(tx: Write, tree: Frontier) -> None:
    await tx.execute(
        "INSERT INTO audit_frontier (id, frontier) VALUES (1, ?)"
        " ON CONFLICT (id) DO UPDATE SET frontier = excluded.frontier",
        (tree.serialise(),),
    )


async def page(rx: Read, *, before: int | None, limit: int, types: tuple[AuditType, ...] = ()) -> list[AuditRow]:
    """Events newest first, ``limit`` at most, older than position ``before``, of ``types`` (all if empty)."""
    wanted = msgspec.json.encode([t.value for t in types]).decode()
    rows = await rx.fetch_all(
        "SELECT position, body, leaf FROM audit_event"
        " WHERE (?1 IS NULL OR position < ?1) AND (?2 = '[]' OR type IN (SELECT value FROM json_each(?2)))"
        " ORDER BY position DESC LIMIT ?3",
        (before, wanted, limit),
    )
    return [_row(r[0], r[1], r[2]) for r in rows]


async def find(rx: Read, query: AuditQuery, *, before: int | None, limit: int) -> list[AuditRow]:
    """Events that match all of ``query``, newest first, ``limit`` at most, older than position ``before``."""
    where, values = ["1 = 1"], list[object]()

    def need(condition: str, *given: object) -> None:
        where.append(condition)
        values.extend(given)

    if before is not None:
        need("position < ?", before)
    if query.types:
        need("type IN (SELECT value FROM json_each(?))", msgspec.json.encode([t.value for t in query.types]).decode())
    if query.actor:
        need("actor = ?", query.actor)
    if query.patient is not None:
        need("patient = ?", msgspec.json.encode((query.patient.issuer, query.patient.patient_id)).decode())
    if query.study is not None:
        need("study = ?", str(query.study))
    if query.since is not None:  # clocks are set back now and then: the events themselves decide, not their order
        need("at >= ? AND position >= (SELECT MIN(position) FROM audit_event WHERE at >= ?)", query.since, query.since)
    if query.until is not None:
        need("at < ? AND position <= (SELECT MAX(position) FROM audit_event WHERE at < ?)", query.until, query.until)
    sql = f"SELECT position, body, leaf FROM audit_event WHERE {' AND '.join(where)} ORDER BY position DESC LIMIT ?"  # noqa: S608 - fixed texts
    return [_row(r[0], r[1], r[2]) for r in await rx.fetch_all(sql, (*values, limit))]


async def get(rx: Read, position: int) -> AuditRow | None:
    """One event."""
    row = await rx.fetch_one("SELECT position, body, leaf FROM audit_event WHERE position = ?", (position,))
    return None if row is None else _row(row[0], row[1], row[2])


async def page_from(rx: Read, position: int, limit: int) -> list[AuditRow]:
    """Events from ``position`` on, oldest first."""
    rows = await rx.fetch_all(
        "SELECT position, body, leaf FROM audit_event WHERE position >= ? ORDER BY position LIMIT ?", (position, limit)
    )
    return [_row(r[0], r[1], r[2]) for r in rows]


async def scan(
    rx: Read, start: int, end: int | None, *, batch: int = 2000
) -> AsyncIterator[list[tuple[int, bytes, bytes]]]:
    """The log from ``start`` to before ``end`` (None: to its end) in order, as lists of (position, body, leaf)."""
    position, bound = start, 2**63 - 1 if end is None else end
    while True:
        rows = await rx.fetch_all(
            "SELECT position, body, leaf FROM audit_event WHERE position >= ? AND position < ?"
            " ORDER BY position LIMIT ?",
            (position, bound, batch),
        )
        if not rows:
            return
        yield [(r[0], bytes(r[1]), bytes(r[2])) for r in rows]
        position = rows[-1][0] + 1


async def add_checkpoint(tx: Write, checkpoint: CheckpointRow) -> None:
    """Keep a signed tree head; one of the same size is kept once."""
    await tx.execute(
        "INSERT INTO audit_checkpoint (incarnation, size, root, at, note) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (checkpoint.incarnation, checkpoint.size, checkpoint.root, checkpoint.at, checkpoint.note),
    )


async def checkpoints(rx: Read, part: LogPart) -> list[CheckpointRow]:
    """All signed heads of one tree, oldest first."""
    rows = await rx.fetch_all(
        "SELECT incarnation, size, root, at, note FROM audit_checkpoint WHERE incarnation = ? ORDER BY size",
        (part.incarnation,),
    )
    return [CheckpointRow(r[0], r[1], bytes(r[2]), r[3], r[4]) for r in rows]


async def last_checkpoint(rx: Read, part: LogPart) -> CheckpointRow | None:
    """The newest signed head of one tree."""
    row = await rx.fetch_one(
        "SELECT incarnation, size, root, at, note FROM audit_checkpoint WHERE incarnation = ?"
        " ORDER BY size DESC LIMIT 1",
        (part.incarnation,),
    )
    return None if row is None else CheckpointRow(row[0], row[1], bytes(row[2]), row[3], row[4])


def encode(event: AuditEvent, salt: bytes) -> bytes:
    """An event as the tree covers it, with its salt."""
    return msgspec.json.encode(
        _Body(
            salt=salt.hex(),
            type=event.type,
            at=event.at,
            actor=event.actor,
            outcome=event.outcome,
            peer=event.peer.compact if event.peer else "",
            patient=(event.patient.issuer, event.patient.patient_id) if event.patient else None,
            study=str(event.study or ""),
            request=str(event.request or ""),
            purpose=event.purpose,
            code=event.code,
            detail=dict(event.detail),
        )
    )


def _row(position: int, body: bytes, leaf: bytes) -> AuditRow:
    return AuditRow(position, decode(bytes(body)), bytes(body), bytes(leaf))


def decode(body: bytes) -> AuditEvent:
    """An event from the exact bytes that the tree covers.

    Raises:
        AuditLogDamaged: these bytes are no event.
    """
    try:
        b = msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError as exc:
        raise AuditLogDamaged("an event cannot be read") from exc
    return AuditEvent(
        type=b.type,
        at=b.at,
        actor=b.actor,
        outcome=b.outcome,
        peer=PeerId.parse(b.peer) if b.peer else None,
        patient=PatientKey(*b.patient) if b.patient else None,
        study=StudyInstanceUID(b.study) if b.study else None,
        request=RequestId.parse(b.request) if b.request else None,
        purpose=b.purpose,
        code=b.code,
        detail=b.detail,
    )
