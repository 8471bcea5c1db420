"""Passwords hashed and checked a few at a time: argon2id takes 64 MiB and tens of milliseconds each, on purpose."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from node.crypto.passwords import hash_password, password_is
from node.errors.access import SignInBusy

MAX_PASSWORD = 1024  # bytes: argon2id reads all of it
AT_ONCE = 2
QUEUE = 32  # that wait for it: two seconds' work; beyond that somebody floods


class PasswordHashing:
    """One for all of a node's accounts, so that the bounds hold for all together."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._inside = 0  # at work and waiting
        self.worked = 0  # how often; failures of every kind cost the same (a test counts)

    async def hashed(self, password: bytes) -> str:
        """What is kept of a password. Raises SignInBusy."""
        async with self.turn():
            return await self.hashed_now(password)

    async def hashed_now(self, password: bytes) -> str:
        """The same within a turn."""
        self.worked += 1
        return await asyncio.to_thread(hash_password, password)

    async def is_right(self, stored: str | None, password: bytes) -> bool:
        """Within a turn: whether ``stored`` was made from it. Takes as long without ``stored``, and at any length."""
        self.worked += 1
        right = await asyncio.to_thread(password_is, stored, password[:MAX_PASSWORD])
        return right and len(password) <= MAX_PASSWORD

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one of the places; raises SignInBusy if too many wait already."""
        if self._inside >= AT_ONCE + QUEUE:
            raise SignInBusy
        self._inside += 1
        try:
            async with self._slots:
                yield
        finally:
            self._inside -= 1
