"""What clinicians say that fetched priors changed, and what was fetched at all."""

from dataclasses import dataclass
from enum import StrEnum

from node.model.ids import RequestId
from node.store.engine import Read, Row, Write


class Effect(StrEnum):
    """What a fetched prior changed, as the clinician says."""

    BEFORE_ORDER = "before_order"  # seen before anything was ordered
    NOT_ORDERED = "not_ordered"  # nothing was ordered because of it
    CANCELLED = "cancelled"  # an order was cancelled because of it


SPARED = frozenset({Effect.NOT_ORDERED, Effect.CANCELLED})  # an examination less


@dataclass(frozen=True, slots=True)
class Confirmation:
    """One row; ``dose_name`` is empty where the fetched study has no dose report."""

    request_id: RequestId
    effect: Effect
    examination: str
    dose_name: str
    dose_value: float
    dose_unit: str
    confirmed_by: str
    confirmed_at: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came from other facilities, whatever it changed."""

    requests: int
    instances: int
    size: int  # bytes
    facilities: int


_COLUMNS = "request_id, effect, examination, dose_name, dose_value, dose_unit, confirmed_by, confirmed_at"


async def confirm(tx: Write, one: Confirmation) -> None:
    """Write it down; what was said of the request before gives way."""
    await tx.execute(
        f"INSERT OR REPLACE INTO spared_repeat ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - fixed texts
        (
            one.request_id.value,
            one.effect.value,
            one.examination,
            one.dose_name,
            one.dose_value,
            one.dose_unit,
            one.confirmed_by,
            one.confirmed_at,
        ),
    )


async def take_back(tx: Write, request_id: RequestId) -> bool:
    """Nothing was changed after all; whether something had been said."""
    return bool(await tx.execute("DELETE FROM spared_repeat WHERE request_id = ?", (request_id.value,)))


async def said_of(rx: Read, request_id: RequestId) -> Confirmation | None:
    """What was said of a request."""
    row = await rx.fetch_one(f"SELECT {_COLUMNS} FROM spared_repeat WHERE request_id = ?", (request_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _confirmation(row)


async def confirmations(rx: Read, since: int) -> list[Confirmation]:
    """Everything said from ``since`` on, oldest first."""
    sql = f"SELECT {_COLUMNS} FROM spared_repeat WHERE confirmed_at >= ? ORDER BY confirmed_at"  # noqa: S608 - fixed texts
    return [_confirmation(row) for row in await rx.fetch_all(sql, (since,))]


async def fetched(rx: Read, since: int) -> Fetched:
    """Completed requests of this node that were made from ``since`` on."""
    row = await rx.fetch_one(
        "SELECT count(*), coalesce(sum(t.instances_total), 0), coalesce(sum(t.bytes_total), 0), count(DISTINCT t.peer)"
        " FROM transfer t WHERE t.direction = 'in' AND t.state = 'COMPLETED' AND t.created_at >= ?",
        (since,),
    )
    assert row is not None, "an aggregate has a row"
    return Fetched(*row)


def _confirmation(row: Row) -> Confirmation:
    return Confirmation(RequestId(bytes(row[0])), Effect(row[1]), *row[2:])
