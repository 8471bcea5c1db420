"""What the index knows of the studies of patients who use the portal, and what staff decided about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import Demographics
from node.model.portal import Ruling, RulingKind, StudyFacts
from node.store.engine import Read, Row, Write
from node.store.identity import MAX_MERGES
from node.store.index_rows import REPORT_CLASSES


@dataclass(frozen=True, slots=True)
class RecordStudy:
    """A study of a patient: an own one, or a received one that is linked to them."""

    study: StudyInstanceUID
    patient: PatientKey
    facts: StudyFacts


async def studies_of(rx: Read, patients: Sequence[PatientKey]) -> list[RecordStudy]:
    """The studies of these patients that can be seen here at all, newest first.

    A received study counts for a patient only by a link: what another facility writes into Patient ID and Issuer is
    its word, and no proof of whose study it is.
    """
    keys = msgspec.json.encode([[p.issuer, p.patient_id] for p in patients]).decode()
    rows = await rx.fetch_all(
        "WITH theirs (id, issuer, patient_id) AS ("
        " SELECT s.id, s.issuer, s.patient_id FROM json_each(?1) j"
        " CROSS JOIN study s ON s.patient_id = j.value ->> 1 AND s.issuer = j.value ->> 0 WHERE s.origin IS NULL"
        " UNION SELECT s.id, k.issuer, k.patient_id FROM json_each(?1) j"
        " CROSS JOIN study_link k ON k.patient_id = j.value ->> 1 AND k.issuer = j.value ->> 0"
        " JOIN study s ON s.uid = k.study)"
        " SELECT s.uid, t.issuer, t.patient_id,"
        " coalesce((SELECT min(r.closed_at) FROM revision r WHERE r.study_id = s.id), s.changed_at),"
        " (SELECT json_group_array(DISTINCT e.modality) FROM series e WHERE e.study_id = s.id),"
        " CASE WHEN s.has_report THEN (SELECT max(i.stored_at) FROM instance i WHERE i.study_id = s.id"
        "  AND i.sop_class_uid IN (SELECT value FROM json_each(?2))) END,"
        " EXISTS (SELECT 1 FROM sensitive_study x WHERE x.study = s.uid),"
        " u.kind, u.reason, u.until, u.at, u.by"
        " FROM theirs t JOIN study s ON s.id = t.id LEFT JOIN portal_ruling u ON u.study = s.uid"
        " ORDER BY s.date DESC, s.time DESC, s.id DESC",
        (keys, _REPORTS),
    )
    return [_record_study(row) for row in rows]


async def aliases_of(rx: Read, patient: PatientKey) -> list[PatientKey]:
    """Patients who turned out to be ``patient`` (merges that stand): events of before name them."""
    rows = await rx.fetch_all(
        "WITH RECURSIVE former (issuer, patient_id, depth) AS (SELECT ?1, ?2, 0 UNION"
        " SELECT a.issuer, a.patient_id, f.depth + 1 FROM former f"
        " JOIN correction c ON c.into_issuer = f.issuer AND c.into_id = f.patient_id"
        " JOIN patient_alias a ON a.correction = c.correction WHERE f.depth < ?3)"
        " SELECT DISTINCT issuer, patient_id FROM former WHERE depth > 0",
        (patient.issuer, patient.patient_id, MAX_MERGES),
    )
    return [PatientKey(*row) for row in rows]


async def withdrawn_of(rx: Read, patients: Sequence[PatientKey]) -> list[StudyInstanceUID]:
    """Own studies of these patients of which nothing can be seen any more: events still tell of them."""
    keys = msgspec.json.encode([[p.issuer, p.patient_id] for p in patients]).decode()
    rows = await rx.fetch_all(
        "SELECT uid FROM withdrawn_study WHERE origin IS NULL"
        " AND (issuer, patient_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
        (keys,),
    )
    return [StudyInstanceUID(row[0]) for row in rows]


async def demographics_of(rx: Read, patient: PatientKey) -> Demographics | None:
    """What the newest own study of a patient that has a date of birth says, else what the newest link says.

    None if nothing here is of this patient. Always two statements, so that the answer's time tells nothing.
    """
    own = await rx.fetch_one(
        "SELECT patient_name, birth_date, sex FROM study WHERE patient_id = ? AND issuer = ? AND origin IS NULL"
        " ORDER BY birth_date = '', date DESC, id DESC LIMIT 1",
        (patient.patient_id, patient.issuer),
    )
    linked = await rx.fetch_one(
        "SELECT name, birth_date, sex FROM study_link WHERE patient_id = ? AND issuer = ?"
        " ORDER BY birth_date = '', linked_at DESC LIMIT 1",
        (patient.patient_id, patient.issuer),
    )
    row = own or linked
    return None if row is None else Demographics(*row)


async def set_ruling(tx: Write, ruling: Ruling) -> None:
    """What staff decided of a study; the last word counts."""
    await tx.execute(
        "INSERT INTO portal_ruling (study, kind, reason, until, at, by) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (study) DO UPDATE SET kind = excluded.kind, reason = excluded.reason, until = excluded.until,"
        " at = excluded.at, by = excluded.by",
        (str(ruling.study), ruling.kind.value, ruling.reason, ruling.until, ruling.at, ruling.by),
    )


async def clear_ruling(tx: Write, study: StudyInstanceUID) -> bool:
    """The delays of the settings hold again; whether something else did."""
    return bool(await tx.execute("DELETE FROM portal_ruling WHERE study = ?", (str(study),)))


async def rulings(rx: Read) -> list[Ruling]:
    """All decisions, newest first."""
    rows = await rx.fetch_all("SELECT study, kind, reason, until, at, by FROM portal_ruling ORDER BY at DESC, study")
    return [Ruling(StudyInstanceUID(row[0]), RulingKind(row[1]), *row[2:6]) for row in rows]


_REPORTS = msgspec.json.encode(sorted(REPORT_CLASSES)).decode()


def _record_study(row: Row) -> RecordStudy:
    study = StudyInstanceUID(row[0])
    ruling = None if row[7] is None else Ruling(study, RulingKind(row[7]), *row[8:12])
    modalities = tuple(sorted(filter(None, msgspec.json.decode(row[4], type=list[str]))))
    facts = StudyFacts(row[3], modalities, row[5], bool(row[6]), ruling)
    return RecordStudy(study, PatientKey(row[1], row[2]), facts)
