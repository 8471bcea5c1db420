"""Rows of storage commitment: what was asked, and the report that is still to be delivered."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from node.store.engine import Read, Row, Write

Items = Sequence[tuple[str, str]]  # SOP class UID, SOP instance UID

_COLUMNS = "id, ae_title, transaction_uid, items, requested_at, attempts"


@dataclass(frozen=True, slots=True)
class Commitment:
    """A request whose report is due."""

    number: int
    ae_title: str
    transaction: str
    items: Items = field(repr=False)
    requested_at: int
    attempts: int


async def add(tx: Write, ae_title: str, transaction: str, items: Items, now: int) -> int | None:
    """Keep a request; the same again is due again. None if the transaction was used for something else."""
    encoded = msgspec.json.encode(items).decode()
    row = await tx.fetch_one(
        "SELECT id, items FROM commitment WHERE ae_title = ? AND transaction_uid = ?", (ae_title, transaction)
    )
    if row is not None:
        if row[1] != encoded:
            return None
        await tx.execute("UPDATE commitment SET next_at = ?, attempts = 0 WHERE id = ?", (now, row[0]))
        return int(row[0])
    await tx.execute(
        "INSERT INTO commitment (ae_title, transaction_uid, items, requested_at, next_at) VALUES (?, ?, ?, ?, ?)",
        (ae_title, transaction, encoded, now, now),
    )
    return int(await tx.fetch_value("SELECT last_insert_rowid()"))


async def waiting(rx: Read, ae_title: str) -> int:
    """How many reports are still to be delivered to a system."""
    return int(
        await rx.fetch_value("SELECT count(*) FROM commitment WHERE ae_title = ? AND next_at IS NOT NULL", (ae_title,))
    )


async def due(rx: Read, now: int, limit: int) -> list[Commitment]:
    """Reports that are to be delivered now, oldest first."""
    rows = await rx.fetch_all(
        f"SELECT {_COLUMNS} FROM commitment WHERE next_at <= ? ORDER BY next_at, id LIMIT ?",  # noqa: S608 - fixed texts
        (now, limit),
    )
    return [_commitment(row) for row in rows]


async def next_due(rx: Read) -> int | None:
    """When the next report is due; None if there is none."""
    at = await rx.fetch_value("SELECT min(next_at) FROM commitment WHERE next_at IS NOT NULL")
    return None if at is None else int(at)


async def delivered(tx: Write, number: int, now: int) -> None:
    """The report was taken."""
    await tx.execute("UPDATE commitment SET next_at = NULL, reported_at = ? WHERE id = ?", (now, number))


async def postpone(tx: Write, number: int, next_at: int | None) -> None:
    """It was not: try again at ``next_at``, or never."""
    await tx.execute("UPDATE commitment SET attempts = attempts + 1, next_at = ? WHERE id = ?", (next_at, number))


async def forget(tx: Write, before: int) -> None:
    """Drop what ended and was asked before that time."""
    await tx.execute("DELETE FROM commitment WHERE requested_at < ? AND next_at IS NULL", (before,))


def _commitment(row: Row) -> Commitment:
    items = msgspec.json.decode(row[3], type=list[tuple[str, str]])
    return Commitment(row[0], row[1], row[2], items, row[4], row[5])
