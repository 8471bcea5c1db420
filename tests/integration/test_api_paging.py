"""Lists come in parts that join to the whole, and no parameter is guessed at."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from support.ct import CtStudy
from support.running import Running, running

from node.cli.client import Daemon

STUDIES = 7


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "north") as one:
        yield one


async def parts(node: Running, path: str, name: str) -> list[list[Any]]:
    """The parts of a list, as a program follows them."""
    found, place = [], path
    while place:
        document = await node.done("GET", place.removeprefix("/api/v1"))
        found.append(document[name])
        place = document["next"]
    return found


async def test_parts_join_to_the_whole(node: Running) -> None:
    run = (await node.done("POST", "/imports"))["import_id"]
    for number in range(STUDIES):
        study = CtStudy(instances=1, rows=16, patient_id=f"P{number}", seed=number + 1)
        await node.done("POST", f"/imports/{run}/files", data=next(study.files()))
        await node.done("POST", "/users", json={"name": f"user{number}", "role": "auditor"})
    await node.done("POST", f"/imports/{run}/end")
    for path, name, key in (
        ("/studies", "studies", "study_instance_uid"),
        ("/users", "users", "name"),
        ("/audit", "events", "position"),
    ):
        (whole,) = await parts(node, f"{path}?limit=1000", name)
        for limit in (1, 3, len(whole) - 1, len(whole)):
            found = await parts(node, f"{path}?limit={limit}", name)
            names = [one[key] for part in found for one in part]
            assert len(names) == len(set(names))
            assert [one[key] for one in whole] == names[: len(whole)] or path == "/audit", (path, limit)
            assert all(len(part) == limit for part in found[:-1])
    (third,) = await parts(node, "/studies?patient_id=P3&limit=2", "studies")
    assert [one["patient_id"] for one in third] == ["P3"]
    with contextlib.closing(Daemon(node.directory)) as daemon:
        joined = await asyncio.to_thread(daemon.every, "/users", "users", limit=2)
    assert [one["name"] for one in joined["users"]] == [f"user{number}" for number in range(STUDIES)]


NO_PARTS = (
    "limit=0",
    "limit=1001",
    "limit=-1",
    "limit=x",
    "limit=1.5",
    "limit=",
    "offset=-1",
    "limit=1&limit=2",
    "what=1",
)


async def test_what_is_no_part_is_refused(node: Running) -> None:
    headers = {"Authorization": f"Bearer {await node.token('operator')}"}
    async with ClientSession(node.api, headers=headers) as http:
        for query in NO_PARTS:
            async with http.get(f"/api/v1/users?{query}") as answer:
                assert answer.status == 400, query
                assert (await answer.json())["code"] == "invalid_input"


async def test_requests_of_this_facility(node: Running, tmp_path: Path) -> None:
    """Newest first, with who asked and what for; not whom they are about. A repeated one is one."""
    async with running(tmp_path / "lake", "lake") as lake:
        invitation = (await node.done("POST", "/peers/invitations", json={"auto_confirm": True}))["invitation"]
        await lake.done("POST", "/peers/joined", json={"invitation": invitation})
        who = {"name": "Garcia^Elena", "birth_date": "19610203", "sex": "F"}
        wanted = {"peer": "north", "studies": ["1.2.3"], "on_file": True, **who}
        headers = {"Authorization": f"Bearer {await lake.token('clinician')}", "Idempotency-Key": "one"}
        async with ClientSession(lake.api, headers=headers) as http:
            for _ in range(2):
                async with http.post("/api/v1/requests", json=wanted) as answer:
                    assert answer.status == 201
        made = [(await lake.done("POST", "/requests", json=wanted))["request_id"] for _ in range(2)]
        (first, rest) = await parts(lake, "/requests?limit=2", "requests")
    assert [one["request_id"] for one in first] == made[::-1]
    assert [(one["user"], one["purpose"]) for one in rest] == [("clinician", "TREAT")]
    assert "Garcia" not in str(first + rest)
