"""Pack files: appended to by a thread of their own, made durable for many records at once.

Whoever appends does not wait for its turn: it leaves its record in the pack's queue. A thread takes everything that has
gathered and writes it; then one fdatasync covers everything written so far, while the next batch is being written. So a
lone sender pays one fdatasync an instance, and thirty-two senders share a few. A thread that has just made a record may
write it itself: waking another one costs as much as the disk takes.

What fails is never half there. No space: the file is cut back to its durable length and all records of the batch are
refused; the pack goes on. Any other error, and every error of fdatasync: the pack is *dead*. Nothing more is written to
it and fdatasync is not asked again, since the kernel may have dropped the pages and would answer "fine" (the trap that
PostgreSQL fell into in 2018); what was durable before stays readable, and the next record goes into a new pack.
"""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from node.errors.base import LeveretError
from node.errors.storage import DiskFull, StorageFailed
from node.store.files import allocate, make_folder, sync_directory
from node.store.pack_format import PACK_HEADER_BYTES, Buffer, pack_header

PACK_BYTES = 512 * 1024 * 1024  # a pack is sealed beyond this: backups copy sealed files once
PACK_SUFFIX = ".pack"
NAME_BYTES = 16

# Blocks are asked for ahead of the writing, as many as the pack has already: then fdatasync has less to note down.
# What is left over is given back when the pack is sealed, or replayed.
_LEAST_AHEAD, _MOST_AHEAD = 1024 * 1024, 32 * 1024 * 1024

_MAX_BUFFERS = 512  # for one pwritev; Linux allows 1024 (IOV_MAX)
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Disk:
    """The system calls that fail when a disk is full or dying; tests put a failing one in this one's place."""

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all of ``buffers`` one after another at ``offset``."""
        todo = [memoryview(buffer) for buffer in buffers if len(buffer)]
        while todo:
            written = os.pwritev(fd, todo[:_MAX_BUFFERS], offset)
            offset += written
            done = 0
            while done < len(todo) and written >= len(todo[done]):
                written -= len(todo[done])
                done += 1
            del todo[:done]
            if written:
                todo[0] = todo[0][written:]

    def sync(self, fd: int) -> None:
        """Make what was written durable."""
        os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        os.ftruncate(fd, size)

    def allocate(self, fd: int, offset: int, length: int) -> None:
        """Ask for blocks beyond the file's end, which stays where it is; not every disk can."""
        allocate(fd, offset, length)

    def free(self, fd: int) -> int:
        """Bytes that an unprivileged process may still write to the file's disk."""
        stat = os.fstatvfs(fd)
        return stat.f_bavail * stat.f_frsize


def pack_path(directory: Path, name: bytes) -> Path:
    """Where the pack ``name`` lies: 256 folders keep listings short."""
    text = name.hex()
    return directory / text[:2] / f"{text}{PACK_SUFFIX}"


def create_file(path: Path) -> int:
    """Make the file of a new pack, its name durable; returns its descriptor."""
    folder = path.parent
    make_folder(folder)
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        sync_directory(folder)
    except BaseException:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return fd


def convert(exc: OSError) -> LeveretError:
    """Our error for one of the operating system's."""
    return (DiskFull if exc.errno in _NO_SPACE else StorageFailed)(errno.errorcode.get(exc.errno or 0, ""))


Done = Callable[[int | LeveretError], None]
Written = Callable[[], None]


@dataclass(slots=True)
class _Job:
    buffers: Sequence[Buffer]
    length: int
    done: Done
    written: Written | None
    offset: int = 0  # known when it is written


