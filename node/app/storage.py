"""What is kept, and what parses it."""

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from node.clock import Clock
from node.config import StoreSettings
from node.crypto.keystore import KeyStore
from node.dicom.pool import ParserPool
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
        IndexUnreadable, NewerDataDirectory, PackUnreadable: what lies there cannot be used; nothing was changed.
    """
    db = await stack.enter_async_context(await Database.open(directory / INDEX_NAME, keys.index_key()))
    store = await ObjectStore.open(directory, db, keys, clock, log, reserve_bytes=settings.reserve)
    await stack.enter_async_context(store)
    pool = await stack.enter_async_context(ParserPool(settings.parsers, log=log))
    renderers = await stack.enter_async_context(ParserPool(RENDERERS, log=log))
    return Storage(db, store, pool, renderers, AuditLog(db, keys.identity, clock))


def is_full(directory: Path, reserve: int) -> bool:
    """Whether the disk has less left than must stay free, so that nothing is taken in."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize < reserve
