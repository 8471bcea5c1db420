"""The task that lets the index follow the packs, some hundred records in one transaction.

A put does not wait for it: its record is durable and carries all that the index needs. ``flushed()`` is for callers
that must read what they wrote.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from node.errors.base import LeveretError
from node.errors.storage import StoreClosed
from node.log import Logger
from node.store import index_rows
from node.store.engine import Database, Write
from node.store.index_rows import Entry

GATHER_SECONDS = 0.1  # how long records gather before a transaction, unless somebody waits for them …
GATHERINGS = 4  # … and up to so many times as long while more keep coming
RETRY_SECONDS = 1.0  # after a failed transaction
MAX_BATCH = 1000  # entries in one transaction: it holds the writer for some 40 ms

Observer = Callable[[Write, Sequence[Entry]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Item:
    entry: Entry | None
    sealed: tuple[bytes, int] | None  # (pack name, its length)
    indexed: Callable[[], None]


class Indexer:
    """Owns the queue of durable records that are not in the index yet."""

    def __init__(self, db: Database, log: Logger, observer: Observer | None) -> None:
        self.failure: LeveretError | None = None  # why the last transaction failed; puts are refused meanwhile
        self._db = db
        self._log = log
        self._observer = observer
        self._queue: list[_Item] = []
        self._taken = 0  # items ever queued
        self._done = 0  # items indexed
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._closing = False

    def add(self, entry: Entry, indexed: Callable[[], None]) -> None:
        """Queue a durable record; ``indexed`` is called once its row is committed."""
        self._push(_Item(entry, None, indexed))

    def seal(self, pack: bytes, size: int) -> None:
        """Queue the note that nothing will be appended to ``pack`` any more; it counts ``size`` bytes."""
        self._push(_Item(None, (pack, size), lambda: None))

    async def flushed(self) -> None:
        """Wait until everything queued before this call is in the index.

        Raises:
            LeveretError: the transaction failed (the records stay queued and are tried again).
        """
        if self._done >= self._taken:
            return
        if self._closing:
            raise StoreClosed
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((self._taken, future))
        self._hurry.set()
        await future

    def close(self) -> None:
        """Let ``run`` end after one more attempt at what is queued."""
        self._closing = True
        self._wake.set()
        self._hurry.set()

    async def run(self) -> None:
        """Follow the packs until ``close``."""
        try:
            while True:
                await self._wake.wait()
                if not self._closing:
                    await self._gather()
                self._hurry.clear()
                self._wake.clear()
                await self._drain()
                if self._closing:
                    return
                if self.failure is not None:
                    await asyncio.sleep(RETRY_SECONDS)
                    self._wake.set()
        finally:
            self._fail_waiters(self.failure or StoreClosed())

    async def _gather(self) -> None:
        for _ in range(GATHERINGS):
            taken = self._taken
            await _sleep_unless(self._hurry, GATHER_SECONDS)
            if self._hurry.is_set() or self._taken == taken or len(self._queue) >= MAX_BATCH:
                return

    async def _drain(self) -> None:
        while self._queue:
            batch = self._queue[:MAX_BATCH]
            try:
                await self._write(batch)
            except LeveretError as exc:
                self.failure = exc
                self._log.error("the index does not follow the packs", code=exc.code, count=len(self._queue))
                self._fail_waiters(exc)
                return
            self.failure = None
            del self._queue[: len(batch)]
            self._done += len(batch)
            for item in batch:
                item.indexed()
            self._release_waiters()

    async def _write(self, batch: Sequence[_Item]) -> None:
        async with self._db.write() as tx:
            entries = [item.entry for item in batch if item.entry is not None]
            if entries:
                await index_rows.add(tx, entries)
                if self._observer is not None:
                    await self._observer(tx, entries)
            await tx.execute_many(
                "UPDATE pack SET sealed = 1, indexed_bytes = ? WHERE name = ?",
                [(item.sealed[1], item.sealed[0]) for item in batch if item.sealed is not None],
            )

    def _push(self, item: _Item) -> None:
        self._queue.append(item)
        self._taken += 1
        self._wake.set()

    def _release_waiters(self) -> None:
        for target, future in self._waiters:
            if target <= self._done and not future.done():
                future.set_result(None)
        self._waiters = [(target, future) for target, future in self._waiters if not future.done()]

    def _fail_waiters(self, failure: LeveretError) -> None:
        waiters, self._waiters = self._waiters, []
        for _target, future in waiters:
            if not future.done():
                future.set_exception(type(failure)(failure.fact))


async def _sleep_unless(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
