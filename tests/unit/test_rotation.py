"""A new master key: readable at every moment, whatever is cut short; what was shredded stays so (attacks 1 and 14)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.pages import occurs
from support.store import header, instance_uid, study_uid

from node.clock import SystemClock
from node.crypto.identity import Identity
from node.crypto.keystore import (
    KeyFileProtector,
    KeyStore,
    PassphraseProtector,
    Protector,
    create_keystore,
    open_keystore,
)
from node.errors.crypto_keys import KeyStoreUnwritable, WrongKeyFile, WrongKeyOrDamaged, WrongPassphrase
from node.log import make_logger
from node.model.audit import AuditType
from node.sharing.rotation import Rotation
from node.store import audit
from node.store.engine import Database
from node.store.objects import ObjectStore
from node.store.rotation import rewrap

STUDIES = 7
DATA = b"pixels" * 1000


def protectors(folder: Path) -> dict[str, Protector]:
    return {
        "key file": KeyFileProtector(folder / "node.key"),
        "passphrase": PassphraseProtector(b"correct horse", operations=1, memory_bytes=65536),
    }


@asynccontextmanager
async def opened(folder: Path, keys: KeyStore) -> AsyncIterator[tuple[ObjectStore, Database]]:
    async with (
        await Database.open(folder / "index.db", keys.index_key()) as db,
        await ObjectStore.open(folder, db, keys, SystemClock(), make_logger(), reserve_bytes=0) as store,
    ):
        yield store, db


def rotation(folder: Path, db: Database, keys: KeyStore) -> Rotation:
    return Rotation(folder / "keys.json", db=db, keys=keys, clock=SystemClock(), lock=asyncio.Lock())


async def fill(folder: Path, keys: KeyStore) -> None:
    async with opened(folder, keys) as (store, _db):
        for study in range(STUDIES):
            await store.put(header(study=study), DATA)


async def all_readable(store: ObjectStore, studies: range = range(STUDIES)) -> bool:
    readers = await store.readers([instance_uid(study, 1) for study in studies])
    return [await reader.read() for reader in readers.values()] == [DATA] * len(studies)


@pytest.mark.parametrize("kind", ["key file", "passphrase"])
async def test_a_new_master_key_opens_everything_and_the_old_one_nothing(tmp_path: Path, kind: str) -> None:
    path, protector = tmp_path / "keys.json", protectors(tmp_path)[kind]
    before = create_keystore(path, protector, Identity.from_seed(b"i" * 32))
    old_file = path.read_bytes()
    await fill(tmp_path, before)
    keys = open_keystore(path, protector)
    async with opened(tmp_path, keys) as (store, db):
        early = await store.reader(instance_uid(0, 1))
        assert await rotation(tmp_path, db, keys).rotate(by="os:0") == STUDIES
        assert await early.read() == DATA, "what was opened before is read to its end"
        assert await all_readable(store)
        await store.put(header(study=20), DATA)
        async with db.read() as rx:
            (event,) = await audit.page(rx, before=None, limit=10, types=(AuditType.MASTER_KEY_ROTATED,))
        assert event.event.detail == {"version": 2, "studies": STUDIES}
    after = open_keystore(path, protector)
    assert (after.master_version, after.is_rotating) == (2, False)
    assert after.identity.seed == before.identity.seed
    async with opened(tmp_path, after) as (store, db):
        assert await all_readable(store)
        assert await all_readable(store, range(20, 21))
        async with db.read() as rx:
            rows = await rx.fetch_all("SELECT ref, key_version, wrapped_key FROM space")
    for ref, version, wrapped in rows:
        with pytest.raises(WrongKeyOrDamaged):
            before.unwrap_study_key(bytes(wrapped), bytes(ref), version)
    path.write_bytes(old_file)  # a thief's copy, with the secret: it has the old master key and opens nothing of today
    stolen = open_keystore(path, protector)
    with pytest.raises(WrongKeyOrDamaged):
        stolen.unwrap_study_key(bytes(rows[0][2]), bytes(rows[0][0]), rows[0][1])


@pytest.mark.parametrize("portions", [0, 3, STUDIES])
async def test_a_change_that_is_cut_short_leaves_all_readable_and_goes_on(
    tmp_path: Path, portions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the new key was written, in the middle of the wrapping, and before the old key is dropped."""
    path, protector = tmp_path / "keys.json", protectors(tmp_path)["key file"]
    await fill(tmp_path, create_keystore(path, protector, Identity.generate()))
    keys = open_keystore(path, protector)
    monkeypatch.setattr("node.store.rotation.PORTION", 1)
    async with await Database.open(tmp_path / "index.db", keys.index_key()) as db:
        keys.begin_rotation(path)
        async with db.read() as rx:
            refs = [bytes(r[0]) for r in await rx.fetch_all("SELECT ref FROM space ORDER BY ref")]
        async with db.write() as tx:
            for ref in refs[:portions]:
                row = await tx.fetch_one("SELECT key_version, wrapped_key FROM space WHERE ref = ?", (ref,))
                assert row is not None
                fresh = keys.rewrap_study_key(bytes(row[1]), ref, row[0])
                await tx.execute("UPDATE space SET wrapped_key = ? WHERE ref = ?", (fresh, ref))
    again = open_keystore(path, protector)
    assert again.is_rotating
    async with opened(tmp_path, again) as (store, db):
        assert await all_readable(store), "in between too"
        await store.put(header(study=30), DATA)
        assert await rotation(tmp_path, db, again).rotate(by="os:0") == STUDIES - portions
        assert await all_readable(store)
    last = open_keystore(path, protector)
    assert (last.master_version, last.is_rotating) == (2, False)
    async with opened(tmp_path, last) as (store, _db):
        assert await all_readable(store)
        assert await all_readable(store, range(30, 31)), "stored in between, under the new key"


