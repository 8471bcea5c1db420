"""How many bundles are in memory at once: one with scanned reports takes some 100 MB until its last byte is sent."""

import contextlib
from asyncio import Semaphore
from collections.abc import AsyncIterator

from node.errors.health_links import TooManyOpenings

AT_ONCE = 4
QUEUE = 32  # that wait; beyond that somebody floods


class Slots:
    """The bound of one node."""

    def __init__(self) -> None:
        self._free = Semaphore(AT_ONCE)
        self._inside = 0  # with one, and waiting

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it; raises TooManyOpenings if too many wait already."""
        if self._inside >= AT_ONCE + QUEUE:
            raise TooManyOpenings
        self._inside += 1
        try:
            async with self._free:
                yield
        finally:
            self._inside -= 1
