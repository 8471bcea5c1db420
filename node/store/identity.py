"""Who a patient turned out to be: merged patients, corrected identities, and under whom a study's bytes may stand."""

from dataclasses import replace

from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import Demographics, InstanceHeader
from node.model.withdrawal import CorrectedIdentity
from node.store.engine import Read, Row, Write

MAX_MERGES = 16  # followed from one patient to the next


async def was_formerly(rx: Read, study: StudyInstanceUID, patient: PatientKey) -> bool:
    """Whether ``study`` once stood under ``patient``, so that its bytes may say so."""
    value = await rx.fetch_value(
        "SELECT EXISTS (SELECT 1 FROM formerly WHERE study_uid = ? AND issuer = ? AND patient_id = ?)",
        (str(study), patient.issuer, patient.patient_id),
    )
    return bool(value)


async def formerly(rx: Read, study: StudyInstanceUID) -> list[PatientKey]:
    """Under whom else the bytes of ``study`` may stand."""
    rows = await rx.fetch_all(
        "SELECT issuer, patient_id FROM formerly WHERE study_uid = ? ORDER BY issuer, patient_id", (str(study),)
    )
    return [PatientKey(*row) for row in rows]


async def add_former(tx: Write, study: StudyInstanceUID, *patients: PatientKey) -> None:
    """The bytes of ``study`` may stand under ``patients`` too."""
    await tx.execute_many(
        "INSERT INTO formerly (study_uid, issuer, patient_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(str(study), patient.issuer, patient.patient_id) for patient in patients],
    )


async def corrected(rx: Read, study: StudyInstanceUID) -> tuple[CorrectedIdentity, int] | None:
    """Whose ``study`` is and since when that is known, if it ever stood under another name or patient."""
    row = await rx.fetch_one(
        "SELECT s.issuer, s.patient_id, s.patient_name, s.birth_date, s.sex, coalesce((SELECT max(closed_at)"
        " FROM revision_history h WHERE h.study_uid = s.uid AND h.cause = 'correction'), s.changed_at)"
        " FROM study s WHERE s.uid = ?1 AND EXISTS (SELECT 1 FROM formerly f WHERE f.study_uid = ?1)",
        (str(study),),
    )
    if row is None:
        return None
    return CorrectedIdentity(PatientKey(row[0], row[1]), Demographics(row[2], row[3], row[4])), row[5]


async def survivor(rx: Read, patient: PatientKey) -> PatientKey:
    """Who ``patient`` is by now; the same one unless merged or corrected."""
    row = await _followed(rx, patient)
    return patient if row is None else PatientKey(row[0], row[1])


async def is_same(rx: Read, study: StudyInstanceUID, patient: PatientKey, owner: PatientKey | None) -> bool:
    """Whether what says ``patient`` may be part of ``study``, which is ``owner``'s."""
    if owner is None or await was_formerly(rx, study, patient):
        return True
    return await survivor(rx, patient) == await survivor(rx, owner)


async def as_survivor(tx: Write, header: InstanceHeader) -> InstanceHeader:
    """The header of a new study's first instance under the patient that its patient is by now."""
    row = await _followed(tx, header.patient)
    if row is None:
        return header
    await add_former(tx, header.study_instance_uid, header.patient)
    said = header.demographics
    told = Demographics(row[2] or said.name, row[3] or said.birth_date, row[4] or said.sex)
    return replace(header, patient=PatientKey(row[0], row[1]), demographics=told)


async def revision_to_go_on_from(tx: Write, study: StudyInstanceUID) -> int:
    """The number of the last revision of a study that can be seen again; 0 for one that is new."""
    value = await tx.fetch_value("SELECT revision FROM withdrawn_study WHERE uid = ?", (str(study),))
    if value is None:
        return 0
    await tx.execute("DELETE FROM withdrawn_study WHERE uid = ?", (str(study),))
    return int(value)


async def _followed(rx: Read, patient: PatientKey) -> Row | None:
    """The last correction on the way from ``patient``: into whom, and what is said of them."""
    found: Row | None = None
    for _ in range(MAX_MERGES):
        row = await rx.fetch_one(
            "SELECT c.into_issuer, c.into_id, c.name, c.birth_date, c.sex FROM patient_alias a"
            " JOIN correction c ON c.correction = a.correction WHERE a.issuer = ? AND a.patient_id = ?",
            (patient.issuer, patient.patient_id),
        )
        if row is None:
            return found
        found, patient = row, PatientKey(row[0], row[1])
    return found
