"""Corrected identities in the index: applied to one study, written down so that they can be undone."""

from collections.abc import Iterable

from node.model.correction import Correction, CorrectionId, CorrectionKind, FormerIdentity
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import Demographics, Manifest
from node.model.lifecycle import RevisionCause
from node.store import identity, revisions
from node.store.engine import Read, Row, Write
from node.store.matching import fold


async def apply(
    tx: Write,
    study: StudyInstanceUID,
    patient: PatientKey,
    said: Demographics,
    *,
    now: int,
    at_least: int = 1,
    former: Iterable[PatientKey] = (),
) -> Manifest | None:
    """``study`` is this patient's from now on, which is a new revision of it; None if nothing of it can be seen.

    ``former``: under whom else its bytes may stand, beside the patient that it had.
    """
    row = await tx.fetch_one("SELECT issuer, patient_id FROM study WHERE uid = ?", (str(study),))
    told = (patient.issuer, patient.patient_id, said.name, said.birth_date, said.sex)
    if row is None:
        await tx.execute(
            "UPDATE withdrawn_study SET issuer = ?, patient_id = ?, patient_name = ?, birth_date = ?, sex = ?"
            " WHERE uid = ?",
            (*told, str(study)),
        )
        return None
    await identity.add_former(tx, study, PatientKey(row[0], row[1]), *former)
    await tx.execute(
        "UPDATE study SET issuer = ?, patient_id = ?, patient_name = ?, birth_date = ?, sex = ?,"
        " patient_name_match = ? WHERE uid = ?",
        (*told, fold(said.name), str(study)),
    )
    return await revisions.close_anew(tx, study, now=now, cause=RevisionCause.CORRECTION, at_least=at_least)


async def own_studies(rx: Read, patient: PatientKey) -> list[FormerIdentity]:
    """The own studies of a patient and what they say of them, the newest first."""
    rows = await rx.fetch_all(
        "SELECT uid, issuer, patient_id, patient_name, birth_date, sex FROM study"
        " WHERE patient_id = ? AND issuer = ? AND origin IS NULL ORDER BY date DESC, id DESC",
        (patient.patient_id, patient.issuer),
    )
    return [_former(row) for row in rows]


async def own_study(rx: Read, study: StudyInstanceUID) -> tuple[FormerIdentity, bool] | None:
    """Whose a study is said to be, and whether it is one's own; None if nothing of it can be seen."""
    row = await rx.fetch_one(
        "SELECT uid, issuer, patient_id, patient_name, birth_date, sex, origin IS NULL FROM study WHERE uid = ?",
        (str(study),),
    )
    return None if row is None else (_former(row), bool(row[6]))


async def add(tx: Write, c: Correction) -> None:
    """Write a correction down; a new study of the patient as it was is the corrected patient's."""
    await tx.execute(
        "INSERT INTO correction (correction, kind, issuer, patient_id, into_issuer, into_id, name, birth_date, sex,"
        " reason, made_at, made_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            c.correction_id.value,
            c.kind.value,
            c.patient.issuer,
            c.patient.patient_id,
            c.into.issuer,
            c.into.patient_id,
            c.demographics.name,
            c.demographics.birth_date,
            c.demographics.sex,
            c.reason,
            c.made_at,
            c.made_by,
        ),
    )
    await tx.execute_many(
        "INSERT INTO correction_study (correction, study_uid, issuer, patient_id, name, birth_date, sex)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                c.correction_id.value,
                str(s.study),
                s.patient.issuer,
                s.patient.patient_id,
                s.demographics.name,
                s.demographics.birth_date,
                s.demographics.sex,
            )
            for s in c.studies
        ],
    )
    if c.kind is not CorrectionKind.MOVE and c.patient != c.into:
        await tx.execute(
            "INSERT INTO patient_alias (issuer, patient_id, correction) VALUES (?, ?, ?)"
            " ON CONFLICT (issuer, patient_id) DO UPDATE SET correction = excluded.correction",
            (c.patient.issuer, c.patient.patient_id, c.correction_id.value),
        )
        await tx.execute(
            "DELETE FROM patient_alias WHERE issuer = ? AND patient_id = ?", (c.into.issuer, c.into.patient_id)
        )


async def get(rx: Read, correction_id: CorrectionId) -> Correction | None:
    """A correction."""
    row = await rx.fetch_one(f"{_CORRECTIONS} WHERE correction = ?", (correction_id.value,))
    return None if row is None else _correction(row, await _studies(rx, correction_id))


