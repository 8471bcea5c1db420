"""Taking instances out of sight: what was a row of `instance` becomes one of `hidden`, and the study goes on without.

Nothing else in this node has to know of it: lists, searches, announcements, releases and retrieval read `instance` and
`study`, and there it is no more. A study of which nothing is left to see becomes a row of `withdrawn_study`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from node.model.ids import Digest, PatientKey, PeerId, SOPInstanceUID, StudyInstanceUID
from node.model.instance import Demographics
from node.model.lifecycle import HiddenReason, RevisionCause
from node.store import revisions
from node.store.engine import Read, Row, Write
from node.store.index_rows import REPORT_CLASSES
from node.store.pack_format import RecordMeta
from node.store.study_queries import INSTANCE_COLUMNS, stored_instance
from node.store.tombstones import insert_hidden


@dataclass(frozen=True, slots=True)
class WithdrawnStudy:
    """A study of which nothing can be seen any more."""

    study: StudyInstanceUID
    patient: PatientKey
    demographics: Demographics
    date: str
    description: str
    modalities: tuple[str, ...]
    origin: PeerId | None
    instances: int
    revision: int
    reason: HiddenReason
    words: str  # why, for people
    at: int


async def hide(
    tx: Write,
    study: StudyInstanceUID,
    instances: Sequence[SOPInstanceUID] | None,
    reason: HiddenReason,
    *,
    cause: RevisionCause,
    now: int,
    words: str = "",
    digest: Digest | None = None,
    at_least: int = 1,
    close: bool = True,
) -> list[SOPInstanceUID]:
    """Hide these visible instances of ``study`` (all of them if None); returns which there were.

    ``digest``: only the data set that has it. What is left of the study is a new revision (``at_least`` that number),
    at once, also while instances come in; without ``close``, the caller changes the study further and closes it then.
    """
    summary = await tx.fetch_one("SELECT id, revision, origin FROM study WHERE uid = ?", (str(study),))
    if summary is None:
        return []
    rows = await _instances(tx, study, instances, digest)
    if not rows:
        return []
    study_id, last, origin = summary
    sender = None if origin is None else PeerId(bytes(origin))
    await insert_hidden(tx, [_hidden(row, reason, last, sender, now) for row in rows])
    modalities = await tx.fetch_value(
        "SELECT json_group_array(DISTINCT modality) FROM series WHERE study_id = ?", (study_id,)
    )
    await tx.execute_many("DELETE FROM instance WHERE id = ?", [(row[-1],) for row in rows])
    if await _recount(tx, study_id):
        if close:
            await revisions.close_anew(tx, study, now=now, cause=cause, at_least=at_least)
    else:
        await _withdraw(tx, study_id, (modalities, len(rows), last + 1, reason.value, words, now))
        await revisions.note(tx, study, last + 1, now, cause, instances=0, size=0)
    return [SOPInstanceUID(row[1]) for row in rows]


async def withdrawn(rx: Read, *, limit: int = 1000) -> list[WithdrawnStudy]:
    """The studies that were withdrawn, last first."""
    rows = await rx.fetch_all(
        "SELECT uid, issuer, patient_id, patient_name, birth_date, sex, date, description, modalities, origin,"
        " instances, revision, reason, words, at FROM withdrawn_study ORDER BY at DESC, uid LIMIT ?",
        (limit,),
    )
    return [_withdrawn(row) for row in rows]


async def hidden_counts(rx: Read, study: StudyInstanceUID) -> dict[HiddenReason, int]:
    """How many instances of a study are hidden, by reason."""
    rows = await rx.fetch_all(
        "SELECT reason, count(*) FROM hidden WHERE study_uid = ? GROUP BY reason ORDER BY reason", (str(study),)
    )
    return {HiddenReason(row[0]): row[1] for row in rows}


async def _instances(
    tx: Write, study: StudyInstanceUID, instances: Sequence[SOPInstanceUID] | None, digest: Digest | None
) -> list[Row]:
    wanted = None if instances is None else msgspec.json.encode([str(uid) for uid in instances]).decode()
    return await tx.fetch_all(
        f"SELECT {INSTANCE_COLUMNS}, i.pack, i.offset, i.revision, i.stored_at, i.id FROM study s"  # noqa: S608 - fixed texts
        " JOIN series e ON e.study_id = s.id JOIN instance i ON i.series_id = e.id WHERE s.uid = ?1"
        " AND (?2 IS NULL OR i.uid IN (SELECT value FROM json_each(?2))) AND (?3 IS NULL OR i.digest = ?3)",
        (str(study), wanted, digest.value if digest else None),
    )


def _hidden(row: Row, reason: HiddenReason, last: int, origin: PeerId | None, now: int) -> tuple[object, ...]:
    held = stored_instance(row)
    pack, offset, revision, stored_at, _ = row[-5:]
    h = held.header
    meta = RecordMeta(h, held.digest, held.size, held.file_meta, stored_at, "", origin, None, None)
    return (
        str(h.sop_instance_uid), str(h.study_instance_uid), str(h.series_instance_uid), held.digest.value,
        reason.value, revision, None if revision is None else last + 1, held.object_id.value, pack, offset,
        meta.encode(), now,
    )  # fmt: skip


async def _recount(tx: Write, study_id: int) -> bool:
    """Bring the sums up to date; whether anything is left."""
    await tx.execute(
        "UPDATE series SET instances = (SELECT count(*) FROM instance i WHERE i.series_id = series.id)"
        " WHERE study_id = ?",
        (study_id,),
    )
    await tx.execute("DELETE FROM series WHERE study_id = ? AND instances = 0", (study_id,))
    reports = msgspec.json.encode(sorted(REPORT_CLASSES)).decode()
    await tx.execute(
        "UPDATE study SET series = (SELECT count(*) FROM series e WHERE e.study_id = ?1),"
        " instances = (SELECT count(*) FROM instance i WHERE i.study_id = ?1),"
        " bytes = (SELECT coalesce(sum(size), 0) FROM instance i WHERE i.study_id = ?1),"
        " has_report = EXISTS (SELECT 1 FROM instance i WHERE i.study_id = ?1"
        "  AND i.sop_class_uid IN (SELECT value FROM json_each(?2))),"
        " revision_open = EXISTS (SELECT 1 FROM instance i WHERE i.study_id = ?1 AND i.revision IS NULL)"
        " WHERE id = ?1",
        (study_id, reports),
    )
    return bool(await tx.fetch_value("SELECT instances > 0 FROM study WHERE id = ?", (study_id,)))


async def _withdraw(tx: Write, study_id: int, said: tuple[object, ...]) -> None:
    await tx.execute(
        "INSERT INTO withdrawn_study (uid, issuer, patient_id, patient_name, birth_date, sex, date, description,"
        " origin, modalities, instances, revision, reason, words, at) SELECT uid, issuer, patient_id, patient_name,"
        " birth_date, sex, date, description, origin, ?2, ?3, ?4, ?5, ?6, ?7 FROM study WHERE id = ?1",
        (study_id, *said),
    )
    await tx.execute("DELETE FROM study WHERE id = ?", (study_id,))


def _withdrawn(row: Row) -> WithdrawnStudy:
    return WithdrawnStudy(
        StudyInstanceUID(row[0]),
        PatientKey(row[1], row[2]),
        Demographics(row[3], row[4], row[5]),
        row[6],
        row[7],
        tuple(sorted(filter(None, msgspec.json.decode(row[8], type=list[str])))),
        None if row[9] is None else PeerId(bytes(row[9])),
        row[10],
        row[11],
        HiddenReason(row[12]),
        row[13],
        row[14],
    )
