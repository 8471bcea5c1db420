"""The budget: never more than there is, first come first served, nothing lost by cancellation."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from node.sharing.budget import Budget


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=30))
@settings(deadline=None)
def test_never_more_than_there_is(takers: list[tuple[int, bool]]) -> None:
    asyncio.run(_walk(takers))


async def _walk(takers: list[tuple[int, bool]]) -> None:
    budget, held = Budget(20), 0

    async def take(count: int) -> None:
        nonlocal held
        taken = await budget.take(count)
        held += taken
        assert held <= 20
        try:
            await asyncio.sleep(0)
        finally:
            held -= taken
            budget.give_back(taken)

    tasks = [asyncio.ensure_future(take(count)) for count, _ in takers]
    await asyncio.sleep(0)
    for task, (_, cancelled) in zip(tasks, takers, strict=True):
        if cancelled:
            task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(r is None or isinstance(r, asyncio.CancelledError) for r in results)
    assert held == 0
    async with asyncio.timeout(1):
        assert await budget.take(20) == 20


async def test_a_large_taker_is_not_overtaken() -> None:
    budget, order = Budget(10), list[str]()
    first = await budget.take(6)

    async def take(name: str, count: int) -> None:
        taken = await budget.take(count)
        order.append(name)
        budget.give_back(taken)

    waiting = [asyncio.ensure_future(take("large", 100)), asyncio.ensure_future(take("small", 1))]
    await asyncio.sleep(0)
    assert order == []
    budget.give_back(first)
    await asyncio.gather(*waiting)
    assert order == ["large", "small"]


async def test_a_cancelled_taker_leaves_all_to_others() -> None:
    budget = Budget(10)
    first = await budget.take(10)
    waiting = asyncio.ensure_future(budget.take(5))
    await asyncio.sleep(0)
    budget.give_back(first)  # granted, and cancelled before it could know
    waiting.cancel()
    await asyncio.wait((waiting,))
    async with asyncio.timeout(1):
        assert await budget.take(10) == 10
