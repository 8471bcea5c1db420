"""Revisions: a study that has been quiet is closed under a number, and from then on that number's manifest is fixed."""

from collections.abc import Sequence

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
from node.store.engine import Read, Row, Write


async def close(tx: Write, study: StudyInstanceUID, *, now: int, at_least: int = 1) -> Manifest | None:
    """Close the open revision of ``study`` under the next number (``at_least`` at least); None if nothing is open.

    Numbers only grow. A received study is closed under its origin's number, so that both sides speak of the same one.

    Raises:
        UnknownStudy: not held.
    """
    row = await tx.fetch_one("SELECT id, revision, revision_open FROM study WHERE uid = ?", (str(study),))
    if row is None:
        raise UnknownStudy
    study_id, last, is_open = row
    if not is_open:
        return None
    number = max(last + 1, at_least)
    await tx.execute("UPDATE instance SET revision = ? WHERE study_id = ? AND revision IS NULL", (number, study_id))
    await tx.execute("UPDATE study SET revision = ?, revision_open = 0 WHERE id = ?", (number, study_id))
    await tx.execute("INSERT INTO revision (study_id, number, closed_at) VALUES (?, ?, ?)", (study_id, number, now))
    return await manifest(tx, study, number)


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
        "SELECT i.sop_class_uid, i.uid, e.uid, i.transfer_syntax, i.size, i.digest FROM instance i"
        " JOIN series e ON e.id = i.series_id WHERE i.study_id = ? AND i.revision <= ?"
        " ORDER BY CAST(e.number AS INTEGER), e.uid, CAST(i.number AS INTEGER), i.uid",
        (row[0], row[3]),
    )
    return Manifest(study, PatientKey(row[1], row[2]), row[3], row[4], _entries(rows))


async def open_revisions(rx: Read, *, quiet_since: int) -> list[StudyInstanceUID]:
    """Studies with an open revision to which nothing was added after ``quiet_since``, the quietest first."""
    rows = await rx.fetch_all(
        "SELECT uid FROM study WHERE revision_open = 1 AND changed_at <= ? ORDER BY changed_at", (quiet_since,)
    )
    return [StudyInstanceUID(row[0]) for row in rows]


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
