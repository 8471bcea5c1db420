"""What a backup needs of the store: a consistent copy of the index, and which packs belong to it.

The index is copied page by page, still encrypted, as one snapshot. Everything that its rows name was durable in the
packs before (the order of things, ``store/__init__.py``), so packs that are copied *after* the snapshot hold at least
that. What a pack has beyond is what came later: a start indexes it, or cuts what is half there, as after a crash.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlcipher3 import dbapi2 as sqlcipher

from node.errors.storage import DiskFull, IndexDamaged
from node.model.ids import StudyInstanceUID
from node.store import removal
from node.store.engine import Database, Read, convert
from node.store.files import sync_directory
from node.store.replay import unlink_doomed


@dataclass(frozen=True, slots=True)
class PackToCopy:
    """A pack of the snapshot. A sealed one does not change any more."""

    name: bytes
    sealed: bool


async def snapshot(db: Database, target: Path) -> None:
    """Write a copy of the index to ``target`` (made, mode 0600; durable), under the same key, as it is at one moment.

    Raises:
        DiskFull, StorageFailed, IndexDamaged: it cannot be; ``target`` may be there in part.
    """
    await asyncio.to_thread(_snapshot, db, target)


def _snapshot(db: Database, target: Path) -> None:
    free = os.statvfs(target.parent)
    if free.f_bavail * free.f_frsize < db.path.stat().st_size:
        raise DiskFull("no room for a copy of the index")
    copy = Database(target, db.key)
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    source = db.connect()
    try:
        made = copy.connect_empty()
        try:
            made.execute("PRAGMA synchronous = OFF")  # it is synced as a whole below
            source.backup(made)
        finally:
            made.close()
    except sqlcipher.Error as exc:
        raise convert(exc) from exc
    finally:
        source.close()
    _sync(target)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(path.parent)


async def check_whole(db: Database) -> None:
    """Read every page of the index: each is authentic, and they fit together. Raises IndexDamaged."""
    await asyncio.to_thread(_check_whole, db)


def _check_whole(db: Database) -> None:
    connection: Any = db.connect()
    try:
        if connection.execute("PRAGMA cipher_integrity_check").fetchone() is not None:
            raise IndexDamaged
        if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise IndexDamaged
    except sqlcipher.Error as exc:
        raise convert(exc) from exc
    finally:
        connection.close()


async def packs(rx: Read) -> list[PackToCopy]:
    """The packs that the index knows."""
    return [
        PackToCopy(bytes(r[0]), bool(r[1])) for r in await rx.fetch_all("SELECT name, sealed FROM pack ORDER BY name")
    ]


async def gone(rx: Read, names: Sequence[bytes]) -> list[bytes]:
    """Those of ``names`` that the index does not know any more: their study was deleted."""
    rows = await rx.fetch_all(
        "SELECT unhex(value) FROM json_each(?) WHERE unhex(value) NOT IN (SELECT name FROM pack)",
        (msgspec.json.encode([name.hex() for name in names]).decode(),),
    )
    return [bytes(row[0]) for row in rows]


async def forget(directory: Path, db: Database, names: Sequence[bytes]) -> int:
    """Delete what lay in packs that were deleted while the backup was made; how many studies went with that.

    A study goes as a whole. A pack without anything that was visible held what a transfer had staged, or quarantine.
    """
    deleted = 0
    for name in names:
        async with db.read() as rx:
            study = await rx.fetch_value(
                "SELECT s.study_uid FROM pack p JOIN space s ON s.ref = p.space WHERE p.name = ?1 AND"
                " (EXISTS (SELECT 1 FROM instance WHERE pack = ?1) OR EXISTS (SELECT 1 FROM hidden WHERE pack = ?1))",
                (name,),
            )
        if study is not None:
            await removal.delete_study(directory, db, StudyInstanceUID(study))
            deleted += 1
            continue
        async with db.write() as tx:
            await tx.execute("DELETE FROM staged WHERE pack = ?", (name,))
            await tx.execute("DELETE FROM quarantine WHERE pack = ?", (name,))
            if await tx.execute("DELETE FROM pack WHERE name = ?", (name,)):
                await tx.execute("INSERT INTO doomed_pack (name) VALUES (?)", (name,))
    await unlink_doomed(directory, db)
    return deleted
