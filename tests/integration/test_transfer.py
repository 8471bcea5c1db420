"""Two facilities in one process: code, request, release, streams, admission, receipt."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.sharing_node import ACTOR, SharingNode, befriend, sharing_node

Two = tuple[SharingNode, SharingNode]
STUDY = CtStudy(instances=12, rows=32)


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    """A holder and a recipient that trust each other."""
    async with AsyncExitStack() as stack:
        north, lake = [await stack.enter_async_context(sharing_node(name, tmp_path)) for name in ("north", "lake")]
        await befriend(north, lake)
        yield north, lake


async def test_a_study_travels_with_a_code(two: Two) -> None:
    north, lake = two
    held = await north.hold(STUDY)
    code = await north.code_for(STUDY)
    request_id = await lake.requests.ask(lake.order(north, STUDY, code), by=ACTOR)
    view = await lake.requests.wait(request_id)
    assert (view.state, view.code) == ("COMPLETED", "")
    assert await lake.bytes_of(held) == held
