"""Directives on file: what patients allowed and forbade."""

from collections.abc import Collection, Iterable

import msgspec

from node.model.consent import ConsentId, PurposeOfUse
from node.model.directive import Directive, Effect, Scope
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.store.engine import Read, Row, Write

_COLUMNS = (
    "consent_id, issuer, patient_id, effect, recipient, studies, modalities, body_parts, from_date, to_date, purposes,"
    " starts_at, until, created_at, recorded_by, revoked_at"
)


async def add(tx: Write, one: Directive) -> None:
    """Keep a new directive."""
    await tx.execute(
        f"INSERT INTO directive ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - fixed texts
        (
            one.consent_id.value,
            one.patient.issuer,
            one.patient.patient_id,
            one.effect.value,
            None if one.recipient is None else one.recipient.digest,
            _json(one.scope.studies),
            _json(one.scope.modalities),
            _json(one.scope.body_parts),
            one.scope.from_date,
            one.scope.to_date,
            _json(one.purposes),
            one.starts_at,
            one.until,
            one.created_at,
            one.recorded_by,
            one.revoked_at,
        ),
    )


async def get(rx: Read, consent_id: ConsentId) -> Directive | None:
    """One directive."""
    row = await rx.fetch_one(f"SELECT {_COLUMNS} FROM directive WHERE consent_id = ?", (consent_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _directive(row)


async def of_patients(rx: Read, patients: Collection[PatientKey]) -> list[Directive]:
    """Every directive about these patients, revoked ones too, oldest first."""
    found: list[Directive] = []
    sql = f"SELECT {_COLUMNS} FROM directive WHERE issuer = ? AND patient_id = ? ORDER BY created_at, consent_id"  # noqa: S608 - fixed texts
    for patient in patients:
        found += [_directive(row) for row in await rx.fetch_all(sql, (patient.issuer, patient.patient_id))]
    return found


async def page(rx: Read, *, patient: PatientKey | None = None, limit: int = 1000) -> list[Directive]:
    """Directives, newest first."""
    rows = await rx.fetch_all(
        f"SELECT {_COLUMNS} FROM directive WHERE ?1 IS NULL OR (issuer = ?1 AND patient_id = ?2)"  # noqa: S608 - fixed texts
        " ORDER BY created_at DESC, consent_id LIMIT ?3",
        (patient and patient.issuer, patient and patient.patient_id, limit),
    )
    return [_directive(row) for row in rows]


async def turning(rx: Read, after: int, until: int) -> list[Directive]:
    """Those that begin or end in the seconds after ``after`` up to ``until``."""
    rows = await rx.fetch_all(
        f"SELECT {_COLUMNS} FROM directive WHERE revoked_at IS NULL AND ((starts_at > ?1 AND starts_at <= ?2"  # noqa: S608 - fixed texts
        " AND starts_at > created_at) OR (until > ?1 AND until <= ?2))",
        (after, until),
    )
    return [_directive(row) for row in rows]


async def revoke(tx: Write, consent_id: ConsentId, at: int) -> bool:
    """Revoke it for good; False if it was already, or is none."""
    changed = await tx.execute(
        "UPDATE directive SET revoked_at = ? WHERE consent_id = ? AND revoked_at IS NULL", (at, consent_id.value)
    )
    return changed == 1


def _json(values: Iterable[str]) -> str:
    return msgspec.json.encode(sorted(str(value) for value in values)).decode()


def _texts(column: str) -> list[str]:
    return msgspec.json.decode(column, type=list[str])


def _directive(row: Row) -> Directive:
    return Directive(
        consent_id=ConsentId(bytes(row[0])),
        patient=PatientKey(row[1], row[2]),
        effect=Effect(row[3]),
        recipient=None if row[4] is None else PeerId(bytes(row[4])),
        scope=Scope(
            frozenset(StudyInstanceUID(uid) for uid in _texts(row[5])),
            frozenset(_texts(row[6])),
            frozenset(_texts(row[7])),
            row[8],
            row[9],
        ),
        purposes=frozenset(PurposeOfUse(code) for code in _texts(row[10])),
        starts_at=row[11],
        until=row[12],
        created_at=row[13],
        recorded_by=row[14],
        revoked_at=row[15],
    )
