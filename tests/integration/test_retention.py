"""Deleting for good: by hand, by age, for space; what is protected or in use stays; what is gone cannot be read."""

import asyncio
import contextlib
import io
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from support.clocks import HandClock
from support.store import INDEX_KEY, MASTER, header, instance_uid, keys, opened_store, study_uid

from node.config import StoreSettings
from node.crypto.keystore import KeyStore
from node.errors.crypto_keys import IntegrityError
from node.errors.retention import NotProtected, StudyInUse, StudyProtected
from node.errors.storage import UnknownInstance, UnknownStudy
from node.log import make_logger
from node.metrics import Metrics
from node.model.audit import AuditType
from node.sharing.retention import Retention
from node.sharing.upkeep import UpkeepParts
from node.store import audit
from node.store.engine import Database
from node.store.objects import ObjectStore, PutOutcome
from node.store.pack_format import PACK_HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, SpaceKey
from node.store.replay import verify_record
from node.store.study_queries import StudyQuery

PAGE, RESERVED, SALT, FRAME, WAL_HEADER = 4096, 80, 16, 24, 32  # SQLCipher 4, and SQLite's write-ahead log
DAY = 86_400


@dataclass
class Place:
    """A store with what deletes in it."""

    directory: Path
    store: ObjectStore
    db: Database
    clock: HandClock

    def retention(self, **settings: int) -> Retention:
        wanted = StoreSettings(**settings)  # type: ignore[arg-type]  # all ints
        parts = UpkeepParts(self.db, self.store, wanted, self.clock, Metrics(), make_logger(io.StringIO()))
        return Retention(parts)

    async def hold(self, *studies: int, closed: bool = True) -> None:
        for study in studies:
            await self.store.put(header(study=study), os.urandom(50_000))
            if closed:
                await self.store.close_revision(study_uid(study))
        await self.store.indexed()

    async def held(self) -> set[str]:
        return {str(study.study_instance_uid) for study in await self.store.studies(StudyQuery())}

    async def events(self, kind: AuditType) -> int:
        async with self.db.read() as rx:
            return len(await audit.page(rx, before=None, limit=1000, types=(kind,)))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    clock = HandClock()
    async with opened_store(tmp_path, clock=clock) as (store, db):
        yield Place(tmp_path, store, db, clock)


def uids(*studies: int) -> set[str]:
    return {str(study_uid(study)) for study in studies}


async def test_what_is_deleted_is_gone_and_can_be_stored_again(place: Place) -> None:
    await place.hold(1, 2)
    await place.retention().delete(study_uid(1), "moved", by="os:0")
    assert await place.held() == uids(2)
    assert len(list(place.directory.glob("packs/??/*.pack"))) == 1
    assert await place.events(AuditType.STUDY_DELETED) == 1
    with pytest.raises(UnknownInstance):
        await place.store.reader(instance_uid(1, 1))
    with pytest.raises(UnknownStudy):
        await place.retention().delete(study_uid(1), "again", by="os:0")
    assert (await place.store.put(header(study=1), b"again")).outcome is PutOutcome.STORED
    await place.store.indexed()
    assert await place.held() == uids(1, 2)


async def test_a_protected_study_stays_until_it_is_not(place: Place) -> None:
    await place.hold(1, 2)
    retention = place.retention(retention_days=1)
    await retention.protect(study_uid(1), "teaching file", by="os:0")
    await retention.protect(study_uid(1), "trial", by="os:0")
    assert [p.reason for p in await retention.protections()] == ["trial"]
    with pytest.raises(StudyProtected):
        await retention.delete(study_uid(1), "why not", by="os:0")
    place.clock.time += 2 * DAY
    assert await retention.look() == 1
    assert await place.held() == uids(1)
    await retention.unprotect(study_uid(1), by="os:0")
    with pytest.raises(NotProtected):
        await retention.unprotect(study_uid(1), by="os:0")
    assert await retention.look() == 1
    assert await place.held() == set()
    assert await place.events(AuditType.STUDY_PROTECTED) == 2
    assert await place.events(AuditType.STUDY_UNPROTECTED) == 1
    assert await place.events(AuditType.STUDY_DELETED) == 2


async def test_age_counts_from_the_last_instance_and_apart_for_received_studies(place: Place) -> None:
    await place.hold(1, 2, 3)
    async with place.db.write() as tx:
        await tx.execute("UPDATE study SET origin = zeroblob(32) WHERE uid = ?", (str(study_uid(2)),))
    place.clock.time += 10 * DAY
    await place.store.put(header(study=3, instance=2), b"late")
    await place.store.close_revision(study_uid(3))
    assert await place.retention().look() == 0, "off unless it is switched on"
    assert await place.retention(retention_days=11).look() == 0
    assert await place.retention(retention_days_received=5).look() == 1
    assert await place.held() == uids(1, 3)
    assert await place.retention(retention_days=5).look() == 1
    assert await place.held() == uids(3)


async def test_space_is_made_with_the_oldest_first_and_of_own_studies_only_where_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.hold(1)
    place.clock.time += DAY
    await place.hold(2, 3)
    async with place.db.write() as tx:
        await tx.execute("UPDATE study SET origin = zeroblob(32) WHERE uid <> ?", (str(study_uid(3)),))

    async def free() -> int:
        return 1000 - 100 * len(await place.held())

    monkeypatch.setattr(place.store, "free", free)
    assert await place.retention(retain_free=700).look() == 0
    assert await place.retention(retain_free=800).look() == 1
    assert await place.held() == uids(2, 3)
    assert await place.retention(retain_free=1000).look() == 1, "the own one stays"
    assert await place.held() == uids(3)
    assert await place.retention(retain_free_own=1000).look() == 1


