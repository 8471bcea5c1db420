"""The index: SQLCipher behind two small handles, ``Read`` and ``Write``.

One writer connection, a few readers, each with its own thread (aiosqlite). A ``write()`` block is one transaction that
is durable when the block ends (WAL, synchronous=FULL); a ``read()`` block is one snapshot. SQLCipher's exceptions are
not ``sqlite3.Error`` and stop here: callers see :mod:`node.errors.storage`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite
from sqlcipher3 import dbapi2 as sqlcipher

from node.errors.base import LeveretError
from node.errors.storage import (
    ConstraintViolated,
    DiskFull,
    IndexBusy,
    IndexDamaged,
    IndexUnreadable,
    StorageFailed,
    StoreClosed,
    StoreError,
)
from node.store.files import sync_directory
from node.store.migrate import migrate
from node.store.waiting import to_the_end

Row = tuple[Any, ...]
Params = Sequence[object]
_T = TypeVar("_T")

KEY_BYTES = 32
READERS = 4  # connections kept for snapshots; more at a time only wait for the two cores that most nodes have
OVERFLOW_SECONDS = 0.25  # who waits longer gets a connection of its own, so that nested read blocks cannot deadlock
_WAL_LIMIT = 64 * 1024 * 1024  # a write-ahead log that grew beyond this is cut back by the next checkpoint
_BUSY_MS = 5000  # only another process (a backup) can hold the index; the writers of this one queue on a lock
_ITERATE_BATCH = 256  # rows fetched in one visit to the connection's thread
_PRIMARY_CODE = 0xFF  # SQLite's extended result codes keep the primary one in the low byte

_PRAGMAS = (
    "PRAGMA cipher_log_level = NONE",  # it writes to stderr, which belongs to our own log lines
    "PRAGMA temp_store = MEMORY",  # temporary files would not be encrypted
    "PRAGMA secure_delete = ON",  # freed pages are overwritten: deleted keys do not linger
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    f"PRAGMA busy_timeout = {_BUSY_MS}",
    "PRAGMA cache_size = -16000",
)


def convert(exc: BaseException) -> LeveretError:
    """Our error for one of SQLCipher's. The fact is SQLite's code name or a column name, never a value."""
    code = int(getattr(exc, "sqlite_errorcode", None) or 0) & _PRIMARY_CODE
    name = str(getattr(exc, "sqlite_errorname", None) or type(exc).__name__)
    if code == sqlcipher.SQLITE_CONSTRAINT:
        return ConstraintViolated(str(exc).rpartition(": ")[2])
    by_code: dict[int, type[LeveretError]] = {
        sqlcipher.SQLITE_FULL: DiskFull,
        sqlcipher.SQLITE_IOERR: StorageFailed,
        sqlcipher.SQLITE_CANTOPEN: StorageFailed,
        sqlcipher.SQLITE_READONLY: StorageFailed,
        sqlcipher.SQLITE_BUSY: IndexBusy,
        sqlcipher.SQLITE_LOCKED: IndexBusy,
        sqlcipher.SQLITE_CORRUPT: IndexDamaged,
        sqlcipher.SQLITE_NOTADB: IndexDamaged,
    }
    return by_code.get(code, StoreError)(name)


class _Connection(aiosqlite.Connection):
    """One SQLCipher connection and its thread; work reaches it in order."""

    stopped: asyncio.Future[Any] | None = None  # done when the thread has taken its last order

    def stop(self) -> asyncio.Future[Any] | None:
        """As in aiosqlite, which calls it when connecting fails, and then does not wait for the thread."""
        self.stopped = super().stop()
        return self.stopped

    async def run(self, work: Callable[[Any], _T]) -> _T:
        """Run ``work(connection)`` on the thread. If the caller is cancelled, the work is done all the same."""
        try:
            return await self._submit(work)
        except sqlcipher.Error as exc:
            raise convert(exc) from exc

    async def run_to_end(self, work: Callable[[Any], _T]) -> _T:
        """Like ``run``, but a cancellation is raised only after the work has ended, if it then succeeded."""
        try:
            return await to_the_end(self._submit(work))
        except sqlcipher.Error as exc:
            raise convert(exc) from exc

    def post(self, work: Callable[[Any], object]) -> None:
        """Run ``work`` on the thread and do not wait for it."""
        self._tx.put_nowait((None, partial(work, self._connection)))

    def _submit(self, work: Callable[[Any], _T]) -> asyncio.Future[_T]:
        if not self._running or self._connection is None:
            raise StoreClosed
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((future, partial(work, self._connection)))
        return future


class Read:
    """A snapshot of the index: everything read in one ``read()`` block fits together."""

    _begin = "BEGIN"

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._begun = False

    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None:
        """The first row, or None."""
        row: Row | None = await self._do(lambda c: c.execute(sql, params).fetchone())
        return row

    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows; for queries whose answer is small."""
        rows: list[Row] = await self._do(lambda c: c.execute(sql, params).fetchall())
        return rows

    async def fetch_value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row; None if there is no row."""
        row = await self.fetch_one(sql, params)
        return None if row is None else row[0]

    async def iterate(self, sql: str, params: Params = ()) -> AsyncIterator[Row]:
        """The rows one after another, without holding them all in memory."""
        cursor = await self._do(lambda c: c.execute(sql, params))
        while rows := await self._do(lambda _c: cursor.fetchmany(_ITERATE_BATCH)):
            for row in rows:
                yield row

    async def _do(self, work: Callable[[Any], _T]) -> _T:
        return await self._connection.run(partial(self._in_transaction, work))

    def _in_transaction(self, work: Callable[[Any], _T], connection: Any) -> _T:
        # Runs on the connection's thread. The transaction begins with its first statement, which saves a visit.
        if not self._begun:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute(self._begin)
            self._begun = True
        elif not connection.in_transaction:  # SQLite rolled back by itself (disk full, I/O error)
            raise StoreError("the transaction was rolled back")
        return work(connection)


class Write(Read):
    """One transaction. Nothing of it is seen by readers, or survives, unless its block ends without an exception."""

    _begin = "BEGIN IMMEDIATE"

    def __init__(self, connection: _Connection) -> None:
        super().__init__(connection)
        self._after_commit: list[Callable[[], None]] = []

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run one statement; returns the number of rows it changed."""
        count: int = await self._do(lambda c: c.execute(sql, params).rowcount)
        return count

    async def insert(self, sql: str, params: Params = ()) -> int:
        """Run one INSERT; returns the new row's rowid."""
        rowid: int = await self._do(lambda c: c.execute(sql, params).lastrowid)
        return rowid

    async def execute_many(self, sql: str, rows: Iterable[Params]) -> int:
        """Run one statement for each of ``rows``; returns the number of rows changed in all."""
        prepared = list(rows)
        if not prepared:
            return 0
        count: int = await self._do(lambda c: c.executemany(sql, prepared).rowcount)
        return count

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in the event loop once the transaction is durable, and never if it is rolled back."""
        self._after_commit.append(callback)


class Database:
    """The encrypted index of one node."""

    def __init__(self, path: Path, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(len(key))
        self.path = path
        self.key = key
        self._key_pragma = f"PRAGMA key = \"x'{key.hex()}'\""
        self._writer: _Connection | None = None
        self._write_lock = asyncio.Lock()
        self._idle: list[_Connection] = []
        self._slots = asyncio.Semaphore(READERS)
        self._closed = False

    @classmethod
    async def open(cls, path: Path, key: bytes) -> Self:
        """Open the index at ``path`` (made if absent, mode 0600) with the 32-byte ``key``; migrate it if need be.

        Raises:
            IndexUnreadable: wrong key, or the file is damaged.
            NewerDataDirectory: a later version wrote it; it is left as it is.
        """
        db = cls(path, key)
        try:
            await asyncio.to_thread(_create, path)
            db._writer = await db._connect()
            await db._writer.run(_prepare_writer)
        except IndexDamaged as exc:
            await db.close()
            raise IndexUnreadable from exc
        except BaseException:
            await db.close()
            raise
        return db

    async def close(self) -> None:
        """Close every connection; harmless when called twice."""
        self._closed = True
        writer, self._writer = self._writer, None
        idle, self._idle = self._idle, []
        for connection in (*idle, *((writer,) if writer else ())):
            await connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Write]:
        """One transaction: committed and durable when the block ends, rolled back if it raises or is cancelled."""
        async with self._write_lock:
            if self._writer is None:
                raise StoreClosed
            tx = Write(self._writer)
            try:
                yield tx
            except BaseException:
                await self._writer.run_to_end(_rollback)
                raise
            if not tx._begun:  # noqa: SLF001 - nothing was written: nothing to make durable
                return
            try:
                await self._writer.run_to_end(_commit)
            except asyncio.CancelledError:  # only raised once the commit has succeeded
                _call_all(tx._after_commit)  # noqa: SLF001
                raise
            _call_all(tx._after_commit)  # noqa: SLF001

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Read]:
        """One snapshot, on a connection of its own: readers never wait for the writer."""
        async with self._slot():
            if self._closed:
                raise StoreClosed
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                yield Read(connection)
            except (IndexDamaged, StorageFailed):
                await connection.close()  # SQLCipher keeps failing on a connection that saw a bad page
                raise
            except BaseException:
                await self._give_back(connection)
                raise
            await self._give_back(connection)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        held = True
        try:
            async with asyncio.timeout(OVERFLOW_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            held = False
        try:
            yield
        finally:
            if held:
                self._slots.release()

    async def truncate_wal(self) -> bool:
        """Move the write-ahead log into the database and empty its file; False if a reader was in the way."""
        async with self._write_lock:
            if self._writer is None:
                raise StoreClosed
            row = await self._writer.run(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
            return bool(row[0] == 0)

    async def _give_back(self, connection: _Connection) -> None:
        if self._closed or len(self._idle) >= READERS:
            await connection.close()
            return
        connection.post(_rollback)  # ends the snapshot; the thread's queue keeps the order
        self._idle.append(connection)

    async def _connect(self) -> _Connection:
        connection = _Connection(self.connect, iter_chunk_size=_ITERATE_BATCH)
        try:
            return await connection  # type: ignore[return-value]  # aiosqlite answers with the object itself
        except sqlcipher.Error as exc:
            if connection.stopped is not None:
                await connection.stopped  # else the thread may answer to an event loop that has ended
            raise convert(exc) from exc

    def connect(self) -> Any:
        """A bare connection for ``direct``; blocks."""
        connection = self.connect_empty()
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the first page proves the key
        except BaseException:
            connection.close()
            raise
        return connection

    def connect_empty(self) -> Any:
        """A bare connection to a file that need not be a database yet (a backup is written into it); blocks."""
        connection = sqlcipher.connect(str(self.path), isolation_level=None, check_same_thread=False)
        try:
            connection.execute(self._key_pragma)
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection


def _create(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as exc:
        raise StorageFailed(exc.strerror or "") from exc
    sync_directory(path.parent)


def _prepare_writer(connection: Any) -> None:
    migrate(connection)  # refuses a newer database before anything is written
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")


def _rollback(connection: Any) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _commit(connection: Any) -> None:
    if not connection.in_transaction:
        raise StoreError("the transaction was rolled back")
    try:
        connection.execute("COMMIT")
    except BaseException:
        _rollback(connection)
        raise


def _call_all(callbacks: Iterable[Callable[[], None]]) -> None:
    for callback in callbacks:
        callback()
