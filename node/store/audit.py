"""The audit log's rows. :func:`append` runs in the transaction of the thing it records."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from node.crypto.tlog import Frontier, leaf_hash
from node.errors.audit import AuditLogDamaged
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
class CheckpointRow:
    """A signed tree head."""

    size: int
    root: bytes
    at: int
    note: str


async def append(tx: Write, event: AuditEvent) -> int:
    """Add ``event`` to the log within the caller's transaction; returns its position."""
    body = encode(event, secrets.token_bytes(SALT_BYTES))
    leaf = leaf_hash(body)
    frontier = await read_frontier(tx)
    position = frontier.size
    frontier.append(leaf)
    await tx.execute(
        "INSERT INTO audit_event (position, at, type, body, leaf) VALUES (?, ?, ?, ?, ?)",
        (position, event.at, event.type.value, body, leaf),
    )
    await tx.execute(
        "INSERT INTO audit_frontier (id, frontier) VALUES (1, ?)"
        " ON CONFLICT (id) DO UPDATE SET frontier = excluded.frontier",
        (frontier.serialise(),),
    )
    return position


async def read_frontier(rx: Read) -> Frontier:
    """The tree's right edge (empty for a new node)."""
    stored = await rx.fetch_value("SELECT frontier FROM audit_frontier WHERE id = 1")
    return Frontier() if stored is None else Frontier.parse(bytes(stored))


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


async def page_from(rx: Read, position: int, limit: int) -> list[AuditRow]:
    """Events from ``position`` on, oldest first."""
    rows = await rx.fetch_all(
        "SELECT position, body, leaf FROM audit_event WHERE position >= ? ORDER BY position LIMIT ?", (position, limit)
    )
    return [_row(r[0], r[1], r[2]) for r in rows]


async def scan(rx: Read, *, batch: int = 2000) -> AsyncIterator[list[tuple[int, bytes, bytes]]]:
    """The whole log in order, as lists of (position, body, leaf)."""
    position = 0
    while True:
        rows = await rx.fetch_all(
            "SELECT position, body, leaf FROM audit_event WHERE position >= ? ORDER BY position LIMIT ?",
            (position, batch),
        )
        if not rows:
            return
        yield [(r[0], bytes(r[1]), bytes(r[2])) for r in rows]
        position = rows[-1][0] + 1


async def add_checkpoint(tx: Write, checkpoint: CheckpointRow) -> None:
    """Keep a signed tree head; one of the same size is kept once."""
    await tx.execute(
        "INSERT INTO audit_checkpoint (size, root, at, note) VALUES (?, ?, ?, ?) ON CONFLICT (size) DO NOTHING",
        (checkpoint.size, checkpoint.root, checkpoint.at, checkpoint.note),
    )


async def checkpoints(rx: Read) -> list[CheckpointRow]:
    """All signed tree heads, oldest first."""
    rows = await rx.fetch_all("SELECT size, root, at, note FROM audit_checkpoint ORDER BY size")
    return [CheckpointRow(r[0], bytes(r[1]), r[2], r[3]) for r in rows]


async def last_checkpoint(rx: Read) -> CheckpointRow | None:
    """The newest signed tree head."""
    row = await rx.fetch_one("SELECT size, root, at, note FROM audit_checkpoint ORDER BY size DESC LIMIT 1")
    return None if row is None else CheckpointRow(row[0], bytes(row[1]), row[2], row[3])


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
