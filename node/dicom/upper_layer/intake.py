"""Where the bytes of one data set go while they arrive: into memory, then, if it is large, into a stream.

Memory is bounded twice: a data set by ``SPOOL_FROM_BYTES``, all of them together by a ``Budget`` that the associations
of a listener share. What does not fit is streamed, if the receiver of the data set can take a stream, or else read to
its end and dropped.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Self

from node.errors.dicom import Truncated

SPOOL_FROM_BYTES = 64 * 1024 * 1024  # larger data sets are streamed
BUDGET_BYTES = 384 * 1024 * 1024  # of all data sets in memory: leaves the process below 600 MB
FIRST_BYTES = 1024 * 1024  # a data set's first allocation: most images fit
LOOK_BYTES = 256 * 1024  # whoever makes use of what has arrived is told each time that so much more is there
KEEP_BYTES = 4 * 1024 * 1024  # a buffer up to this size is kept for the next data set of its association
MIN_HEAD_BYTES = 1024 * 1024  # a stream begins with at least this much: enough to find out what it is
HIGH_BYTES, LOW_BYTES = 4 * 1024 * 1024, 1024 * 1024  # waiting in a stream: the sender is paused, and goes on


class Budget:
    """Bytes of memory that several share."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, amount: int) -> bool:
        """Whether ``amount`` bytes more may be used; if so they are taken."""
        if amount > self._left:
            return False
        self._left -= amount
        return True

    def give_back(self, amount: int) -> None:
        """What was taken is free again."""
        self._left += amount


class Buffer:
    """A data set in memory, in one bytearray that is used again for the next one.

    It never changes its size: views of it stay valid while more is added.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._data = bytearray()
        self._taken = 0
        self.size = 0

    def add(self, piece: memoryview) -> bool:
        """Append ``piece``; False, and nothing is appended, if there is no memory for it."""
        end = self.size + len(piece)
        if end > len(self._data):
            wanted = max(2 * len(self._data), end, FIRST_BYTES)
            if not self._budget.take(wanted - self._taken):
                return False
            self._taken = wanted
            larger = bytearray(wanted)
            larger[: self.size] = memoryview(self._data)[: self.size]
            self._data = larger
        self._data[self.size : end] = piece
        self.size = end
        return True

    def view(self) -> memoryview:
        """The data set so far, read-only."""
        return memoryview(self._data)[: self.size].toreadonly()

    def clear(self) -> None:
        """Forget the data set. If somebody still holds a view, the memory is left to them."""
        self.size = 0
        if self._taken <= KEEP_BYTES and not self._is_shared():
            return
        self._data = bytearray()
        self._budget.give_back(self._taken)
        self._taken = 0

    def free(self) -> None:
        """The association is over."""
        self._data = bytearray()
        self._budget.give_back(self._taken)
        self.size = self._taken = 0

    def _is_shared(self) -> bool:
        try:  # a bytearray tells by refusing to change its size while views of it are alive
            self._data.append(0)
            self._data.pop()
        except BufferError:
            return True
        return False


class Stream(AsyncIterator[bytes]):
    """The rest of a large data set, for one reader; ``on_low`` is called when the sender may go on."""

    def __init__(self, on_low: Callable[[], None]) -> None:
        self._pieces: deque[bytes] = deque()
        self._on_low = on_low
        self._waiting: asyncio.Future[None] | None = None
        self._has_ended = self._has_failed = False
        self.level = 0

    @property
    def is_full(self) -> bool:
        """Whether the sender is to be paused."""
        return self.level >= HIGH_BYTES

    def add(self, piece: bytes) -> None:
        """The next piece."""
        self._pieces.append(piece)
        self.level += len(piece)
        self._wake()

    def end(self) -> None:
        """The data set is complete."""
        self._has_ended = True
        self._wake()

    def fail(self) -> None:
        """It will never be: the reader gets Truncated after what it has."""
        self._has_failed = True
        self._wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._has_failed:
                raise Truncated
            if self._has_ended:
                raise StopAsyncIteration
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        piece = self._pieces.popleft()
        was_above = self.level > LOW_BYTES
        self.level -= len(piece)
        if was_above and self.level <= LOW_BYTES:
            self._on_low()
        return piece

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
