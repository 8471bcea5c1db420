"""Refused access is on record, and a flood of it costs the log a bounded number of events."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.clocks import HandClock
from support.store import INDEX_KEY

from node.api.denials import MAX_KINDS, Denial, Denials, place_of
from node.crypto.identity import Identity
from node.log import make_logger
from node.model.audit import AuditEvent, AuditType, Outcome
from node.sharing.audit import AuditLog
from node.store import audit as rows
from node.store.engine import Database

REFUSED = Denial("unauthenticated", "anonymous", "/dicom-web/studies", "loopback")


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "index.db", INDEX_KEY)
    yield database
    await database.close()


@pytest.fixture
def denials(db: Database) -> Denials:
    clock = HandClock()
    return Denials(AuditLog(db, Identity.from_seed(bytes(32)), clock), clock, make_logger(io.StringIO()))


async def events(db: Database) -> list[AuditEvent]:
    async with db.read() as rx:
        return [row.event for row in reversed(await rows.page(rx, before=None, limit=1000))]


async def test_the_first_at_once_and_the_rest_together(denials: Denials, db: Database) -> None:
    for _ in range(5):
        await denials.denied(REFUSED)
    (one,) = await events(db)
    assert (one.type, one.outcome, one.actor, one.code) == (
        AuditType.ACCESS_DENIED, Outcome.REFUSED, "anonymous", "unauthenticated",
    )  # fmt: skip
    assert one.detail == {"route": "/dicom-web/studies", "from": "loopback", "count": 1}
    await denials.close_window()
    assert [event.detail["count"] for event in await events(db)] == [1, 4]
    await denials.close_window()
    await denials.denied(REFUSED)
    assert [event.detail["count"] for event in await events(db)] == [1, 4, 1], "a new window begins with an event"


async def test_a_flood_of_kinds_is_bounded(denials: Denials, db: Database) -> None:
    for number in range(1000):
        await denials.denied(Denial("forbidden", f"user:u{number}", "/api/v1/users", "loopback"))
    await denials.close_window()
    found = await events(db)
    assert len(found) <= MAX_KINDS + 2
    assert sum(int(event.detail["count"]) for event in found) == 1000, "every one is counted"
    assert found[-1].actor == "many"


async def test_what_was_counted_is_written_at_the_end(denials: Denials, db: Database) -> None:
    task = asyncio.create_task(denials.run())
    await denials.denied(REFUSED)
    await denials.denied(REFUSED)
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [event.detail["count"] for event in await events(db)] == [1, 1]


async def test_a_log_that_cannot_be_written_changes_no_answer(denials: Denials, db: Database) -> None:
    await db.close()
    await denials.denied(REFUSED)


@pytest.mark.parametrize(
    ("remote", "place"),
    [
        (None, "socket"), ("", "socket"), ("127.0.0.1", "loopback"), ("::1", "loopback"), ("10.1.2.3", "private"),
        ("fe80::1%eth0", "private"), ("8.8.8.8", "public"), ("nonsense", "unknown"),
    ],
)  # fmt: skip
def test_places(remote: str | None, place: str) -> None:
    assert place_of(remote) == place
