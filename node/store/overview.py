"""Counts and sums for who looks after the node."""

from dataclasses import dataclass

from node.model.delivery import DeliveryState
from node.model.ids import PeerId, StudyInstanceUID
from node.model.transfer import Direction, TransferState
from node.store.engine import Read


@dataclass(frozen=True, slots=True)
class Moved:
    """What the transfers that ended well on one day moved."""

    day: str  # YYYY-MM-DD, the facility's time
    direction: Direction
    transfers: int
    size: int  # bytes of data sets


@dataclass(frozen=True, slots=True)
class LargeStudy:
    """A study and what it takes."""

    study: StudyInstanceUID
    date: str
    modalities: tuple[str, ...]
    description: str
    instances: int
    size: int
    origin: PeerId | None
    protected: bool


@dataclass(frozen=True, slots=True)
class Share:
    """A part of what is held."""

    name: str
    studies: int
    size: int


async def transfer_states(rx: Read) -> dict[TransferState, int]:
    """How many transfers are in each state, both directions together."""
    rows = await rx.fetch_all("SELECT state, COUNT(*) FROM transfer GROUP BY state")
    return {TransferState(state): count for state, count in rows}


async def delivery_states(rx: Read) -> dict[DeliveryState, int]:
    """How many deliveries are in each state."""
    rows = await rx.fetch_all("SELECT state, COUNT(*) FROM delivery GROUP BY state")
    return {DeliveryState(state): count for state, count in rows}


async def offers_to_decide(rx: Read) -> int:
    """How many offers of others wait for somebody here."""
    sql = "SELECT COUNT(*) FROM offer WHERE direction = 'in' AND state = 'OFFERED'"
    return int(await rx.fetch_value(sql) or 0)


async def failed_since(rx: Read, since: int) -> int:
    """How many transfers failed since then."""
    sql = "SELECT COUNT(*) FROM transfer WHERE state = 'FAILED' AND updated_at >= ?"
    return int(await rx.fetch_value(sql, (since,)) or 0)


async def moved(rx: Read, since: int) -> list[Moved]:
    """Completed transfers since then, by day and direction."""
    rows = await rx.fetch_all(
        "SELECT date(updated_at, 'unixepoch', 'localtime'), direction, COUNT(*), SUM(bytes_total) FROM transfer"
        " WHERE state = 'COMPLETED' AND updated_at >= ? GROUP BY 1, 2 ORDER BY 1, 2",
        (since,),
    )
    return [Moved(row[0], Direction(row[1]), row[2], row[3] or 0) for row in rows]


async def largest(rx: Read, limit: int) -> list[LargeStudy]:
    """The studies that take most, largest first."""
    rows = await rx.fetch_all(
        "SELECT s.uid, s.date, s.description, s.instances, s.bytes, s.origin,"
        " EXISTS (SELECT 1 FROM protected_study p WHERE p.study_uid = s.uid),"
        " (SELECT group_concat(DISTINCT modality) FROM series e WHERE e.study_id = s.id)"
        " FROM study s WHERE s.id IN (SELECT id FROM study ORDER BY bytes DESC LIMIT ?) ORDER BY s.bytes DESC",
        (limit,),
    )
    return [
        LargeStudy(
            StudyInstanceUID(row[0]),
            row[1],
            tuple(sorted((row[7] or "").split(","))),
            row[2],
            row[3],
            row[4],
            PeerId(bytes(row[5])) if row[5] else None,
            bool(row[6]),
        )
        for row in rows
    ]


async def by_origin(rx: Read) -> list[Share]:
    """Own and received studies."""
    rows = await rx.fetch_all("SELECT origin IS NULL, COUNT(*), SUM(bytes) FROM study GROUP BY 1 ORDER BY 1 DESC")
    return [Share("own" if row[0] else "received", row[1], row[2] or 0) for row in rows]


async def by_month(rx: Read, since: int) -> list[Share]:
    """What came month by month, as far as it is still held: studies by when their last instance came."""
    rows = await rx.fetch_all(
        "SELECT strftime('%Y-%m', changed_at, 'unixepoch', 'localtime'), COUNT(*), SUM(bytes) FROM study"
        " WHERE changed_at >= ? GROUP BY 1 ORDER BY 1",
        (since,),
    )
    return [Share(row[0], row[1], row[2] or 0) for row in rows]