class Pack:
    """One pack that is being written. Methods are called in the event loop; the writing happens in ``executor``."""

    def __init__(
        self, directory: Path, space: bytes, transfer: bytes | None, *, disk: Disk, executor: Executor, reserve: int
    ) -> None:
        self.name = os.urandom(NAME_BYTES)
        self.space = space
        self.transfer = transfer
        self.size = 0  # durable bytes; 0 until the file exists
        self.dead = False
        self._path = pack_path(directory, self.name)
        self._disk = disk
        self._executor = executor
        self._reserve = reserve
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()  # for the five fields below
        self._queue: list[_Job] = []  # to be written
        self._queued_bytes = 0
        self._written: list[_Job] = []  # to be synced
        self._writing = False  # a thread is in _write_loop
        self._syncing = False  # a thread is in _sync_loop
        self._end = 0  # bytes written
        self._allocated = 0  # bytes for which there are blocks, as far as the writing thread has asked
        self._sync_failed = False
        self._users = 0  # of the loop's: who has entered and not left
        self._idle = asyncio.Event()
        self._idle.set()
        self._fd = -1
        self._sealed: Callable[[], None] | None = None

    @property
    def full(self) -> bool:
        """Whether the next record should go into another pack."""
        return self.dead or self._end + self._queued_bytes >= PACK_BYTES

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, being written or being synced."""
        return self._idle.is_set()

    def enter(self) -> None:
        """Say, in the loop, that a record will be appended: the pack is not sealed before ``leave``."""
        self._users += 1
        self._idle.clear()

    def leave(self) -> None:
        """What was appended, if anything, has been told of. In the loop."""
        self._users -= 1
        self._settle()

    def append(
        self, record: Sequence[Buffer], done: Done, *, written: Written | None = None, here: bool = False
    ) -> None:
        """Queue ``record``; ``done`` is called in the loop with its offset once it is durable, or with the error.

        In any thread, by who has entered. ``done`` is called whatever becomes of the caller: a durable record must
        reach the index. ``written`` is called, in the thread that wrote, once the record's memory is not needed any
        more, and not at all if it could not be written. ``here``: write in this thread, if no other one is writing.
        """
        job = _Job(record, sum(map(len, record)), done, written)
        with self._lock:
            self._queue.append(job)
            self._queued_bytes += job.length
            start, self._writing = not self._writing, True
        if not start:
            return
        if here:
            self._write_loop()
        else:
            self._executor.submit(self._write_loop)

    def retire(self, sealed: Callable[[], None]) -> None:
        """Nothing will be appended any more: once all that is queued is settled, close the file and call ``sealed``."""
        self._sealed = sealed
        if self.idle:
            self._seal()

    async def settled(self) -> None:
        """Wait until nothing is queued, being written or being synced."""
        await self._idle.wait()

    # In threads

    def _write_loop(self) -> None:
        more, sync = True, False
        while more:
            with self._lock:
                batch, self._queue = self._queue, []
                self._queued_bytes = 0
            self._write(batch)
            with self._lock:
                more = bool(self._queue)
                self._writing = more
                sync = bool(self._written) and not self._syncing
                self._syncing |= sync
            if sync and more:  # the next batch is written while this one is synced
                self._executor.submit(self._sync_loop)
            elif sync:
                self._sync_loop()
        if not sync:  # else what it reports comes after all this
            self._loop.call_soon_threadsafe(self._settle)

    def _write(self, batch: list[_Job]) -> None:
        try:
            self._write_at_end(batch)
        except OSError as exc:
            self._undo(exc)
            self._report(batch, convert(exc))
        except LeveretError as exc:
            self._report(batch, exc)

    def _write_at_end(self, batch: list[_Job]) -> None:
        if self.dead:
            raise StorageFailed("the pack was given up")
        if self._fd < 0:
            self._fd = create_file(self._path)
        buffers = [buffer for job in batch for buffer in job.buffers]
        if not self._end:
            buffers.insert(0, pack_header(self.name, self.space))
        start = self._end or PACK_HEADER_BYTES
        end = start + sum(job.length for job in batch)
        left = self._disk.free(self._fd) - (end - self._end) - self._reserve
        if left < 0:
            raise DiskFull("the reserve would be touched")
        if end > self._allocated and left > _MOST_AHEAD:
            ahead = min(max(_LEAST_AHEAD, end), _MOST_AHEAD)
            self._disk.allocate(self._fd, self._end, end + ahead - self._end)
            self._allocated = end + ahead
        self._disk.write(self._fd, buffers, self._end)
        with self._lock:
            for job in batch:
                job.offset, start = start, start + job.length
            self._written.extend(batch)
            self._end = end
        for job in batch:
            if job.written is not None:
                job.written()

    def _undo(self, exc: OSError) -> None:
        if self._fd < 0:  # the file could not be made: the next record tries again
            return
        # What was written before may be being synced at this moment: only what this batch left behind is cut off.
        self.dead |= exc.errno not in _NO_SPACE
        try:
            self._disk.truncate(self._fd, self._end)
        except OSError:
            self.dead = True

    def _sync_loop(self) -> None:
        more = True
        while more:
            with self._lock:
                batch, self._written = self._written, []
            failure = self._sync(batch[-1].offset + batch[-1].length)
            with self._lock:
                self._syncing = more = bool(self._written)
            self._report(batch, failure)

    def _sync(self, end: int) -> LeveretError | None:
        if self._sync_failed:
            return StorageFailed("the pack was given up")
        try:
            self._disk.sync(self._fd)
        except OSError as exc:
            self.dead = self._sync_failed = True
            self._drop_doubtful()
            return convert(exc)
        self.size = end
        return None

    def _drop_doubtful(self) -> None:
        with suppress(OSError):  # so that no later start takes them for durable ones
            self._disk.truncate(self._fd, self.size)

    def _close(self) -> None:
        if self._fd < 0:
            return
        if self.dead:  # the other thread may have written after it died
            self._drop_doubtful()
        elif self._allocated:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)  # where it ends: gives back the blocks that were asked for ahead
        os.close(self._fd)
        if not self.size:  # nothing in it was ever durable
            self._path.unlink(missing_ok=True)

    def _report(self, batch: list[_Job], failure: LeveretError | None) -> None:
        self._loop.call_soon_threadsafe(_call, batch, failure)

    # In the loop

    def _settle(self) -> None:
        if not self._users and not self._writing and not self._syncing:
            self._idle.set()
            if self._sealed is not None:
                self._seal()

    def _seal(self) -> None:
        sealed, self._sealed = self._sealed, None
        self._executor.submit(self._close)
        if sealed is not None:
            sealed()


def _call(batch: list[_Job], failure: LeveretError | None) -> None:
    for job in batch:
        job.done(failure if failure is not None else job.offset)
