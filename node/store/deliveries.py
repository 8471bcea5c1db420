"""Deliveries to a PACS, moved by the table in ``model.delivery``, and the outcome of each instance."""

from collections.abc import Iterable

import msgspec

from node.model.delivery import (
    Converted,
    Delivery,
    DeliveryEvent,
    DeliveryId,
    DeliveryState,
    InstanceOutcome,
    Sent,
    next_delivery_state,
)
from node.model.ids import PatientKey, RequestId, SOPInstanceUID, StudyInstanceUID
from node.store.engine import Read, Row, Write

_ENDED = "('COMPLETED', 'INCOMPLETE', 'FAILED', 'CANCELLED')"
_COLUMNS = (
    "d.delivery_id, d.study, d.pacs, d.request_id, d.issuer, d.patient_id, d.accession, d.state, d.code, d.attempts,"
    " d.instances_total, d.bytes_total, d.ordered_by, d.created_at, d.updated_at,"
    " (SELECT json_group_object(outcome, count) FROM (SELECT outcome, count(*) AS count FROM delivery_instance i"
    "  WHERE i.delivery_id = d.delivery_id GROUP BY outcome)),"
    " (SELECT coalesce(sum(size), 0) FROM delivery_instance i WHERE i.delivery_id = d.delivery_id)"
)


async def add(tx: Write, delivery: Delivery) -> None:
    """Write an order down."""
    patient = delivery.patient or PatientKey("", "")
    await tx.execute(
        "INSERT INTO delivery (delivery_id, study, pacs, request_id, issuer, patient_id, accession, state, code,"
        " ordered_by, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            delivery.delivery_id.value,
            str(delivery.study or ""),
            delivery.pacs,
            delivery.request_id and delivery.request_id.value,
            patient.issuer,
            patient.patient_id,
            delivery.accession,
            delivery.state.value,
            delivery.code,
            delivery.ordered_by,
            delivery.created_at,
            delivery.updated_at,
        ),
    )


async def get(rx: Read, delivery_id: DeliveryId) -> Delivery | None:
    """One delivery."""
    sql = f"SELECT {_COLUMNS} FROM delivery d WHERE d.delivery_id = ?"  # noqa: S608 - fixed texts
    row = await rx.fetch_one(sql, (delivery_id.value,))
    return None if row is None else _delivery(row)


async def page(rx: Read, *, limit: int = 1000, offset: int = 0) -> list[Delivery]:
    """Deliveries, newest first."""
    sql = f"SELECT {_COLUMNS} FROM delivery d ORDER BY d.created_at DESC, d.rowid DESC LIMIT ? OFFSET ?"  # noqa: S608 - fixed texts
    return [_delivery(row) for row in await rx.fetch_all(sql, (limit, offset))]


async def unfinished(rx: Read) -> list[DeliveryId]:
    """Those that are not at an end, oldest first."""
    rows = await rx.fetch_all(
        f"SELECT delivery_id FROM delivery WHERE state NOT IN {_ENDED} ORDER BY created_at, rowid"  # noqa: S608 - fixed texts
    )
    return [DeliveryId(bytes(row[0])) for row in rows]


async def move(tx: Write, delivery_id: DeliveryId, event: DeliveryEvent, *, at: int, code: str = "") -> DeliveryState:
    """Move a delivery by the table; ``code`` says why it waits, stands still or fails. Raises IllegalTransition."""
    value = await tx.fetch_value("SELECT state FROM delivery WHERE delivery_id = ?", (delivery_id.value,))
    state = next_delivery_state(DeliveryState(value), event)
    await tx.execute(
        "UPDATE delivery SET state = ?, code = ?, updated_at = ? WHERE delivery_id = ?",
        (state.value, code, at, delivery_id.value),
    )
    return state


async def begin(tx: Write, delivery_id: DeliveryId, *, patient: PatientKey | None, instances: int, size: int) -> None:
    """Under whom it is delivered, and how much there is to send."""
    key = patient or PatientKey("", "")
    await tx.execute(
        "UPDATE delivery SET issuer = ?, patient_id = ?, instances_total = ?, bytes_total = ? WHERE delivery_id = ?",
        (key.issuer, key.patient_id, instances, size, delivery_id.value),
    )


