"""Starts after a crash, made by putting files back as a crash would leave them."""

import asyncio
import io
import os
import shutil
from pathlib import Path

import pytest
from support.store import header, instance_uid, keys, opened_store, study_uid

from node.clock import SystemClock
from node.log import make_logger
from node.model.ids import RequestId
from node.store.engine import Database
from node.store.objects import ObjectStore, PutOutcome
from node.store.pack_format import PACK_HEADER_BYTES
from node.store.study_queries import InstanceQuery


def packs(directory: Path) -> list[Path]:
    return sorted(directory.glob("packs/??/*.pack"))


async def crash_after(directory: Path, count: int, transfer: RequestId | None = None) -> dict[int, bytes]:
    """A data directory whose packs hold ``count`` instances of which the index knows none, as after a SIGKILL."""
    live = directory / "live"
    await asyncio.to_thread(live.mkdir)
    bodies = {number: os.urandom(3000 + number) for number in range(count)}
    async with opened_store(live) as (store, db):
        await store.put(header(instance=10_000), b"makes the study")
        await store.delete_study(study_uid(1))
        async with store._spaces.use(study_uid(1)):
            pass
        assert await db.truncate_wal()
        shutil.copy(live / "index.db", directory / "index.db")
        for number, body in bodies.items():
            await store.put(header(instance=number), body, transfer=transfer)
        shutil.copytree(live / "packs", directory / "packs", dirs_exist_ok=True)
    shutil.rmtree(live)
    return bodies


async def unseal(directory: Path) -> None:
    """Let the index forget that it followed the packs, as an index does that was not committed."""
    async with await Database.open(directory / "index.db", keys().index_key()) as db, db.write() as tx:
        await tx.execute("UPDATE pack SET sealed = 0, indexed_bytes = ?", (PACK_HEADER_BYTES,))


async def held(directory: Path) -> dict[int, bytes]:
    async with opened_store(directory) as (store, db):
        found = {}
        for instance in await store.instances(InstanceQuery()):
            reader = await store.reader(instance.header.sop_instance_uid)
            found[int(instance.header.instance_number)] = await reader.read()
        async with db.read() as rx:
            assert await rx.fetch_value("SELECT count(*) FROM pack WHERE sealed = 0") == 0
    return found


async def test_what_is_durable_is_indexed(tmp_path: Path) -> None:
    bodies = await crash_after(tmp_path, 12)
    assert await held(tmp_path) == bodies
    assert await held(tmp_path) == bodies  # once more: nothing twice


async def test_a_torn_tail_is_cut(tmp_path: Path) -> None:
    bodies = await crash_after(tmp_path, 5)
    [pack] = packs(tmp_path)
    whole = pack.read_bytes()
    sizes = []
    for cut in (1, 2000, 4000, len(whole) - PACK_HEADER_BYTES - 1):
        case = tmp_path / str(cut)
        await asyncio.to_thread(case.mkdir)
        shutil.copy(tmp_path / "index.db", case / "index.db")
        shutil.copytree(tmp_path / "packs", case / "packs")
        packs(case)[0].write_bytes(whole[: len(whole) - cut])
        found = await held(case)
        assert found == {n: b for n, b in bodies.items() if n < len(found)}
        sizes.append(len(found))
    assert sizes == [4, 4, 3, 0]
    pack.write_bytes(whole + bytes(5000))  # a power cut may leave zeros behind
    assert await held(tmp_path) == bodies
    assert pack.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", bytes(10), bytes(10_000)])
async def test_a_pack_in_which_nothing_was_durable_is_removed(tmp_path: Path, content: bytes) -> None:
    bodies = await crash_after(tmp_path, 2)
    empty = tmp_path / "packs" / "ab" / f"ab{os.urandom(15).hex()}.pack"
    empty.parent.mkdir(exist_ok=True)
    empty.write_bytes(content)
    assert await held(tmp_path) == bodies
    assert not empty.exists()


