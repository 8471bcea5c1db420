"""What a node does by itself, for as long as a test looks on."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any


@contextlib.asynccontextmanager
async def in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """All of ``work`` runs until the block ends; whatever failed by itself fails the test."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [e for e in ended if isinstance(e, Exception)]
        assert not failed, failed


async def until(check: Callable[[], Awaitable[object]], seconds: float = 20.0) -> None:
    """Wait for something that happens by itself; fails if it does not."""
    deadline = time.monotonic() + seconds
    while not await check():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)