async def test_studies_come_in_while_the_key_changes(tmp_path: Path) -> None:
    path, protector = tmp_path / "keys.json", protectors(tmp_path)["key file"]
    keys = create_keystore(path, protector, Identity.generate())
    await fill(tmp_path, keys)

    async def keep_storing(store: ObjectStore) -> None:
        for study in range(100, 130):
            await store.put(header(study=study), DATA)

    async with opened(tmp_path, keys) as (store, db), asyncio.TaskGroup() as group:
        group.create_task(keep_storing(store))
        for _ in range(3):
            await rotation(tmp_path, db, keys).rotate(by="os:0")
    async with opened(tmp_path, open_keystore(path, protector)) as (store, _db):
        assert await all_readable(store)
        assert await all_readable(store, range(100, 130))


async def test_a_new_secret_opens_and_the_old_one_does_not(tmp_path: Path) -> None:
    path, old = tmp_path / "keys.json", KeyFileProtector(tmp_path / "old.key")
    keys = create_keystore(path, old, Identity.generate())
    await fill(tmp_path, keys)
    phrase = PassphraseProtector(b"new words", operations=1, memory_bytes=65536)
    for secret, retired in ((KeyFileProtector(tmp_path / "new.key"), old), (phrase, None)):
        async with await Database.open(tmp_path / "index.db", keys.index_key()) as db:
            await rotation(tmp_path, db, keys).rotate(by="os:0", protector=secret)
        if retired is not None:
            with pytest.raises(WrongKeyFile):
                open_keystore(path, retired)
        keys = open_keystore(path, secret)
        async with opened(tmp_path, keys) as (store, _db):
            assert await all_readable(store)
    assert (tmp_path / "old.key").exists(), "older backups need it"
    with pytest.raises(WrongPassphrase):
        open_keystore(path, PassphraseProtector(b"other words", operations=1, memory_bytes=65536))


async def test_a_disk_that_refuses_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, protector = tmp_path / "keys.json", protectors(tmp_path)["key file"]
    keys = create_keystore(path, protector, Identity.generate())
    await fill(tmp_path, keys)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    async with opened(tmp_path, keys) as (store, db):
        with monkeypatch.context() as patch:
            patch.setattr("node.crypto.keystore.os.fsync", full)
            with pytest.raises(KeyStoreUnwritable):
                await rotation(tmp_path, db, keys).rotate(by="os:0")
        assert not keys.is_rotating
        keys.begin_rotation(path)
        await rewrap(db, keys)
        with monkeypatch.context() as patch:
            patch.setattr("node.crypto.keystore.os.fsync", full)
            with pytest.raises(KeyStoreUnwritable):
                await rotation(tmp_path, db, keys).rotate(by="os:0")
        assert await all_readable(store)
        await rotation(tmp_path, db, keys).rotate(by="os:0")
        assert await all_readable(store)
    assert open_keystore(path, protector).master_version == 2


async def test_a_shredded_study_is_on_no_page_whoever_has_all_files_and_the_current_master_key(tmp_path: Path) -> None:
    path, protector = tmp_path / "keys.json", protectors(tmp_path)["key file"]
    keys = create_keystore(path, protector, Identity.generate())
    await fill(tmp_path, keys)
    index, key = tmp_path / "index.db", keys.index_key()
    async with opened(tmp_path, keys) as (store, db):
        async with db.read() as rx:
            wrapped = [bytes(r[0]) for r in await rx.fetch_all("SELECT wrapped_key FROM space ORDER BY study_uid")]
        await db.truncate_wal()
        assert all(occurs(index, key, one) for one in wrapped), "this is how it would be found"
        await store.delete_study(study_uid(0))
        assert not occurs(index, key, wrapped[0])
        await rotation(tmp_path, db, keys).rotate(by="os:0")
        assert not any(occurs(index, key, one) for one in wrapped), "nor is any key under the old master"
        async with db.read() as rx:
            fresh = bytes(await rx.fetch_value("SELECT wrapped_key FROM space LIMIT 1"))
        assert occurs(index, key, fresh)