async def test_a_damaged_record_does_not_take_its_neighbours_with_it(tmp_path: Path) -> None:
    bodies = await crash_after(tmp_path, 5)
    [pack] = packs(tmp_path)
    whole = bytearray(pack.read_bytes())
    whole[len(whole) // 2] ^= 1
    pack.write_bytes(whole)
    found = await held(tmp_path)
    assert found == {n: b for n, b in bodies.items() if n in found}
    assert len(found) == 4


async def test_foreign_files_and_packs_of_no_study_are_left_alone(tmp_path: Path) -> None:
    bodies = await crash_after(tmp_path, 2)
    other = tmp_path / "other"
    await asyncio.to_thread(other.mkdir)
    async with opened_store(other) as (store, _db):
        await store.put(header(study=2), b"unknown here")
    [stray] = packs(other)
    target = tmp_path / "packs" / stray.parent.name / stray.name
    target.parent.mkdir(exist_ok=True)
    shutil.copy(stray, target)
    junk = tmp_path / "packs" / "cd" / f"cd{os.urandom(15).hex()}.pack"
    junk.parent.mkdir(exist_ok=True)
    junk.write_bytes(b"what is this" * 100)
    note = tmp_path / "packs" / "cd" / "notes.pack"
    note.write_text("x")
    assert await held(tmp_path) == bodies
    assert target.exists()
    assert junk.exists()
    assert note.exists()


async def test_staged_instances_stay_staged(tmp_path: Path) -> None:
    transfer = RequestId.new()
    bodies = await crash_after(tmp_path, 4, transfer)
    async with opened_store(tmp_path) as (store, _db):
        assert set(await store.staged(transfer)) == {instance_uid(1, number) for number in bodies}
        assert await store.instances(InstanceQuery()) == []
        assert (await store.put(header(instance=1), bodies[1], transfer=transfer)).outcome is PutOutcome.SAME


async def test_a_record_that_two_packs_hold_is_one_instance(tmp_path: Path) -> None:
    """As after a put that was not acknowledged, sent again, and a crash before either was indexed."""
    bodies = await crash_after(tmp_path, 3)
    async with opened_store(tmp_path) as (store, db):
        async with db.write() as tx:
            await tx.execute("DELETE FROM instance")
            await tx.execute("DELETE FROM study")
            await tx.execute("DELETE FROM pack")
        store._spaces._cached.clear()
        for number, body in bodies.items():
            await store.put(header(instance=number), body)
    await unseal(tmp_path)
    assert len(packs(tmp_path)) == 2
    assert await held(tmp_path) == bodies


async def test_deleting_is_finished_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened_store(tmp_path) as (store, _db):
        await store.put(header(study=1), b"one")
        await store.put(header(study=2), b"two")

        def power_cut(*_args: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("node.store.replay._unlink", power_cut)
            with pytest.raises(KeyboardInterrupt):
                await _in_task(store.delete_study(study_uid(1)))
        assert len(packs(tmp_path)) == 2
    async with opened_store(tmp_path) as (store, _db):
        assert len(packs(tmp_path)) == 1
        assert [s.study_instance_uid for s in await store.studies()] == [study_uid(2)]


async def _in_task(work: object) -> None:
    try:
        await work  # type: ignore[misc]
    except BaseException as exc:
        raise KeyboardInterrupt from exc


async def test_a_missing_pack_is_reported_and_the_rest_is_there(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, _db):
        await store.put(header(study=1), b"one")
        await store.put(header(study=2), b"two")
    await unseal(tmp_path)
    packs(tmp_path)[0].unlink()
    log = io.StringIO()
    own = keys()
    async with (
        await Database.open(tmp_path / "index.db", own.index_key()) as db,
        await ObjectStore.open(tmp_path, db, own, SystemClock(), make_logger(log), reserve_bytes=0) as store,
    ):
        assert (await store.totals()).instances == 2
    assert "a pack is missing" in log.getvalue()
