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


class Steady(asyncio.Future[_T]):
    """A future that a cancellation of who awaits it leaves alone, for ``steadily``."""

    def cancel(self, msg: object | None = None) -> bool:  # noqa: ARG002, D102 - asyncio's own word
        return False


async def steadily(future: Steady[_T]) -> _T:
    """As ``to_the_end``, a turn or two of the event loop faster."""
    try:
        return await future
    except asyncio.CancelledError:
        future.result()  # raises what went wrong, if something did
        raise


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
