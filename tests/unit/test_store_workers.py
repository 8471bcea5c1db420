"""Threads for small work: everything is done once, what fails fails alone, and what waits goes together."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from node.store.workers import Strand, Workers


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers(2, "test")
    yield made
    await asyncio.to_thread(made.close)


async def test_each_gets_its_own_result(workers: Workers) -> None:
    results = await asyncio.gather(*(workers.run(lambda n=n: n * n) for n in range(200)))  # type: ignore[misc]
    assert results == [n * n for n in range(200)]


async def test_what_fails_fails_alone(workers: Workers) -> None:
    def fail() -> int:
        raise KeyError("one")

    outcomes = await asyncio.gather(*(workers.run(fail if n == 3 else int) for n in range(8)), return_exceptions=True)
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, KeyError)] == [3]
    assert await workers.run(lambda: 7) == 7


async def test_what_waits_for_a_thread_goes_there_together_and_what_was_given_up_does_not_run(workers: Workers) -> None:
    gate, ran = threading.Event(), list[int]()
    threads = [workers.run(gate.wait) for _ in range(2)]
    futures = [workers.run(lambda n=n: ran.append(n)) for n in range(40)]  # type: ignore[misc]
    futures[5].cancel()
    gate.set()
    await asyncio.gather(*threads, *(f for f in futures if not f.cancelled()))
    assert sorted(ran) == [n for n in range(40) if n != 5]


async def test_work_of_a_strand_is_done_in_order_and_by_one_thread_at_a_time(workers: Workers) -> None:
    strands = [Strand(workers) for _ in range(3)]
    inside, done = [0, 0, 0], [list[int](), list[int](), list[int]()]

    def work(which: int, number: int) -> None:
        inside[which] += 1
        assert inside[which] == 1
        done[which].append(number)
        inside[which] -= 1

    for number in range(100):
        for which, strand in enumerate(strands):
            strand.post(lambda which=which, number=number: work(which, number))  # type: ignore[misc]
    ends: list[asyncio.Future[None]] = []
    for strand in strands:
        end = asyncio.get_running_loop().create_future()
        strand.post(lambda end=end: end.get_loop().call_soon_threadsafe(end.set_result, None))  # type: ignore[misc]
        ends.append(end)
    async with asyncio.timeout(10):
        await asyncio.gather(*ends)
    assert done == [list(range(100))] * 3
