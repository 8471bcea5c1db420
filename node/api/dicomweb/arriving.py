"""One instance of a STOW-RS request while it arrives: kept in memory if it is small, else streamed into the store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from node.dicom.part10 import read_part10
from node.errors.access import TooLarge
from node.errors.base import LeveretError
from node.errors.dicom import DicomRefused
from node.errors.identifiers import InvalidUid
from node.model.ids import SOPClassUID, SOPInstanceUID
from node.model.instance import InstanceHeader
from node.sharing.budget import Budget
from node.store.objects import STREAM_FROM_BYTES

MAX_STREAMED_BYTES = 1 << 40  # of one instance; the disk is full long before
IN_FLIGHT = 8  # instances of one request that are being stored at once
HIGH_PIECES = 4  # that wait in a stream: then the sender does


@dataclass(frozen=True, slots=True)
class Names:
    """What an instance is called, for an answer that says what became of it."""

    sop_class: SOPClassUID
    sop_instance: SOPInstanceUID

    @classmethod
    def of(cls, header: InstanceHeader) -> "Names":
        """Those of its data set."""
        return cls(header.sop_class_uid, header.sop_instance_uid)

    @classmethod
    def of_file(cls, data: bytes | bytearray) -> "Names | None":
        """Those of its file meta information, where the data set cannot be read."""
        try:
            part = read_part10(data)
            return cls(SOPClassUID.parse(part.media_sop_class_uid), SOPInstanceUID.parse(part.media_sop_instance_uid))
        except (DicomRefused, InvalidUid):
            return None


Take = Callable[[bytes | bytearray], Coroutine[Any, Any, None]]
TakeStream = Callable[[bytes | bytearray, AsyncIterator[bytes]], Coroutine[Any, Any, None]]


class Slots:
    """What one request may have in memory while it waits for the store: so many instances of so many bytes."""

    def __init__(self) -> None:
        self._count = asyncio.Semaphore(IN_FLIGHT)
        self._bytes = Budget(STREAM_FROM_BYTES)

    async def start(self, group: asyncio.TaskGroup, work: Coroutine[Any, Any, None], size: int) -> None:
        """Wait for room, and let ``work`` run as a task that gives it back."""
        await self._count.acquire()
        taken = await self._bytes.take(size)

        async def run() -> None:
            try:
                await work
            finally:
                self._bytes.give_back(taken)
                self._count.release()

        group.create_task(run())


class Arriving:
    """Add the pieces, then end it. What is too much to keep goes to ``take_stream`` from then on."""

    def __init__(self, group: asyncio.TaskGroup, slots: Slots, take: Take, take_stream: TakeStream) -> None:
        self._group = group
        self._slots = slots
        self._take = take
        self._take_stream = take_stream
        self._data = bytearray()
        self._stream: _Stream | None = None
        self._task: asyncio.Task[None] | None = None
        self.size = 0

    async def add(self, piece: bytes) -> None:
        """The next bytes; waits while the store cannot follow. Raises TooLarge."""
        self.size += len(piece)
        if self.size > MAX_STREAMED_BYTES:
            raise TooLarge
        if self._task is None:
            self._data += piece
            if self.size >= STREAM_FROM_BYTES:
                self._stream, beginning, self._data = _Stream(), self._data, bytearray()
                self._task = self._group.create_task(self._take_stream(beginning, aiter(self._stream)))
        elif self._stream is not None and not self._task.done():
            await self._stream.put(piece, self._task)

    async def end(self) -> None:
        """That was all of it. A small one is taken by another task; a large one has been taken when this returns."""
        if self._stream is None or self._task is None:
            data, self._data = self._data, bytearray()
            await self._slots.start(self._group, self._take(data), len(data))
            return
        await self._stream.put(b"", self._task)
        await asyncio.wait({self._task})


class _Stream:
    """Pieces from one task to another, some at a time."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(HIGH_PIECES)

    async def put(self, piece: bytes, reader: asyncio.Task[None]) -> None:
        """Hand a piece on; dropped if the reader ends without it, because it has refused the instance."""
        putting = asyncio.ensure_future(self._queue.put(piece))
        try:
            await asyncio.wait({putting, reader}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._queue.get():
            yield piece


def error_in(group: BaseExceptionGroup) -> BaseException:
    """The first error of ours among what a task group raises, else the first of all."""
    known, _ = group.split(LeveretError)
    first: BaseException = known or group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
