"""What was put aside: listed, read, accepted into the index, shredded."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from node.errors.lifecycle import UnknownQuarantined
from node.model.ids import Digest, ObjectId, PatientKey, StudyInstanceUID
from node.model.lifecycle import HiddenReason, RevisionCause
from node.model.quarantine import Circumstances
from node.store import hiding, identity, revisions, tombstones
from node.store.engine import Read, Row, Write
from node.store.index_rows import Added, Entry, add_visible
from node.store.pack_format import KEY_OFFSET, RECORD_HEADER_BYTES, QuarantineReason, RecordHeader, RecordMeta
from node.store.packs import pack_path
from node.store.study_queries import Location


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One instance that was put aside."""

    number: int
    reason: QuarantineReason
    meta: RecordMeta
    object_id: ObjectId
    pack: bytes
    offset: int


async def page(rx: Read, *, limit: int = 1000, offset: int = 0) -> list[Quarantined]:
    """What was put aside, last first."""
    rows = await rx.fetch_all(
        "SELECT id, reason, meta, object_id, pack, offset FROM quarantine ORDER BY id DESC LIMIT ? OFFSET ?",
        (limit, offset),
    )
    return [_quarantined(row) for row in rows]


async def get(rx: Read, number: int) -> Quarantined:
    """One of them; raises UnknownQuarantined."""
    row = await rx.fetch_one("SELECT id, reason, meta, object_id, pack, offset FROM quarantine WHERE id = ?", (number,))
    if row is None:
        raise UnknownQuarantined
    return _quarantined(row)


async def locate(rx: Read, one: Quarantined) -> Location:
    """Where its record lies."""
    row = await rx.fetch_one(
        "SELECT s.ref, s.key_version, s.wrapped_key FROM pack p JOIN space s ON s.ref = p.space WHERE p.name = ?",
        (one.pack,),
    )
    assert row is not None, "the pack is referred to"
    return Location(one.object_id, one.pack, one.offset, one.meta.size, bytes(row[0]), row[1], bytes(row[2]))


async def held_beside(rx: Read, one: Quarantined) -> tuple[StudyInstanceUID, Digest] | None:
    """What is visible under its SOP Instance UID: of which study, and which data set."""
    row = await rx.fetch_one(
        "SELECT s.uid, i.digest FROM instance i JOIN study s ON s.id = i.study_id WHERE i.uid = ?",
        (str(one.meta.header.sop_instance_uid),),
    )
    return None if row is None else (StudyInstanceUID(row[0]), Digest(bytes(row[1])))


async def circumstances(rx: Read, one: Quarantined) -> Circumstances:
    """What is there beside it."""
    h = one.meta.header
    held = await rx.fetch_one(
        "SELECT s.origin IS NULL FROM instance i JOIN study s ON s.id = i.study_id WHERE i.uid = ?",
        (str(h.sop_instance_uid),),
    )
    hidden = await rx.fetch_value(
        "SELECT EXISTS (SELECT 1 FROM hidden WHERE uid = ? AND reason <> 'superseded')", (str(h.sop_instance_uid),)
    )
    stones = (await tombstones.of_studies(rx, [h.study_instance_uid])).get(h.study_instance_uid, [])
    foreign = await rx.fetch_value("SELECT origin IS NOT NULL FROM study WHERE uid = ?", (str(h.study_instance_uid),))
    elsewhere = await rx.fetch_value(
        "SELECT EXISTS (SELECT 1 FROM series e JOIN study s ON s.id = e.study_id WHERE e.uid = ? AND s.uid <> ?)",
        (str(h.series_instance_uid), str(h.study_instance_uid)),
    )
    return Circumstances(
        uid_is_held=held is not None,
        held_is_own=held is not None and bool(held[0]),
        study_is_foreign=bool(foreign) and one.meta.origin is None,
        series_is_elsewhere=bool(elsewhere),
        is_withdrawn=bool(hidden) or any(stone.covers(one.meta) for stone in stones),
    )


async def put_in_place(tx: Write, one: Quarantined, *, now: int) -> bool:
    """Show it: in the place of what is held under its UID, in its study under the patient that the study has.

    What it takes the place of is hidden as superseded; each study that changes gets a new revision. False, and the
    transaction must not be committed, if something still contradicts it.
    """
    h, cause = one.meta.header, RevisionCause.REPLACEMENT
    held = await held_beside(tx, one)
    patient = await _patient_of(tx, h.study_instance_uid)
    meta = replace(one.meta, quarantine=None, received_at=now)
    if patient is not None and patient != h.patient:
        await identity.add_former(tx, h.study_instance_uid, h.patient)
        meta = replace(meta, header=replace(h, patient=patient))
    if held is not None:
        await hiding.hide(
            tx, held[0], [h.sop_instance_uid], HiddenReason.SUPERSEDED, cause=cause, now=now, digest=held[1],
            close=held[0] != h.study_instance_uid,
        )  # fmt: skip
    space = await tx.fetch_value("SELECT space FROM pack WHERE name = ?", (one.pack,))
    added = Added()
    await add_visible(tx, [Entry(meta, one.object_id, one.pack, one.offset, 0, bytes(space))], added)
    if not added.stored:
        return False
    await revisions.close_anew(tx, h.study_instance_uid, now=now, cause=cause)
    return True


async def forget(tx: Write, one: Quarantined) -> None:
    """Remove its row; its pack too, if nothing else lies in it."""
    await tx.execute("DELETE FROM quarantine WHERE id = ?", (one.number,))
    used = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} WHERE pack = ?1)"  # noqa: S608 - fixed names
        for table in ("instance", "hidden", "staged", "quarantine")
    )
    if not await tx.fetch_value(f"SELECT {used}", (one.pack,)):
        await tx.execute("INSERT INTO doomed_pack (name) VALUES (?)", (one.pack,))
        await tx.execute("DELETE FROM pack WHERE name = ?", (one.pack,))


def shred(directory: Path, one: Quarantined) -> None:
    """Destroy the wrapped data key in its record: nobody can read it again. Its neighbours stay as they are.

    The pack must be sealed. Blocks.
    """
    fd = os.open(pack_path(directory, one.pack), os.O_RDWR | os.O_CLOEXEC)
    try:
        header = RecordHeader.decode(os.pread(fd, RECORD_HEADER_BYTES, one.offset))
        if header is not None and header.object_id == one.object_id:
            os.pwrite(fd, bytes(len(header.wrapped_key)), one.offset + KEY_OFFSET)
            os.fdatasync(fd)
    finally:
        os.close(fd)


async def _patient_of(rx: Read, study: StudyInstanceUID) -> PatientKey | None:
    row = await rx.fetch_one("SELECT issuer, patient_id FROM study WHERE uid = ?", (str(study),))
    return None if row is None else PatientKey(row[0], row[1])


def _quarantined(row: Row) -> Quarantined:
    return Quarantined(
        row[0],
        QuarantineReason(row[1]),
        RecordMeta.decode(bytes(row[2])),
        ObjectId(bytes(row[3])),
        bytes(row[4]),
        row[5],
    )
