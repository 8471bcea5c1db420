"""Changing the master key: everything stays readable at every moment, and a run that is cut short goes on.

What a change protects against is somebody who has the old master key and comes to the disk later. Who has the secret
(the key file, the passphrase) has every master key that is sealed under it: if that is out, it must be changed too.
"""

import asyncio
from pathlib import Path

from node.clock import Clock
from node.crypto.keystore import KeyStore, Protector
from node.model.audit import AuditEvent, AuditType
from node.store import audit
from node.store.engine import Database
from node.store.rotation import rewrap

_TRUNCATE_ATTEMPTS = 20
_TRUNCATE_SECONDS = 0.25


class Rotation:
    """The change of one node's master key; ``lock`` is held meanwhile, so that no backup is made half of each."""

    def __init__(self, path: Path, *, db: Database, keys: KeyStore, clock: Clock, lock: asyncio.Lock) -> None:
        """``path`` is that of the key store."""
        self._path = path
        self._db = db
        self._keys = keys
        self._clock = clock
        self._lock = lock

    @property
    def is_unfinished(self) -> bool:
        """Whether a change was cut short."""
        return self._keys.is_rotating

    @property
    def version(self) -> int:
        """Counts master keys, from 1."""
        return self._keys.master_version

    async def rotate(self, *, by: str, protector: Protector | None = None) -> int:
        """Change the master key, or go on with a change that was cut short; how many study keys were wrapped again.

        ``protector``: also change the secret that opens the keys.

        Raises:
            KeyStoreUnwritable, DiskFull and others: the disk refuses; all stays readable, and this may be repeated.
        """
        async with self._lock:
            await asyncio.to_thread(self._keys.begin_rotation, self._path)
            changed = await rewrap(self._db, self._keys)
            await asyncio.to_thread(self._keys.finish_rotation, self._path, protector)
            detail: dict[str, str | int] = {"version": self._keys.master_version, "studies": changed}
            async with self._db.write() as tx:
                await audit.append(tx, AuditEvent(AuditType.MASTER_KEY_ROTATED, self._clock.now(), by, detail=detail))
            for _ in range(_TRUNCATE_ATTEMPTS):  # the keys under the old master leave the write-ahead log too
                if await self._db.truncate_wal():
                    break
                await asyncio.sleep(_TRUNCATE_SECONDS)  # a reader has an older state; nobody reads for long
        return changed
