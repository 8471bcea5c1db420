"""How much of a transfer may be in memory at once."""

import asyncio
from collections import deque


class Budget:
    """A number of bytes that tasks share, first come, first served. More than all of it counts as all of it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, count: int) -> int:
        """Wait for ``count`` bytes; returns what was taken, which the caller gives back."""
        count = min(count, self._capacity)
        if not self._waiting and count <= self._free:
            self._free -= count
            return count
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(count)  # it was granted in the same moment
            raise
        return count

    def give_back(self, count: int) -> None:
        """Return what ``take`` gave."""
        self._free += count
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)
