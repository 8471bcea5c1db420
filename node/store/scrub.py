"""Looking whether what lies on the disk is still what was stored, one pack after another.

Reading through a pack proves every bit of what the index knows to be in it: header, wrapped key, meta data and all
chunks of the body, and that it is the object that the index means. What is found wrong is kept in ``damaged_object``
until the pack is looked at again or its study is deleted.
"""

import os
from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from node.errors.base import LeveretError
from node.model.ids import Digest, ObjectId, PeerId, StudyInstanceUID
from node.store.engine import Read, Write
from node.store.pack_format import PACK_HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, SpaceKey, space_of_pack
from node.store.packs import pack_path
from node.store.replay import verify_record


class Flaw(StrEnum):
    """What is wrong with an object."""

    PACK_MISSING = "pack_missing"  # its file is gone or cannot be read
    DAMAGED = "damaged"  # its bytes are not those that were written
    MISPLACED = "misplaced"  # another object lies in its place: index and pack do not belong together


@dataclass(frozen=True, slots=True)
class Known:
    """What the index knows of one object in a pack."""

    object_id: ObjectId
    offset: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class PackToCheck:
    """One pack, its study's key as it is kept, and its objects by their place."""

    name: bytes
    space: bytes
    key_version: int
    wrapped_key: bytes
    objects: tuple[Known, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the look through the packs is."""

    began_at: int
    ended_at: int | None  # None: under way
    position: bytes
    objects: int
    size: int


@dataclass(frozen=True, slots=True)
class DamagedStudy:
    """A study of which objects are damaged."""

    ref: str  # the study's random name in the store, which tells nothing
    study: StudyInstanceUID
    origin: PeerId | None
    flaw: Flaw
    objects: int
    found_at: int


async def progress(rx: Read) -> Progress:
    """Where it is."""
    row = await rx.fetch_one("SELECT began_at, ended_at, position, objects, bytes FROM scrub")
    assert row is not None, "the migration made it"
    return Progress(row[0], row[1], bytes(row[2]), row[3], row[4])


async def begin(tx: Write, *, at: int) -> None:
    """A new round, from the first pack."""
    await tx.execute("UPDATE scrub SET began_at = ?, ended_at = NULL, position = x'', objects = 0, bytes = 0", (at,))


async def end(tx: Write, *, at: int) -> None:
    """The round is done."""
    await tx.execute("UPDATE scrub SET ended_at = ?", (at,))


async def volume(rx: Read) -> int:
    """Bytes of all packs."""
    return int(await rx.fetch_value("SELECT coalesce(sum(indexed_bytes), 0) FROM pack"))


async def next_pack(rx: Read, after: bytes) -> PackToCheck | None:
    """The pack whose name follows ``after``; None if that was the last."""
    row = await rx.fetch_one(
        "SELECT p.name, s.ref, s.key_version, s.wrapped_key FROM pack p JOIN space s ON s.ref = p.space"
        " WHERE p.name > ? ORDER BY p.name LIMIT 1",
        (after,),
    )
    if row is None:
        return None
    objects = await rx.fetch_all(
        "SELECT object_id, offset, digest FROM instance WHERE pack = ?1"
        " UNION ALL SELECT object_id, offset, digest FROM staged WHERE pack = ?1"
        " UNION ALL SELECT object_id, offset, digest FROM quarantine WHERE pack = ?1"
        " UNION ALL SELECT object_id, offset, digest FROM hidden WHERE pack = ?1 ORDER BY 2",
        (bytes(row[0]),),
    )
    known = tuple(Known(ObjectId(bytes(o[0])), o[1], Digest(bytes(o[2]))) for o in objects)
    return PackToCheck(bytes(row[0]), bytes(row[1]), row[2], bytes(row[3]), known)


async def done(tx: Write, pack: PackToCheck, flaws: dict[ObjectId, Flaw], *, size: int, at: int) -> list[ObjectId]:
    """Note what was found in a pack, and that the round goes on behind it; what was not known to be damaged before."""
    known = {
        bytes(r[0]) for r in await tx.fetch_all("SELECT object_id FROM damaged_object WHERE pack = ?", (pack.name,))
    }
    await tx.execute("DELETE FROM damaged_object WHERE pack = ?", (pack.name,))
    await tx.execute_many(
        "INSERT INTO damaged_object (object_id, pack, flaw, found_at)"
        " SELECT ?1, name, ?3, ?4 FROM pack WHERE name = ?2",
        [(one.value, pack.name, flaw.value, at) for one, flaw in flaws.items()],
    )
    await tx.execute(
        "UPDATE scrub SET position = ?, objects = objects + ?, bytes = bytes + ? WHERE ended_at IS NULL",
        (pack.name, len(pack.objects), size),
    )
    return [one for one in flaws if one.value not in known]


async def damaged(rx: Read) -> list[DamagedStudy]:
    """The studies that have damaged objects; of those that are not visible too."""
    rows = await rx.fetch_all(
        "SELECT s.ref, s.study_uid, (SELECT origin FROM study WHERE uid = s.study_uid), d.flaw, count(*),"
        " min(d.found_at)"
        " FROM damaged_object d JOIN pack p ON p.name = d.pack JOIN space s ON s.ref = p.space"
        " GROUP BY s.ref, d.flaw ORDER BY 6, 1, 4"
    )
    return [
        DamagedStudy(
            bytes(r[0]).hex(), StudyInstanceUID(r[1]), PeerId(bytes(r[2])) if r[2] else None, Flaw(r[3]), r[4], r[5]
        )
        for r in rows
    ]


async def damaged_objects(rx: Read) -> int:
    """How many objects are known to be damaged."""
    return int(await rx.fetch_value("SELECT count(*) FROM damaged_object"))


def verify(
    directory: Path, pack: PackToCheck, key: SpaceKey
) -> Generator[tuple[int, dict[ObjectId, Flaw]], None, None]:
    """Read a pack: after each object, the bytes that were read for it and what is wrong with it. Blocks.

    A pack of which the header is wrong is read all the same: what its records hold is proved by themselves.
    """
    try:
        fd = os.open(pack_path(directory, pack.name), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield 0, dict.fromkeys((one.object_id for one in pack.objects), Flaw.PACK_MISSING)
        return
    try:
        whole = _header_is_whole(fd, pack)
        for one in pack.objects:
            size, flaw = _verify_one(fd, one, key)
            if flaw is None and not whole:
                flaw = Flaw.DAMAGED
            yield size, {} if flaw is None else {one.object_id: flaw}
    finally:
        os.close(fd)


def verify_all(directory: Path, pack: PackToCheck, key: SpaceKey) -> tuple[int, dict[ObjectId, Flaw]]:
    """The same of the whole pack at once."""
    size, flaws = 0, dict[ObjectId, Flaw]()
    for read, found in verify(directory, pack, key):
        size += read
        flaws |= found
    return size, flaws


def _header_is_whole(fd: int, pack: PackToCheck) -> bool:
    try:
        return space_of_pack(os.pread(fd, PACK_HEADER_BYTES, 0), pack.name) == pack.space
    except (LeveretError, OSError):
        return False


def _verify_one(fd: int, one: Known, key: SpaceKey) -> tuple[int, Flaw | None]:
    try:
        header = RecordHeader.decode(os.pread(fd, RECORD_HEADER_BYTES, one.offset))
        if header is None or header.space != key.space:
            return RECORD_HEADER_BYTES, Flaw.DAMAGED
        meta = verify_record(fd, one.offset, header, key)
    except (LeveretError, OSError):
        return RECORD_HEADER_BYTES, Flaw.DAMAGED
    if header.object_id != one.object_id or meta.digest != one.digest:
        return header.length, Flaw.MISPLACED
    return header.length, None
