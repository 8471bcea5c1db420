"""What a backup needs of the store: a snapshot under load, and what becomes of studies deleted while it is made."""

import asyncio
import io
import shutil
from pathlib import Path

import pytest
from support.store import INDEX_KEY, header, instance_uid, keys, opened_store, study_uid

from node.clock import SystemClock
from node.crypto.identity import Domain, verify_signature
from node.errors.storage import DiskFull, IndexDamaged
from node.errors.vault import BackupSuperseded
from node.log import make_logger
from node.model.ids import PeerId, RequestId
from node.sharing.backups import Backups
from node.store import backup
from node.store.engine import Database
from node.store.objects import PACKS_FOLDER, ObjectStore
from node.store.study_queries import InstanceQuery

DATA = b"pixels" * 10_000


async def index_of(path: Path) -> Database:
    return await Database.open(path, INDEX_KEY)


async def test_a_snapshot_under_load_is_one_moment_and_its_packs_hold_all_that_it_names(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, db):

        async def keep_storing() -> None:
            for number in range(1, 120):
                await store.put(header(study=number % 5, instance=number), DATA)

        async with asyncio.TaskGroup() as group:
            storing = group.create_task(keep_storing())
            made = 0
            while not storing.done():
                folder = tmp_path / f"copy{made}"
                folder.mkdir()
                await backup.snapshot(db, folder / "index.db")
                await asyncio.to_thread(shutil.copytree, tmp_path / PACKS_FOLDER, folder / PACKS_FOLDER)
                made += 1
                await asyncio.sleep(0.1)
    assert made > 1
    own = keys()
    for number in range(made):
        folder = tmp_path / f"copy{number}"
        async with await index_of(folder / "index.db") as db:
            await backup.check_whole(db)
            async with db.read() as rx:
                named = await rx.fetch_value("SELECT count(*) FROM instance")
            store = await ObjectStore.open(folder, db, own, SystemClock(), make_logger(io.StringIO()), reserve_bytes=0)
            async with store:
                held = await store.instances(InstanceQuery())
                assert len(held) >= named, "what came after the snapshot is replayed, what it names is there"
                readers = await store.readers([one.header.sop_instance_uid for one in held])
                assert {bytes(await reader.read()) for reader in readers.values()} <= {DATA}


async def test_a_study_that_was_deleted_meanwhile_is_deleted_in_the_copy_and_nothing_else(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    async with opened_store(tmp_path) as (store, db):
        for study in (1, 2):
            await store.put(header(study=study), DATA)
        staged = RequestId.new()
        await store.put(header(study=3), DATA, transfer=staged, origin=PeerId(b"o" * 32))
        await store.indexed()
        await backup.snapshot(db, copy / "index.db")
        await asyncio.to_thread(shutil.copytree, tmp_path / PACKS_FOLDER, copy / PACKS_FOLDER)
        async with db.read() as rx:
            names = [pack.name for pack in await backup.packs(rx)]
        await store.delete_study(study_uid(1))
        await store.discard_staged(staged)
        async with db.read() as rx:
            gone = await backup.gone(rx, names)
    assert len(gone) == 2
    async with await index_of(copy / "index.db") as db:
        assert await backup.forget(copy / PACKS_FOLDER, db, gone) == 1
        async with db.read() as rx:
            assert await rx.fetch_all("SELECT uid FROM study") == [(str(study_uid(2)),)]
            assert await rx.fetch_value("SELECT count(*) FROM staged") == 0
            assert await rx.fetch_all("PRAGMA foreign_key_check") == []
            left = {pack.name.hex() for pack in await backup.packs(rx)}
    assert {path.stem for path in (copy / PACKS_FOLDER).glob("??/*.pack")} == left
    async with opened_store(copy) as (store, _db):
        assert await (await store.reader(instance_uid(2, 1))).read() == DATA


async def test_one_backup_at_a_time_signed_and_cleaned_up(tmp_path: Path) -> None:
    own = keys()
    (tmp_path / "keys.json").write_text("{}")
    async with opened_store(tmp_path) as (store, db):
        await store.put(header(study=1), DATA)
        made = Backups(tmp_path, db=db, store=store, identity=own.identity, clock=SystemClock(), lock=asyncio.Lock())
        assert await made.last_at() is None
        first = await made.begin()
        second = await made.begin()
        for use in (made.deleted(first.backup_id), made.sign(first.backup_id, b"d" * 32, size=1, by="os:0")):
            with pytest.raises(BackupSuperseded):
                await use
        signature = await made.sign(second.backup_id, b"d" * 32, size=1, by="os:0")
        verify_signature(own.identity.public_key, Domain.BACKUP, b"d" * 32, signature)
        assert await made.last_at() is not None
        await made.end(first.backup_id)
        assert second.folder.is_dir(), "an older one ends nothing"
        await made.end(second.backup_id)
        assert not second.folder.exists()


async def test_no_room_for_a_snapshot_and_a_copy_that_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_store(tmp_path) as (_store, db):
        await backup.snapshot(db, tmp_path / "copy.db")
        with monkeypatch.context() as patch:

            class Full:
                f_bavail, f_frsize = 0, 4096

            patch.setattr("node.store.backup.os.statvfs", lambda _path: Full)
            with pytest.raises(DiskFull):
                await backup.snapshot(db, tmp_path / "none.db")
    data = bytearray((tmp_path / "copy.db").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "copy.db").write_bytes(data)
    async with await index_of(tmp_path / "copy.db") as db:
        with pytest.raises(IndexDamaged):
            await backup.check_whole(db)
