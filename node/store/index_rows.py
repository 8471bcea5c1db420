"""What the packs hold becomes rows. One function for the indexer, for replay after a crash and for admission.

What the put decided is decided again here, so that the same records lead to the same index in whatever order and
however often they are read: an instance that is there already is left out, one that contradicts it is put aside. A
second record of the same bytes exists only because the first one was found damaged: it takes its place.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from node.model.ids import Digest, ObjectId, PatientKey
from node.model.instance import InstanceHeader
from node.model.lifecycle import HiddenReason
from node.store import identity, tombstones
from node.store.engine import Write
from node.store.matching import fold
from node.store.pack_format import QuarantineReason, RecordMeta

# SOP classes of documents that a reader would call a report (PS3.4 B.5): Basic, Enhanced, Comprehensive, Comprehensive
# 3D and Extensible SR; encapsulated PDF and CDA. Measurements, dose and CAD results are SR too, but no reports.
REPORT_CLASSES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in ("88.11", "88.22", "88.33", "88.34", "88.35", "104.1", "104.2")
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A durable record: what it says and where it lies."""

    meta: RecordMeta
    object_id: ObjectId
    pack: bytes
    offset: int
    end: int  # the pack's length with this record
    space: bytes


@dataclass(slots=True)
class Added:
    """What became of a number of entries."""

    stored: int = 0
    same: int = 0
    quarantined: int = 0
    staged: int = 0
    hidden: int = 0  # under a tombstone: kept, not shown


async def add(tx: Write, entries: Sequence[Entry]) -> Added:
    """Put ``entries`` into the index: visible, staged (if they came by a transfer) or quarantined."""
    await note_packs(tx, entries)
    added = Added()
    for entry in entries:
        if entry.meta.quarantine is not None:
            added.quarantined += await _put_aside(tx, entry, entry.meta.quarantine)
    staged = [e for e in entries if e.meta.transfer is not None and e.meta.quarantine is None]
    if staged:
        added.staged = await _stage(tx, staged)
    await add_visible(tx, [e for e in entries if e.meta.transfer is None and e.meta.quarantine is None], added)
    return added


async def note_packs(tx: Write, entries: Iterable[Entry]) -> None:
    """Record how far the index has followed each pack of ``entries``."""
    ends: dict[tuple[bytes, bytes, bytes | None], int] = {}
    for entry in entries:
        transfer = entry.meta.transfer.value if entry.meta.transfer else None
        key = (entry.pack, entry.space, transfer)
        ends[key] = max(ends.get(key, 0), entry.end)
    await tx.execute_many(
        "INSERT INTO pack (name, space, transfer, indexed_bytes) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET indexed_bytes = max(indexed_bytes, excluded.indexed_bytes)",
        [(*key, end) for key, end in ends.items()],
    )


async def add_visible(tx: Write, entries: Sequence[Entry], added: Added) -> None:
    """Make ``entries`` visible, counting in ``added`` what became of each."""
    if not entries:
        return
    uids = msgspec.json.encode([str(e.meta.header.sop_instance_uid) for e in entries]).decode()
    held = await _held(tx, uids)
    stones = await tombstones.of_studies(tx, {e.meta.header.study_instance_uid for e in entries})
    batch = _Batch(tx)
    again: list[Entry] = []
    for entry in entries:
        uid = str(entry.meta.header.sop_instance_uid)
        known = held.setdefault(uid, _Held())
        if entry.meta.digest in known.digests:
            added.same += 1
            again.append(entry)
            continue
        buried = [s for s in stones.get(entry.meta.header.study_instance_uid, ()) if s.covers(entry.meta)]
        if buried and not known.taken:
            known.take(entry.meta.digest)
            added.hidden += await _hide(tx, entry, buried[0].reason)
            continue
        reason = QuarantineReason.CONTENT_DIFFERS if known.taken else await batch.add(entry)
        if reason is None:
            known.take(entry.meta.digest)
            added.stored += 1
        else:
            added.quarantined += await _put_aside(tx, entry, reason)
    await batch.write()
    for entry in again:
        await _repair(tx, entry)
    await tx.execute(
        "DELETE FROM quarantine WHERE uid IN (SELECT value FROM json_each(?)) AND EXISTS"
        " (SELECT 1 FROM instance i WHERE i.uid = quarantine.uid AND i.digest = quarantine.digest)",
        (uids,),
    )


