"""Revisions: a study that has been quiet is closed under a number, and from then on that number's manifest is fixed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from node.errors.storage import UnknownStudy
from node.model.ids import (
    Digest,
    PatientKey,
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
)
from node.model.instance import Manifest, ManifestEntry
from node.model.lifecycle import RevisionCause
from node.store.engine import Read, Row, Write
from node.store.pack_format import RecordMeta


@dataclass(frozen=True, slots=True)
class ClosedRevision:
    """What a revision was, and why there is another one."""

    number: int
    closed_at: int
    cause: RevisionCause
    instances: int
    size: int  # bytes


async def close(
    tx: Write,
    study: StudyInstanceUID,
    *,
    now: int,
    at_least: int = 1,
    cause: RevisionCause = RevisionCause.INSTANCES,
) -> Manifest | None:
    """Close the open revision of ``study`` under the next number (``at_least`` at least); None if nothing is open.

    Numbers only grow. A received study is closed under its origin's number, so that both sides speak of the same one.

    Raises:
        UnknownStudy: not held.
    """
    row = await tx.fetch_one(
        "SELECT id, revision, revision_open, instances, bytes FROM study WHERE uid = ?", (str(study),)
    )
    if row is None:
        raise UnknownStudy
    study_id, last, is_open, instances, size = row
    if not is_open:
        return None
    number = max(last + 1, at_least)
    await tx.execute("UPDATE instance SET revision = ? WHERE study_id = ? AND revision IS NULL", (number, study_id))
    await tx.execute("UPDATE study SET revision = ?, revision_open = 0 WHERE id = ?", (number, study_id))
    await tx.execute("INSERT INTO revision (study_id, number, closed_at) VALUES (?, ?, ?)", (study_id, number, now))
    await note(tx, study, number, now, cause, instances=instances, size=size)
    return await manifest(tx, study, number)


async def close_anew(
    tx: Write, study: StudyInstanceUID, *, now: int, cause: RevisionCause, at_least: int = 1
) -> Manifest | None:
    """Close a revision though no instance came: something else about the study has changed. Raises UnknownStudy."""
    await tx.execute("UPDATE study SET revision_open = 1 WHERE uid = ?", (str(study),))
    return await close(tx, study, now=now, at_least=at_least, cause=cause)


async def note(
    tx: Write, study: StudyInstanceUID, number: int, now: int, cause: RevisionCause, *, instances: int, size: int
) -> None:
    """Write down in the history what a revision was."""
    await tx.execute(
        "INSERT INTO revision_history (study_uid, number, closed_at, cause, instances, bytes)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (str(study), number, now, cause.value, instances, size),
    )


async def history(rx: Read, study: StudyInstanceUID) -> list[ClosedRevision]:
    """Every closed revision of ``study``, the last first; of a withdrawn study too."""
    rows = await rx.fetch_all(
        "SELECT number, closed_at, cause, instances, bytes FROM revision_history WHERE study_uid = ?"
        " ORDER BY number DESC",
        (str(study),),
    )
    return [ClosedRevision(row[0], row[1], RevisionCause(row[2]), row[3], row[4]) for row in rows]


async def manifest(rx: Read, study: StudyInstanceUID, revision: int | None = None) -> Manifest | None:
    """What ``revision`` of ``study`` consists of (the last closed one if None); None if it was never closed.

    Entries stand in the order of series and instance numbers.
    """
    row = await rx.fetch_one(
        "SELECT s.id, s.issuer, s.patient_id, r.number, r.closed_at FROM study s JOIN revision r ON r.study_id = s.id"
        " WHERE s.uid = ?1 AND r.number = coalesce(?2, s.revision)",
        (str(study), revision),
    )
    if row is None:
        return None
    rows = await rx.fetch_all(
        "SELECT i.sop_class_uid, i.uid, e.uid, i.transfer_syntax, i.size, i.digest, e.number, i.number FROM instance i"
        " JOIN series e ON e.id = i.series_id WHERE i.study_id = ? AND i.revision <= ?"
        " ORDER BY CAST(e.number AS INTEGER), e.uid, CAST(i.number AS INTEGER), i.uid",
        (row[0], row[3]),
    )
    hidden = await rx.fetch_all(
        "SELECT meta FROM hidden WHERE study_uid = ?1 AND revision <= ?2 AND removed_in > ?2", (str(study), row[3])
    )
    if hidden:
        rows = sorted([*rows, *(_row(RecordMeta.decode(bytes(one[0]))) for one in hidden)], key=_place)
    return Manifest(study, PatientKey(row[1], row[2]), row[3], row[4], _entries(rows))


async def open_revisions(rx: Read, *, quiet_since: int) -> list[StudyInstanceUID]:
    """Studies with an open revision to which nothing was added after ``quiet_since``, the quietest first."""
    rows = await rx.fetch_all(
        "SELECT uid FROM study WHERE revision_open = 1 AND changed_at <= ? ORDER BY changed_at", (quiet_since,)
    )
    return [StudyInstanceUID(row[0]) for row in rows]


def _row(meta: RecordMeta) -> Row:
    """A hidden instance as the manifest's query tells visible ones."""
    h = meta.header
    uids = h.sop_class_uid, h.sop_instance_uid, h.series_instance_uid, h.transfer_syntax_uid
    return (*map(str, uids), meta.size, meta.digest.value, h.series_number, h.instance_number)


def _place(row: Row) -> tuple[int, str, int, str]:
    """The order of the manifest's query: series number, series, instance number, instance."""
    return _number(row[6]), row[2], _number(row[7]), row[1]


def _number(text: str) -> int:
    """What SQLite's CAST makes of it."""
    match = re.match(r"[ ]*([+-]?[0-9]{1,18})", text)
    return int(match[1]) if match else 0


def _entries(rows: Sequence[Row]) -> tuple[ManifestEntry, ...]:
    return tuple(
        ManifestEntry(
            SOPClassUID(row[0]),
            SOPInstanceUID(row[1]),
            SeriesInstanceUID(row[2]),
            TransferSyntaxUID(row[3]),
            row[4],
            Digest(bytes(row[5])),
        )
        for row in rows
    )
