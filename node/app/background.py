"""Tasks that run as long as the node: each has an owner, and none ends unnoticed."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Self

from node.log import Logger


class Background:
    """Runs coroutines until its context ends. One that ends before is a defect: ``failed`` then holds its error."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._tasks: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work``."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Cancel all and wait for them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.failed.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception() or RuntimeError(f"{task.get_name()} ended")
        self._log.critical("component failed", component=task.get_name(), error=type(error).__name__)
        if not self.failed.done():
            self.failed.set_exception(error)