@dataclass(slots=True)
class _Held:
    """What is there under a SOP Instance UID, shown or hidden."""

    digests: set[Digest] = field(default_factory=set)
    taken: bool = False  # by one that counts: what another took the place of does not

    def take(self, digest: Digest) -> None:
        self.digests.add(digest)
        self.taken = True


async def _held(tx: Write, uids: str) -> dict[str, _Held]:
    rows = await tx.fetch_all(
        "SELECT uid, digest, 1 FROM instance WHERE uid IN (SELECT value FROM json_each(?1)) UNION ALL"
        " SELECT uid, digest, reason <> 'superseded' FROM hidden WHERE uid IN (SELECT value FROM json_each(?1))",
        (uids,),
    )
    held: dict[str, _Held] = {}
    for uid, digest, counts in rows:
        one = held.setdefault(uid, _Held())
        one.digests.add(Digest(bytes(digest)))
        one.taken |= bool(counts)
    return held


@dataclass(slots=True)
class _Study:
    id: int
    patient: tuple[str, str]
    origin: bytes | None
    instances: int = 0
    bytes: int = 0
    series: int = 0
    changed_at: int = 0
    has_report: bool = False


@dataclass(slots=True)
class _Batch:
    """The rows of one call, gathered so that each table is written once."""

    tx: Write
    studies: dict[str, _Study] = field(default_factory=dict)
    series: dict[str, tuple[int, int]] = field(default_factory=dict)  # uid → (series id, study id)
    series_counts: Counter[int] = field(default_factory=Counter)
    rows: list[tuple[object, ...]] = field(default_factory=list)

    async def add(self, entry: Entry) -> QuarantineReason | None:
        """Take one new instance, or say what it contradicts."""
        header = entry.meta.header
        study = await self._study(str(header.study_instance_uid))
        series = await self._series_of(str(header.series_instance_uid))
        if study and study.origin != _origin(entry):
            return QuarantineReason.ORIGIN_DIFFERS
        patient = (header.patient.issuer, header.patient.patient_id)
        if study and study.patient != patient:
            was = await identity.was_formerly(self.tx, header.study_instance_uid, header.patient)
            if not was and study.patient != _key(await identity.survivor(self.tx, header.patient)):
                return QuarantineReason.PATIENT_DIFFERS
        if series and (study is None or series[1] != study.id):
            return QuarantineReason.SERIES_DIFFERS
        study = study or await self._make_study(entry)
        series_id = series[0] if series else await self._make_series(header, study)
        meta = entry.meta
        study.instances += 1
        study.bytes += meta.size
        study.changed_at = max(study.changed_at, meta.received_at)
        study.has_report |= str(header.sop_class_uid) in REPORT_CLASSES
        self.series_counts[series_id] += 1
        self.rows.append((
            series_id, study.id, str(header.sop_instance_uid), str(header.sop_class_uid),
            str(header.transfer_syntax_uid), header.instance_number, header.rows, header.columns, header.frames,
            header.bits_allocated, meta.file_meta, meta.size, meta.digest.value, entry.object_id.value, entry.pack,
            entry.offset, meta.received_at,
        ))  # fmt: skip
        return None

    async def write(self) -> None:
        await self.tx.execute_many(
            "INSERT INTO instance (series_id, study_id, uid, sop_class_uid, transfer_syntax, number, rows, columns,"
            " frames, bits_allocated, file_meta, size, digest, object_id, pack, offset, stored_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self.rows,
        )
        await self.tx.execute_many(
            "UPDATE series SET instances = instances + ? WHERE id = ?",
            [(count, series) for series, count in self.series_counts.items()],
        )
        await self.tx.execute_many(
            "UPDATE study SET instances = instances + ?, bytes = bytes + ?, series = series + ?,"
            " has_report = max(has_report, ?), changed_at = max(changed_at, ?), revision_open = 1 WHERE id = ?",
            [
                (s.instances, s.bytes, s.series, int(s.has_report), s.changed_at, s.id)
                for s in self.studies.values()
                if s.instances
            ],
        )

    async def _study(self, uid: str) -> _Study | None:
        if uid not in self.studies:
            row = await self.tx.fetch_one("SELECT id, issuer, patient_id, origin FROM study WHERE uid = ?", (uid,))
            if row is None:
                return None
            self.studies[uid] = _Study(row[0], (row[1], row[2]), None if row[3] is None else bytes(row[3]))
        return self.studies[uid]

    async def _series_of(self, uid: str) -> tuple[int, int] | None:
        if uid not in self.series:
            row = await self.tx.fetch_one("SELECT id, study_id FROM series WHERE uid = ?", (uid,))
            if row is None:
                return None
            self.series[uid] = (row[0], row[1])
        return self.series[uid]

    async def _make_study(self, entry: Entry) -> _Study:
        h, origin = entry.meta.header, _origin(entry)
        if origin is None:
            h = await identity.as_survivor(self.tx, h)
        revision = await identity.revision_to_go_on_from(self.tx, h.study_instance_uid)
        new = await self.tx.insert(
            "INSERT INTO study (uid, space, issuer, patient_id, patient_name, patient_name_match, patient_name_raw,"
            " birth_date, sex, character_set, date, time, accession_number, study_id, description,"
            " referring_physician, origin, revision, changed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                str(h.study_instance_uid), entry.space, h.patient.issuer, h.patient.patient_id, h.demographics.name,
                fold(h.demographics.name), h.patient_name_raw, h.demographics.birth_date, h.demographics.sex,
                h.specific_character_set, h.study_date, h.study_time, h.accession_number, h.study_id,
                h.study_description, h.referring_physician, origin, revision, entry.meta.received_at,
            ),
        )  # fmt: skip
        study = _Study(new, (h.patient.issuer, h.patient.patient_id), origin)
        self.studies[str(h.study_instance_uid)] = study
        return study

    async def _make_series(self, h: InstanceHeader, study: _Study) -> int:
        new = await self.tx.insert(
            "INSERT INTO series (study_id, uid, modality, number, description, body_part, date, time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                study.id, str(h.series_instance_uid), h.modality, h.series_number, h.series_description, h.body_part,
                h.series_date, h.series_time,
            ),
        )  # fmt: skip
        self.series[str(h.series_instance_uid)] = (new, study.id)
        study.series += 1
        return new


