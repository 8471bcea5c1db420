"""Looking through the packs: every flipped bit, missing pack and wrong place is found, told by study, remembered."""

import asyncio
import io
import os
from pathlib import Path

import pytest
from support.clocks import HandClock
from support.store import header, opened_store, study_uid

from node.config import StoreSettings
from node.log import make_logger
from node.metrics import Metrics
from node.model.audit import AuditType
from node.sharing.scrub import Scrub
from node.sharing.upkeep import UpkeepParts
from node.store import audit
from node.store import scrub as rows
from node.store.engine import Database
from node.store.objects import ObjectStore
from node.store.scrub import Flaw

PACK_HEADER = 40


def scrub_of(
    store: ObjectStore, db: Database, clock: HandClock, log: io.StringIO | None = None, days: int = 30
) -> Scrub:
    settings = StoreSettings(scrub_days=days)
    return Scrub(UpkeepParts(db, store, settings, clock, Metrics(), make_logger(log or io.StringIO())))


async def fill(directory: Path, studies: int = 3) -> dict[int, Path]:
    """One pack a study; where each lies."""
    async with opened_store(directory) as (store, db):
        for study in range(1, studies + 1):
            for number in (1, 2):
                await store.put(header(study=study, instance=number), os.urandom(300_000))
            await store.close_revision(study_uid(study))
        async with db.read() as rx:
            rows = await rx.fetch_all("SELECT s.study_uid, p.name FROM pack p JOIN space s ON s.ref = p.space")
    names = {str(uid): bytes(name).hex() for uid, name in rows}
    return {
        n: directory / "packs" / names[str(study_uid(n))][:2] / f"{names[str(study_uid(n))]}.pack" for n in (1, 2, 3)
    }


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def damage(kind: str, packs: dict[int, Path]) -> None:
    match kind:
        case "missing":
            packs[2].unlink()
        case "first record":
            flip(packs[2], PACK_HEADER + 3)
        case "key":
            flip(packs[2], PACK_HEADER + 60)
        case "last byte":
            flip(packs[2], packs[2].stat().st_size - 1)
        case "cut":
            os.truncate(packs[2], packs[2].stat().st_size - 1)
        case "pack header":
            flip(packs[2], 10)
        case "another study's":
            packs[2].write_bytes(packs[1].read_bytes())


@pytest.mark.parametrize(
    ("kind", "flaw", "objects"),
    [
        ("missing", Flaw.PACK_MISSING, 2),
        ("first record", Flaw.DAMAGED, 1),
        ("key", Flaw.DAMAGED, 1),
        ("last byte", Flaw.DAMAGED, 1),
        ("cut", Flaw.DAMAGED, 1),
        ("pack header", Flaw.DAMAGED, 2),
        ("another study's", Flaw.DAMAGED, 2),
    ],
)
async def test_what_is_wrong_is_found_and_told(tmp_path: Path, kind: str, flaw: Flaw, objects: int) -> None:
    packs = await fill(tmp_path)
    await asyncio.to_thread(damage, kind, packs)
    log = io.StringIO()
    async with opened_store(tmp_path) as (store, db):
        looking = scrub_of(store, db, HandClock(), log)
        await looking.begin()
        await looking.round()
        state = await looking.state()
        [found] = state.damaged
        assert (found.study, found.flaw, found.objects) == (study_uid(2), flaw, objects)
        assert state.progress.objects == 6
        assert state.progress.ended_at is not None
        assert "object_damaged" in log.getvalue()
        assert str(study_uid(2)) not in log.getvalue()
        async with db.read() as rx:
            [event] = await audit.page(rx, before=None, limit=10, types=(AuditType.DAMAGE_FOUND,))
        assert event.event.detail["objects"] == objects
        await looking.begin()
        await looking.round()
        async with db.read() as rx:
            assert len(await audit.page(rx, before=None, limit=10, types=(AuditType.DAMAGE_FOUND,))) == 1, "told once"
        await store.delete_study(study_uid(2))
        assert (await looking.state()).damaged == [], "what is deleted is damaged no more"


async def test_what_is_repaired_is_damaged_no_more(tmp_path: Path) -> None:
    packs = await fill(tmp_path)
    whole = packs[2].read_bytes()
    flip(packs[2], 2000)
    async with opened_store(tmp_path) as (store, db):
        looking = scrub_of(store, db, HandClock())
        for data, expected in ((None, 1), (whole, 0)):
            if data is not None:
                await asyncio.to_thread(packs[2].write_bytes, data)
            await looking.begin()
            await looking.round()
            assert len((await looking.state()).damaged) == expected


async def test_an_index_that_points_at_another_object_is_found(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with opened_store(tmp_path) as (store, db):
        async with db.write() as tx:  # an index that belongs to another state of the pack
            await tx.execute(
                "UPDATE instance SET offset = 40 WHERE pack = (SELECT min(pack) FROM instance) AND offset > 40"
            )
        looking = scrub_of(store, db, HandClock())
        await looking.begin()
        await looking.round()
        [found] = (await looking.state()).damaged
        assert (found.flaw, found.objects) == (Flaw.MISPLACED, 1)


async def test_a_round_goes_on_where_it_was(tmp_path: Path) -> None:
    await fill(tmp_path)
    clock = HandClock()
    async with opened_store(tmp_path) as (store, db):
        looking = scrub_of(store, db, clock)
        await looking.begin()
        async with db.read() as rx:
            first = await rows.next_pack(rx, b"")
        assert first is not None
        await looking.check(first)  # half a round, as a stop leaves it
    async with opened_store(tmp_path) as (store, db):
        looking = scrub_of(store, db, clock)
        state = await looking.state()
        assert (state.progress.ended_at, state.progress.objects) == (None, 2)
        assert await looking.is_due()
        await looking.round()
        assert (await looking.state()).progress.objects == 6


async def test_rounds_begin_when_they_are_due_and_never_if_switched_off(tmp_path: Path) -> None:
    await fill(tmp_path)
    clock = HandClock()
    async with opened_store(tmp_path) as (store, db):
        off, on = scrub_of(store, db, clock, days=0), scrub_of(store, db, clock)
        assert not await off.is_due()
        assert await on.is_due()
        await on.round()
        clock.time += 29 * 86_400
        assert not await on.is_due()
        clock.time += 2 * 86_400
        assert await on.is_due()
