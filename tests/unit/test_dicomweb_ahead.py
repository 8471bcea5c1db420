"""Work that runs ahead of whoever takes it: in order, bounded, and over when it is no longer wanted."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import pytest

from node.api.dicomweb.ahead import AHEAD, in_order


class Work:
    def __init__(self, count: int) -> None:
        self.count = count
        self.begun = self.ended = 0

    async def one(self, number: int) -> int:
        self.begun += 1
        try:
            await asyncio.sleep(0.001 * (self.count - number))  # the first takes longest
        finally:
            self.ended += 1
        if number == 7:
            raise ValueError(number)
        return number

    async def all(self) -> AsyncGenerator[Coroutine[Any, Any, int], None]:
        for number in range(self.count):
            yield self.one(number)


async def test_results_come_in_order_and_no_more_runs_than_allowed() -> None:
    work, found = Work(7), []
    async for number in in_order(work.all()):
        found.append(number)
        assert work.begun - len(found) <= AHEAD
    assert found == list(range(7))


async def test_an_error_comes_where_it_belongs_and_ends_the_rest() -> None:
    work = Work(20)
    found: list[int] = []

    async def take() -> None:
        async for number in in_order(work.all()):
            found.append(number)  # noqa: PERF401  # what came before the error counts

    with pytest.raises(ValueError, match="7"):
        await take()
    assert found == list(range(7))
    assert work.begun == work.ended < 20


async def test_whoever_leaves_leaves_nothing_running() -> None:
    work = Work(6)
    async with contextlib.aclosing(in_order(work.all())) as results:
        assert await anext(results) == 0
    assert work.begun == work.ended < 6