async def _stage(tx: Write, entries: Sequence[Entry]) -> int:
    return await tx.execute_many(
        "INSERT INTO staged (transfer, uid, study_uid, digest, object_id, pack, offset, meta)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            (
                e.meta.transfer.value if e.meta.transfer else None, str(e.meta.header.sop_instance_uid),
                str(e.meta.header.study_instance_uid), e.meta.digest.value, e.object_id.value, e.pack, e.offset,
                e.meta.encode(),
            )
            for e in entries
        ],
    )  # fmt: skip


def _origin(entry: Entry) -> bytes | None:
    return entry.meta.origin.digest if entry.meta.origin else None


def _key(patient: PatientKey) -> tuple[str, str]:
    return patient.issuer, patient.patient_id


async def _repair(tx: Write, entry: Entry) -> None:
    """Let the instance's row point to this record; one that a transfer brought only if the other is known damaged."""
    old = await tx.fetch_value(
        "SELECT object_id FROM instance WHERE uid = ?1 AND digest = ?2 AND object_id <> ?3"
        " AND (?4 OR object_id IN (SELECT object_id FROM damaged_object))",
        (
            str(entry.meta.header.sop_instance_uid), entry.meta.digest.value, entry.object_id.value,
            entry.meta.transfer is None,
        ),
    )  # fmt: skip
    if old is None:
        return
    await tx.execute(
        "UPDATE instance SET object_id = ?, pack = ?, offset = ? WHERE object_id = ?",
        (entry.object_id.value, entry.pack, entry.offset, old),
    )
    await tx.execute("DELETE FROM damaged_object WHERE object_id = ?", (old,))


async def _hide(tx: Write, entry: Entry, reason: HiddenReason) -> int:
    meta = entry.meta
    row = (
        str(meta.header.sop_instance_uid), str(meta.header.study_instance_uid), str(meta.header.series_instance_uid),
        meta.digest.value, reason.value, None, None, entry.object_id.value, entry.pack, entry.offset, meta.encode(),
        meta.received_at,
    )  # fmt: skip
    return await tombstones.insert_hidden(tx, [row])


async def _put_aside(tx: Write, entry: Entry, reason: QuarantineReason) -> int:
    meta = entry.meta
    return await tx.execute(
        "INSERT INTO quarantine (uid, study_uid, digest, reason, object_id, pack, offset, meta, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            str(meta.header.sop_instance_uid), str(meta.header.study_instance_uid), meta.digest.value, reason.value,
            entry.object_id.value, entry.pack, entry.offset, meta.encode(), meta.received_at,
        ),
    )  # fmt: skip