async def set_study(tx: Write, delivery_id: DeliveryId, study: StudyInstanceUID) -> None:
    """Say which study came."""
    await tx.execute("UPDATE delivery SET study = ? WHERE delivery_id = ?", (str(study), delivery_id.value))


async def of_request(rx: Read, request_id: RequestId) -> list[Delivery]:
    """The deliveries of what a request brings, oldest first."""
    sql = f"SELECT {_COLUMNS} FROM delivery d WHERE d.request_id = ? ORDER BY d.rowid"  # noqa: S608 - fixed texts
    return [_delivery(row) for row in await rx.fetch_all(sql, (request_id.value,))]


async def set_attempts(tx: Write, delivery_id: DeliveryId, attempts: int) -> None:
    """How many attempts in a row got nothing done."""
    await tx.execute("UPDATE delivery SET attempts = ? WHERE delivery_id = ?", (attempts, delivery_id.value))


async def keep_outcomes(tx: Write, delivery_id: DeliveryId, outcomes: Iterable[InstanceOutcome], *, at: int) -> None:
    """Write down what became of instances; a later outcome takes an earlier one's place."""
    await tx.execute_many(
        "INSERT INTO delivery_instance (delivery_id, instance, outcome, status, code, syntax, converted, size)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (delivery_id, instance) DO UPDATE SET outcome = excluded.outcome,"
        " status = excluded.status, code = excluded.code, syntax = excluded.syntax, converted = excluded.converted",
        [
            (
                delivery_id.value,
                str(o.instance),
                o.outcome.value,
                o.status,
                o.code,
                o.syntax,
                o.converted.value,
                o.size,
            )
            for o in outcomes
        ],
    )
    await tx.execute("UPDATE delivery SET updated_at = ? WHERE delivery_id = ?", (at, delivery_id.value))


async def forget_outcomes(tx: Write, delivery_id: DeliveryId) -> None:
    """Begin anew: under another patient, everything must go again."""
    await tx.execute("DELETE FROM delivery_instance WHERE delivery_id = ?", (delivery_id.value,))


async def settled_instances(rx: Read, delivery_id: DeliveryId) -> set[SOPInstanceUID]:
    """The instances that have an outcome."""
    rows = await rx.fetch_all("SELECT instance FROM delivery_instance WHERE delivery_id = ?", (delivery_id.value,))
    return {SOPInstanceUID(row[0]) for row in rows}


async def outcomes(
    rx: Read, delivery_id: DeliveryId, *, kinds: Iterable[Sent] = (), limit: int = 10_000, offset: int = 0
) -> list[InstanceOutcome]:
    """What became of the instances, of the given ``kinds`` or of all."""
    wanted = msgspec.json.encode([kind.value for kind in kinds]).decode()
    rows = await rx.fetch_all(
        "SELECT instance, outcome, size, status, code, syntax, converted FROM delivery_instance WHERE delivery_id = ?1"
        " AND (?2 = '[]' OR outcome IN (SELECT value FROM json_each(?2))) ORDER BY instance LIMIT ?3 OFFSET ?4",
        (delivery_id.value, wanted, limit, offset),
    )
    return [
        InstanceOutcome(SOPInstanceUID(row[0]), Sent(row[1]), row[2], row[3], row[4], row[5], Converted(row[6]))
        for row in rows
    ]


def _delivery(row: Row) -> Delivery:
    counts = msgspec.json.decode(row[15], type=dict[str, int])
    return Delivery(
        delivery_id=DeliveryId(bytes(row[0])),
        study=StudyInstanceUID(row[1]) if row[1] else None,
        pacs=row[2],
        request_id=None if row[3] is None else RequestId(bytes(row[3])),
        patient=PatientKey(row[4], row[5]) if row[5] else None,
        accession=row[6],
        state=DeliveryState(row[7]),
        code=row[8],
        attempts=row[9],
        instances_total=row[10],
        bytes_total=row[11],
        ordered_by=row[12],
        created_at=row[13],
        updated_at=row[14],
        counts={Sent(outcome): count for outcome, count in counts.items()},
        bytes_done=row[16],
    )
