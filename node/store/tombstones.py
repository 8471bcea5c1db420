"""What is hidden and must stay hidden: tombstones, and the rows of hidden instances."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from node.model.ids import Digest, PeerId, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID
from node.model.lifecycle import HiddenReason
from node.store.engine import Params, Read, Write
from node.store.pack_format import RecordMeta


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What must stay hidden: a study (no ``instance``), an instance, or (``digest``) one data set under its UID.

    It covers what is of ``origin`` only (None: one's own).
    """

    study: StudyInstanceUID
    reason: HiddenReason
    instance: SOPInstanceUID | None = None
    digest: Digest | None = None
    origin: PeerId | None = None

    def covers(self, meta: RecordMeta) -> bool:
        """Whether a data set must not be shown."""
        return (
            self.origin == meta.origin
            and (self.instance is None or self.instance == meta.header.sop_instance_uid)
            and (self.digest is None or self.digest == meta.digest)
        )


async def add(tx: Write, stones: Iterable[Tombstone], *, at: int) -> None:
    """Set tombstones; one that is there stays as it is."""
    await tx.execute_many(
        "INSERT INTO tombstone (study_uid, uid, origin, digest, reason, at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [
            (
                str(stone.study),
                str(stone.instance or ""),
                stone.origin.digest if stone.origin else b"",
                stone.digest.value if stone.digest else b"",
                stone.reason.value,
                at,
            )
            for stone in stones
        ],
    )


async def of_studies(rx: Read, studies: Iterable[StudyInstanceUID]) -> dict[StudyInstanceUID, list[Tombstone]]:
    """The tombstones of these studies."""
    rows = await rx.fetch_all(
        "SELECT study_uid, reason, uid, digest, origin FROM tombstone"
        " WHERE study_uid IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode([str(study) for study in studies]).decode(),),
    )
    found: dict[StudyInstanceUID, list[Tombstone]] = {}
    for row in rows:
        stone = Tombstone(
            StudyInstanceUID(row[0]),
            HiddenReason(row[1]),
            SOPInstanceUID(row[2]) if row[2] else None,
            Digest(bytes(row[3])) if row[3] else None,
            PeerId(bytes(row[4])) if row[4] else None,
        )
        found.setdefault(stone.study, []).append(stone)
    return found


async def insert_hidden(tx: Write, rows: Sequence[Params]) -> int:
    """Insert rows of ``hidden``: uid, study, series, digest, reason, revision, removed_in, object, pack, offset, ..."""
    return await tx.execute_many(
        "INSERT INTO hidden (uid, study_uid, series_uid, digest, reason, revision, removed_in, object_id, pack, offset,"
        " meta, hidden_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        rows,
    )


async def hidden_digests(rx: Read, instances: Iterable[SOPInstanceUID]) -> dict[SOPInstanceUID, set[Digest]]:
    """The data sets that are kept and hidden under these UIDs."""
    rows = await rx.fetch_all(
        "SELECT uid, digest FROM hidden WHERE uid IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode([str(instance) for instance in instances]).decode(),),
    )
    found: dict[SOPInstanceUID, set[Digest]] = {}
    for uid, digest in rows:
        found.setdefault(SOPInstanceUID(uid), set()).add(Digest(bytes(digest)))
    return found


async def gone(
    rx: Read,
    study: StudyInstanceUID,
    series: SeriesInstanceUID | None = None,
    instance: SOPInstanceUID | None = None,
) -> bool:
    """Whether what is not visible under these UIDs was there once, or would be, and was withdrawn (HTTP 410)."""
    value = await rx.fetch_value(
        "SELECT EXISTS (SELECT 1 FROM hidden WHERE study_uid = ?1 AND (?2 = '' OR series_uid = ?2)"
        "  AND (?3 = '' OR uid = ?3) AND reason <> 'superseded')"
        " OR EXISTS (SELECT 1 FROM tombstone WHERE study_uid = ?1 AND uid IN ('', ?3) AND (uid <> '' OR digest = x''))"
        " OR (?2 = '' AND ?3 = '' AND EXISTS (SELECT 1 FROM withdrawn_study WHERE uid = ?1))",
        (str(study), str(series or ""), str(instance or "")),
    )
    return bool(value)