@pytest.mark.parametrize("use", ["revision", "transfer", "delivery", "offer"])
async def test_what_is_in_use_stays(place: Place, use: str) -> None:
    await place.hold(1, closed=use != "revision")
    place.clock.time += 10 * DAY
    uid, now = str(study_uid(1)), place.clock.now()
    async with place.db.write() as tx:
        if use == "transfer":
            await tx.execute(
                "INSERT INTO transfer (request_id, direction, peer, state, created_at, updated_at)"
                " VALUES (zeroblob(16), 'out', zeroblob(32), 'AUTHORIZED', ?, ?)",
                (now, now),
            )
            await tx.execute(
                "INSERT INTO transfer_study (request_id, position, study_uid, revision) VALUES (zeroblob(16), 0, ?, 1)",
                (uid,),
            )
        elif use == "delivery":
            await tx.execute(
                "INSERT INTO delivery (delivery_id, study, pacs, state, ordered_by, created_at, updated_at)"
                " VALUES (zeroblob(16), ?, 'main', 'QUEUED', 'os:0', ?, ?)",
                (uid, now, now),
            )
        elif use == "offer":
            await tx.execute(
                "INSERT INTO offer (offer_id, direction, peer, state, token, studies, made_by, created_at, expires_at)"
                " VALUES (zeroblob(16), 'out', zeroblob(32), 'OFFERED', '', json_array(?), 'os:0', ?, ?)",
                (uid, now, now),
            )
    retention = place.retention(retention_days=1)
    with pytest.raises(StudyInUse, match=use):
        await retention.delete(study_uid(1), "now", by="os:0")
    assert await retention.look() == 0
    assert await place.held() == uids(1)
    assert await place.events(AuditType.STUDY_DELETED) == 0


def plain_pages(path: Path) -> bytes:
    """All pages of the index, free ones too, and of its write-ahead log, decrypted without SQLCipher."""
    data = path.read_bytes()
    pages = [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
    pages[0] = pages[0][SALT:]
    wal = path.with_name(path.name + "-wal").read_bytes() if path.with_name(path.name + "-wal").exists() else b""
    step = FRAME + PAGE
    for at in range(WAL_HEADER, len(wal) - step + 1, step):
        number = int.from_bytes(wal[at : at + 4])
        frame = wal[at + FRAME : at + step]
        pages.append(frame[SALT:] if number == 1 else frame)
    plain = []
    for page in pages:
        initial = page[len(page) - RESERVED :][:16]
        body = page[: len(page) - RESERVED]
        with contextlib.suppress(ValueError):  # a page that was never written
            decryptor = Cipher(algorithms.AES(INDEX_KEY), modes.CBC(initial)).decryptor()
            plain.append(decryptor.update(body) + decryptor.finalize())
    return b"".join(plain)


def opens(pack: Path, candidates: list[tuple[bytes, int, bytes]], own: KeyStore) -> bool:
    """Whether a saved pack's first record can be read with the master key and any wrapped key there is."""
    fd = os.open(pack, os.O_RDONLY)
    try:
        head = RecordHeader.decode(os.pread(fd, RECORD_HEADER_BYTES, PACK_HEADER_BYTES))
        assert head is not None
        for wrapped, version, space in candidates:
            for name in (space, head.space):
                try:
                    key = SpaceKey(head.space, version, own.unwrap_study_key(wrapped, name, version))
                    verify_record(fd, PACK_HEADER_BYTES, head, key)
                except IntegrityError:
                    continue
                return True
        return False
    finally:
        os.close(fd)


async def test_with_all_files_and_the_master_key_what_was_deleted_cannot_be_read(place: Place, tmp_path: Path) -> None:
    await place.hold(1, 2)
    async with place.db.read() as rx:
        rows = await rx.fetch_all("SELECT study_uid, wrapped_key, key_version, ref FROM space")
    wrapped = {str(uid): (bytes(key), version, bytes(ref)) for uid, key, version, ref in rows}
    gone, stays = wrapped[str(study_uid(1))], wrapped[str(study_uid(2))]
    saved = tmp_path / "thief"
    await asyncio.to_thread(shutil.copytree, tmp_path / "packs", saved)
    index = tmp_path / "index.db"
    before = await asyncio.to_thread(plain_pages, index)
    assert gone[0] in before, "the search finds what is there"
    assert stays[0] in before
    assert str(study_uid(1)).encode() in before

    await place.retention().delete(study_uid(1), "gone", by="os:0")

    after = await asyncio.to_thread(plain_pages, index)
    assert gone[0] not in after, "the wrapped key lies in no page, free page or log frame"
    assert stays[0] in after
    async with place.db.read() as rx:
        left = [(bytes(r[0]), r[1], bytes(r[2])) for r in await rx.fetch_all(
            "SELECT wrapped_key, key_version, ref FROM space")]  # fmt: skip
    own, packs = keys(MASTER), sorted(saved.glob("??/*.pack"))
    openable = [await asyncio.to_thread(opens, pack, left, own) for pack in packs]
    assert sorted(openable) == [False, True], "only the study that stayed"
    assert [await asyncio.to_thread(opens, p, [gone, stays], own) for p in packs] == [True, True], (
        "the key was the lock"
    )
    assert await asyncio.to_thread(lambda: len(list(tmp_path.glob("packs/??/*.pack")))) == 1
