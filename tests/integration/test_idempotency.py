"""A POST that is sent twice is done once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from support.clocks import HandClock
from support.running import Running, running

from node.errors.access import InvalidUserName, StillRunning, UnknownOutcome
from node.sharing.idempotency import Answer, Idempotency, KeyedCall
from node.store import idempotency as rows
from node.store.engine import Database

CALL = KeyedCall("user:anna", "POST /api/v1/users", "k1", b"\0{}")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "north") as one:
        yield one


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(tmp_path / "index.db", bytes(32)) as database:
        yield database


async def post(http: ClientSession, path: str, key: str, **body: Any) -> tuple[int, Any, str | None]:
    async with http.post(path, json=body, headers={"Idempotency-Key": key}) as answer:
        return answer.status, await answer.json(), answer.headers.get("Idempotent-Replayed")


async def test_the_same_key_gets_the_same_answer(node: Running) -> None:
    headers = {"Authorization": f"Bearer {await node.token('operator')}"}
    async with ClientSession(node.api, headers=headers) as http:
        path = "/api/v1/users/operator/tokens"
        first = await post(http, path, '"k1"', label="one")
        again = await post(http, path, "k1", label="one")
        assert first[0] == again[0] == 201
        assert first[1] == again[1]
        assert (first[2], again[2]) == (None, "true")
        assert (await post(http, path, "k1", label="two"))[1]["code"] == "idempotency_key_reused"
        assert (await post(http, path + "?a=b", "k1", label="one"))[0] == 422
        assert (await post(http, path, "k2", label="one"))[1] != first[1]
        other = {"Authorization": f"Bearer {await node.token('operator', 'otto')}"}
        async with http.post(path, json={"label": "one"}, headers={**other, "Idempotency-Key": "k1"}) as answer:
            assert await answer.json() != first[1], "keys of others are others"
        for bad in ("", '"', "a b", "x" * 256, "ä"):
            assert (await post(http, path, bad, label="one"))[:1] == (400,)
        failed = await post(http, "/api/v1/users", "k3", name="a/b", role="auditor")
        assert failed[1]["code"] == "invalid_user_name"
        assert (await post(http, "/api/v1/users", "k3", name="ab", role="auditor"))[0] == 201, "failed: the key is free"


async def test_answers_are_sealed_under_the_key(db: Database) -> None:
    async def work() -> Answer:
        return Answer(201, "application/json", b'{"token": "lvt_secret"}')

    async with Idempotency(db, HandClock()) as calls:
        await calls.once(CALL, work)
    async with db.read() as rx:
        (row,) = await rx.fetch_all("SELECT * FROM idempotent_call")
    assert not any(isinstance(cell, bytes) and b"lvt_secret" in cell for cell in row)
    assert not any(CALL.key in str(cell) for cell in row)


async def test_two_at_once_are_one(db: Database) -> None:
    clock, begun, go_on = HandClock(), asyncio.Event(), asyncio.Event()
    made = 0

    async def work() -> Answer:
        nonlocal made
        made += 1
        begun.set()
        await go_on.wait()
        return Answer(201, "application/json", b'{"made": true}')

    async with Idempotency(db, clock) as calls:
        first = asyncio.create_task(calls.once(CALL, work))
        await begun.wait()
        with pytest.raises(StillRunning):
            await calls.once(CALL, work)
        first.cancel()  # the client is gone: what has begun is carried out
        await asyncio.gather(first, return_exceptions=True)
        go_on.set()
    assert made == 1
    async with Idempotency(db, clock) as calls:
        assert await calls.once(CALL, work) == (Answer(201, "application/json", b'{"made": true}'), True)
        clock.time += 86401
        assert (await calls.once(CALL, work))[1] is False, "after a day it is forgotten"
    assert made == 2


async def test_failures_free_the_key(db: Database) -> None:
    async def fail() -> Answer:
        raise InvalidUserName

    async def work() -> Answer:
        return Answer(204, "", b"")

    async with Idempotency(db, HandClock()) as calls:
        with pytest.raises(InvalidUserName):
            await calls.once(CALL, fail)
        assert await calls.once(CALL, work) == (Answer(204, "", b""), False)
        assert await calls.once(CALL, work) == (Answer(204, "", b""), True)


async def test_who_was_cut_off_by_a_power_cut_is_told_so(db: Database) -> None:
    async def work() -> Answer:
        raise AssertionError("it may have been done already")

    async with db.write() as tx:  # what a kill leaves: an entry without an answer
        await rows.begin(tx, CALL.digest, hashlib.sha256(CALL.said).digest(), HandClock().now())
    async with Idempotency(db, HandClock()) as calls:
        with pytest.raises(UnknownOutcome):
            await calls.once(CALL, work)
