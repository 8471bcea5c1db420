"""The audit log by what its events are about: one patient's, one study's, one account's."""

from collections.abc import Collection, Iterable

import msgspec

from node.model.audit import AuditType
from node.model.ids import PatientKey, StudyInstanceUID
from node.store.audit import AuditRow, decode
from node.store.engine import Read


async def about(
    rx: Read,
    *,
    patients: Iterable[PatientKey],
    studies: Iterable[StudyInstanceUID],
    actor: str,
    types: Collection[AuditType],
    before: int | None,
    limit: int,
) -> list[AuditRow]:
    """Events about any of these patients or studies, or by this account of the portal, newest first."""
    keys = msgspec.json.encode([msgspec.json.encode([p.issuer, p.patient_id]).decode() for p in patients]).decode()
    uids = msgspec.json.encode([str(uid) for uid in studies]).decode()
    wanted = msgspec.json.encode(sorted(t.value for t in types)).decode()
    rows = await rx.fetch_all(
        "SELECT position, body, leaf FROM audit_event WHERE position IN ("
        " SELECT position FROM audit_event WHERE patient IN (SELECT value FROM json_each(?1))"
        " UNION SELECT position FROM audit_event WHERE study IN (SELECT value FROM json_each(?2))"
        " UNION SELECT position FROM audit_event WHERE actor = ?3 AND substr(actor, 1, 8) = 'patient:')"
        " AND type IN (SELECT value FROM json_each(?4)) AND (?5 IS NULL OR position < ?5)"
        " ORDER BY position DESC LIMIT ?6",
        (keys, uids, actor, wanted, before, limit),
    )
    return [AuditRow(row[0], decode(bytes(row[1])), bytes(row[1]), bytes(row[2])) for row in rows]


async def after(rx: Read, position: int, *, types: Collection[AuditType], limit: int) -> list[AuditRow]:
    """The next events of these types from ``position`` on, oldest first."""
    wanted = msgspec.json.encode(sorted(t.value for t in types)).decode()
    rows = await rx.fetch_all(
        "SELECT position, body, leaf FROM audit_event"
        " WHERE position >= ? AND type IN (SELECT value FROM json_each(?)) ORDER BY position LIMIT ?",
        (position, wanted, limit),
    )
    return [AuditRow(row[0], decode(bytes(row[1])), bytes(row[1]), bytes(row[2])) for row in rows]


async def owners(rx: Read, studies: Iterable[StudyInstanceUID]) -> dict[StudyInstanceUID, PatientKey]:
    """Whose these studies are by now, also the withdrawn ones; those of which nothing is known are left out."""
    wanted = msgspec.json.encode([str(uid) for uid in studies]).decode()
    rows = await rx.fetch_all(
        "SELECT s.uid, coalesce(k.issuer, s.issuer), coalesce(k.patient_id, s.patient_id) FROM study s"
        " LEFT JOIN study_link k ON k.study = s.uid WHERE s.uid IN (SELECT value FROM json_each(?1))"
        " UNION ALL SELECT uid, issuer, patient_id FROM withdrawn_study WHERE uid IN (SELECT value FROM json_each(?1))",
        (wanted,),
    )
    return {StudyInstanceUID(row[0]): PatientKey(row[1], row[2]) for row in rows}
