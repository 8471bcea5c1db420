"""Large data sets, from a stream into a pack of their own: a megabyte in memory, nothing in clear on the disk.

The record's head is written last, over room left for it: without it the file holds nothing that a start after a crash
would take for a record.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from node.errors.base import LeveretError
from node.errors.storage import DigestMismatch, DiskFull
from node.model.ids import Digest
from node.model.instance import InstanceHeader
from node.store.codec import Layout
from node.store.intake import Arrival, Intake, Record, judge
from node.store.known import Known
from node.store.pack_format import PACK_HEADER_BYTES, Buffer, RecordBuilder, pack_header
from node.store.packing import Form, Pair, UnpackingStream
from node.store.packs import NAME_BYTES, Disk, Done, convert, create_file, pack_path
from node.store.spaces import Space
from node.store.waiting import to_the_end

_T = TypeVar("_T")
GATHER_BYTES = 1024 * 1024  # hashed, encrypted and written in one visit to a thread
PACKED_BYTES = (
    128 * 1024
)  # the same of a stranger's blocks: even if all are as small as can be, a visit ends in a second


class _StreamPack:
    """The file of one stream. Every method but ``__init__`` runs in a thread."""

    def __init__(
        self,
        directory: Path,
        space: bytes,
        builder: RecordBuilder,
        form: Form,
        *,
        room: int,
        disk: Disk,
        reserve: int,
    ) -> None:
        self.name = os.urandom(NAME_BYTES)
        self.hash = hashlib.sha256()
        self.size = 0  # of the data set so far
        self._path = pack_path(directory, self.name)
        self._space = space
        self._encryptor = builder.body_encryptor()
        self._form = form
        self._disk = disk
        self._reserve = reserve
        self._body = PACK_HEADER_BYTES + room
        self._end = self._body
        self._fd = -1

    @property
    def body_length(self) -> int:
        return self._end - self._body

    @property
    def length(self) -> int:
        """Of the record."""
        return self._end - PACK_HEADER_BYTES

    def start(self) -> None:
        self._fd = create_file(self._path)
        self._disk.write(self._fd, [pack_header(self.name, self._space)], 0)
        self._append(self._encryptor.header)

    def take(self, pieces: list[Buffer]) -> None:
        for piece in pieces:
            self._keep(self._form.update(piece))

    def end(self) -> None:
        self._keep(self._form.finish())
        self._append(self._encryptor.finish())

    def seal(self, head: bytes) -> None:
        """Write the record's head and make the whole durable."""
        self._disk.write(self._fd, [head], PACK_HEADER_BYTES)
        self._disk.sync(self._fd)
        os.close(self._fd)
        self._fd = -1

    def discard(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with suppress(OSError):  # what is left has no head and is removed at the next start
            self._path.unlink(missing_ok=True)

    def _keep(self, pairs: Iterator[Pair]) -> None:
        for plain, kept in pairs:
            self.hash.update(plain)
            self.size += len(plain)
            self._append(self._encryptor.update(kept))

    def _append(self, data: bytes) -> None:
        if not data:
            return
        if self._disk.free(self._fd) - len(data) < self._reserve:
            raise DiskFull("the reserve would be touched")
        self._disk.write(self._fd, [data], self._end)
        self._end += len(data)


async def put_stream(
    intake: Intake, space: Space, header: InstanceHeader, stream: AsyncIterator[Buffer], arrival: Arrival, *,
    directory: Path, io: Executor, layout: Layout | None = None,
) -> tuple[Known, bool]:  # fmt: skip
    """Store one instance from ``stream``; returns how it is held, and whether it was held already.

    ``layout``: the stream is that of its blocks, which are kept as they come.
    """
    form = UnpackingStream(intake.codec, layout) if layout else intake.form(header)
    builder = RecordBuilder(space.key, form.codec)
    meta = intake.meta(header, arrival)
    room = builder.head_room(meta)
    pack = _StreamPack(directory, space.key.space, builder, form, room=room, disk=intake.disk, reserve=intake.reserve)
    kept = False
    try:
        await _copy(stream, pack, io, gather=GATHER_BYTES if layout is None else PACKED_BYTES)
        digest = Digest(pack.hash.digest())
        if arrival.expected is not None and digest != arrival.expected:
            raise DigestMismatch
        async with intake.turn(header.sop_instance_uid):
            known, contradiction, claimed = await intake.look_up(space, header, arrival.transfer)
            try:
                verdict = judge(known, digest, contradiction)
                if isinstance(verdict, Known):
                    if not await _in_thread(io, partial(intake.is_damaged, verdict, space)):
                        return verdict, True
                    verdict = None
                meta = replace(meta, digest=digest, size=pack.size, quarantine=verdict)
                head = builder.head(meta, pack.body_length, pad_to=room)
                record = Record(meta, builder.object_id, pack.length)
                kept = True
                held = await intake.commit(space, record, partial(_seal, io, pack, head), pack.name)
                intake.sealed(pack.name, PACK_HEADER_BYTES + pack.length)
                return held, False
            finally:
                if claimed:
                    space.unclaim()
    finally:
        if not kept:
            await _in_thread(io, pack.discard)


async def _copy(stream: AsyncIterator[Buffer], pack: _StreamPack, io: Executor, *, gather: int) -> None:
    await _in_thread(io, pack.start)
    pieces: list[Buffer] = []
    gathered = 0
    async for data in stream:
        view = memoryview(data)
        while view:
            piece, view = view[: gather - gathered], view[gather - gathered :]
            pieces.append(piece)
            gathered += len(piece)
            if gathered >= gather:
                await _in_thread(io, partial(pack.take, pieces))
                pieces, gathered = [], 0
    await _in_thread(io, partial(pack.take, pieces))
    await _in_thread(io, pack.end)


def _seal(io: Executor, pack: _StreamPack, head: bytes, done: Done) -> None:
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(done, _sealed(pack, head))

    io.submit(work)


def _sealed(pack: _StreamPack, head: bytes) -> int | LeveretError:
    try:
        pack.seal(head)
    except OSError as exc:
        pack.discard()
        return convert(exc)
    return PACK_HEADER_BYTES


async def _in_thread(io: Executor, work: Callable[[], _T]) -> _T:
    # To the end even if cancelled: the file's descriptor is in use until then.
    try:
        return await to_the_end(asyncio.get_running_loop().run_in_executor(io, work))
    except OSError as exc:
        raise convert(exc) from exc
