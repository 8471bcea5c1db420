"""What is kept, and what parses it."""

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from node.clock import Clock
from node.config import Compression, StoreSettings
from node.crypto.keystore import KeyStore
from node.dicom.pool import ParserPool
from node.errors.storage import IndexMissing
from node.log import Logger
from node.sharing.audit import AuditLog
from node.store.engine import Database
from node.store.objects import ObjectStore

INDEX_NAME = "index.db"
RENDERERS = 2  # processes; they start when a picture is asked for


@dataclass(frozen=True, slots=True)
class Storage:
    """The lower half of a node."""

    db: Database
    store: ObjectStore
    pool: ParserPool
    renderers: ParserPool  # apart, so that no header waits for a picture, which takes a hundred times as long
    audit: AuditLog
    directory: Path
    keys: KeyStore
    maintenance: asyncio.Lock  # held while index and key store must not move apart


async def open_index(directory: Path, keys: KeyStore) -> Database:
    """The index that ``init`` made; one that is gone is never made anew, for that would look like an empty node.

    Raises:
        IndexMissing, IndexUnreadable, NewerDataDirectory: it cannot be used; nothing was changed.
    """
    path = directory / INDEX_NAME
    if not await asyncio.to_thread(path.exists):
        raise IndexMissing(str(path))
    return await Database.open(path, keys.index_key())


async def open_storage(
    stack: AsyncExitStack,
    directory: Path,
    *,
    keys: KeyStore,
    settings: StoreSettings,
    clock: Clock,
    log: Logger,
) -> Storage:
    """Open index, packs and parsers; ``stack`` closes them in reverse.

    Raises:
        IndexMissing, IndexUnreadable, NewerDataDirectory, PackUnreadable: what lies there cannot be used; nothing was
            changed.
    """
    db = await stack.enter_async_context(await open_index(directory, keys))
    store = await ObjectStore.open(
        directory,
        db,
        keys,
        clock,
        log,
        reserve_bytes=settings.reserve,
        compress=settings.compression is Compression.AUTO,
    )
    await stack.enter_async_context(store)
    pool = await stack.enter_async_context(ParserPool(settings.parsers, log=log))
    renderers = await stack.enter_async_context(ParserPool(RENDERERS, log=log))
    audit = AuditLog(db, keys.identity, clock)
    return Storage(db, store, pool, renderers, audit, directory, keys, asyncio.Lock())


def is_full(directory: Path, reserve: int) -> bool:
    """Whether the disk has less left than must stay free, so that nothing is taken in."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize < reserve
