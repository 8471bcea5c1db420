"""Waiting that other rooms' cancellations cannot spoil."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)


async def to_the_end(future: asyncio.Future[_T]) -> _T:
    """The result of ``future``; a cancellation meanwhile is raised only once ``future`` has succeeded.

    For work that goes on in a thread whatever happens to who asked for it.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as exc:
            cancelled = exc
    result = future.result()
    if cancelled is not None:
        raise cancelled
    return result


class Turns(Generic[_K]):
    """One at a time for each key: ``async with turns.turn(key)`` excludes everybody else with an equal key."""

    def __init__(self) -> None:
        self._locks: dict[_K, asyncio.Lock] = {}
        self._users: dict[_K, int] = {}

    @asynccontextmanager
    async def turn(self, key: _K) -> AsyncIterator[None]:
        """Wait for the others with this key, in order of arrival."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] = self._users.get(key, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]
