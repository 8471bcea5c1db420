"""Backups of a node that may be running: a snapshot to copy from, and the signature over what was copied.

Whoever copies is another process (``app.backup``), with the rights of whoever called it. What it cannot do itself is
done here: it has no keys. The snapshot lies in the data directory, encrypted as everything there, until the backup is
done or the next one begins.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node.clock import Clock
from node.crypto.identity import Domain, Identity
from node.errors.storage import StorageFailed
from node.errors.vault import BackupSuperseded
from node.model.audit import AuditEvent, AuditType
from node.store import audit, backup
from node.store.backup import PackToCopy
from node.store.engine import Database
from node.store.files import make_folder, sync_directory
from node.store.objects import ObjectStore

SNAPSHOT_FOLDER = ".snapshot"  # in the data directory; no name that a person would give
_ASKED_AT_ONCE = 10_000  # packs that one query looks for


@dataclass(frozen=True, slots=True)
class Begun:
    """A snapshot that can be copied from."""

    backup_id: str
    peer_id: str
    made_at: int
    folder: Path  # holds the copies of index and key store
    packs: Sequence[PackToCopy]


class Backups:
    """The snapshots of one node; one at a time. ``lock`` is held while keys and index must not move apart."""

    def __init__(
        self,
        directory: Path,
        *,
        db: Database,
        store: ObjectStore | None,
        identity: Identity,
        clock: Clock,
        lock: asyncio.Lock,
    ) -> None:
        """``directory`` is the data directory; ``store``, if it is open, is brought up to date first."""
        self._directory = directory
        self._folder = directory / SNAPSHOT_FOLDER
        self._db = db
        self._store = store
        self._identity = identity
        self._clock = clock
        self._lock = lock
        self._begun: Begun | None = None

    async def last_at(self) -> int | None:
        """When the last backup was made, as the log has it."""
        async with self._db.read() as rx:
            newest = await audit.page(rx, before=None, limit=1, types=(AuditType.BACKUP_MADE,))
        return newest[0].event.at if newest else None

    async def begin(self) -> Begun:
        """Make a snapshot of index and key store; an older one ends.

        Raises:
            DiskFull, StorageFailed: there is no room for it, or it cannot be written.
        """
        if self._store is not None:
            await self._store.indexed()
        async with self._lock:
            self._begun = None
            try:
                await asyncio.to_thread(self._clear)
                await asyncio.to_thread(make_folder, self._folder)
                await asyncio.to_thread(shutil.copyfile, self._directory / "keys.json", self._folder / "keys.json")
                await backup.snapshot(self._db, self._folder / "index.db")
            except OSError as exc:
                raise StorageFailed(exc.strerror or "") from exc
        async with await Database.open(self._folder / "index.db", self._db.key) as copy, copy.read() as rx:
            packs = await backup.packs(rx)
        self._begun = Begun(
            os.urandom(8).hex(), self._identity.peer_id.full, self._clock.now(), self._folder, tuple(packs)
        )
        return self._begun

    async def deleted(self, backup_id: str) -> list[bytes]:
        """Packs of the snapshot whose studies were deleted since; raises BackupSuperseded."""
        names = [pack.name for pack in self._require(backup_id).packs]
        found: list[bytes] = []
        for first in range(0, len(names), _ASKED_AT_ONCE):
            async with self._db.read() as rx:
                found += await backup.gone(rx, names[first : first + _ASKED_AT_ONCE])
        return found

    async def sign(self, backup_id: str, digest: bytes, *, size: int, by: str) -> bytes:
        """Sign for a manifest (its SHA-256), and put on record that a copy of everything was made.

        Raises:
            BackupSuperseded: another backup was begun meanwhile.
        """
        begun = self._require(backup_id)
        detail: dict[str, str | int] = {"packs": len(begun.packs), "bytes": size, "manifest": digest.hex()}
        async with self._db.write() as tx:
            await audit.append(tx, AuditEvent(AuditType.BACKUP_MADE, self._clock.now(), by, detail=detail))
        return self._identity.sign(Domain.BACKUP, digest)

    async def end(self, backup_id: str) -> None:
        """The snapshot is not needed any more."""
        with contextlib.suppress(BackupSuperseded):
            self._require(backup_id)
            self._begun = None
            await asyncio.to_thread(self._clear)

    async def clear(self) -> None:
        """Remove what a run before this one left."""
        await asyncio.to_thread(self._clear)

    def _require(self, backup_id: str) -> Begun:
        if self._begun is None or self._begun.backup_id != backup_id:
            raise BackupSuperseded
        return self._begun

    def _clear(self) -> None:
        if self._folder.exists():
            shutil.rmtree(self._folder)
            sync_directory(self._directory)