async def page(rx: Read, *, limit: int = 1000) -> list[Correction]:
    """Corrections, last first."""
    rows = await rx.fetch_all(f"{_CORRECTIONS} ORDER BY made_at DESC, rowid DESC LIMIT ?", (limit,))
    return [_correction(row, await _studies(rx, CorrectionId(bytes(row[0])))) for row in rows]


async def has_later(rx: Read, c: Correction) -> bool:
    """Whether a study of ``c`` was corrected again and that still stands."""
    value = await rx.fetch_value(
        "SELECT EXISTS (SELECT 1 FROM correction_study a JOIN correction_study b ON b.study_uid = a.study_uid"
        " JOIN correction x ON x.correction = b.correction JOIN correction y ON y.correction = a.correction"
        " WHERE a.correction = ? AND x.rowid > y.rowid AND x.undone_at IS NULL)",
        (c.correction_id.value,),
    )
    return bool(value)


async def set_undone(tx: Write, c: Correction, *, at: int) -> None:
    """A correction does not count any more."""
    await tx.execute("UPDATE correction SET undone_at = ? WHERE correction = ?", (at, c.correction_id.value))
    await tx.execute("DELETE FROM patient_alias WHERE correction = ?", (c.correction_id.value,))


async def carry_refusals(tx: Write, patient: PatientKey, into: PatientKey, *, at: int) -> None:
    """What ``patient`` forbade, ``into`` forbids too: a merge must never release more than before.

    What was permitted stays with the id under which it was permitted, until somebody records it anew.
    """
    was, now = (patient.issuer, patient.patient_id), (into.issuer, into.patient_id)
    await tx.execute(
        "INSERT INTO opt_out (issuer, patient_id, at) SELECT ?, ?, ? FROM opt_out WHERE issuer = ? AND patient_id = ?"
        " ON CONFLICT DO NOTHING",
        (*now, at, *was),
    )
    await tx.execute(
        "UPDATE directive SET issuer = ?, patient_id = ? WHERE issuer = ? AND patient_id = ? AND effect = 'DENY'",
        (*now, *was),
    )
    await tx.execute(
        "UPDATE study_link SET issuer = ?, patient_id = ? WHERE issuer = ? AND patient_id = ?", (*now, *was)
    )


async def share_refusals(tx: Write, into: PatientKey, patient: PatientKey) -> None:
    """What ``into`` forbids, ``patient`` forbids too: a correction is taken back, and nobody knows whose it was.

    Both keep it, each to be revoked by itself: that it is withheld once too often is the smaller harm.
    """
    await tx.execute(
        "INSERT INTO directive (consent_id, issuer, patient_id, effect, recipient, studies, modalities, body_parts,"
        " from_date, to_date, purposes, starts_at, until, created_at, recorded_by, revoked_at)"
        " SELECT randomblob(16), ?, ?, effect, recipient, studies, modalities, body_parts,"
        " from_date, to_date, purposes, starts_at, until, created_at, recorded_by, revoked_at FROM directive"
        " WHERE issuer = ? AND patient_id = ? AND effect = 'DENY' AND revoked_at IS NULL",
        (patient.issuer, patient.patient_id, into.issuer, into.patient_id),
    )


_CORRECTIONS = (
    "SELECT correction, kind, issuer, patient_id, into_issuer, into_id, name, birth_date, sex, reason, made_at,"
    " made_by, undone_at FROM correction"
)


async def _studies(rx: Read, correction_id: CorrectionId) -> tuple[FormerIdentity, ...]:
    rows = await rx.fetch_all(
        "SELECT study_uid, issuer, patient_id, name, birth_date, sex FROM correction_study WHERE correction = ?"
        " ORDER BY study_uid",
        (correction_id.value,),
    )
    return tuple(_former(row) for row in rows)


def _former(row: Row) -> FormerIdentity:
    return FormerIdentity(StudyInstanceUID(row[0]), PatientKey(row[1], row[2]), Demographics(row[3], row[4], row[5]))


def _correction(row: Row, studies: tuple[FormerIdentity, ...]) -> Correction:
    return Correction(
        CorrectionId(bytes(row[0])),
        CorrectionKind(row[1]),
        PatientKey(row[2], row[3]),
        PatientKey(row[4], row[5]),
        Demographics(row[6], row[7], row[8]),
        row[9],
        row[10],
        row[11],
        studies,
        row[12],
    )
