"""A damaged object is stored anew when the same bytes are sent again, by whatever way, and stays so after a restart."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.store import header, opened_store, study_uid

from node.errors.storage import ObjectDamaged
from node.model.ids import RequestId, SOPInstanceUID
from node.store.engine import Database
from node.store.objects import ObjectStore, PutOutcome
from node.store.packs import pack_path
from node.store.study_queries import digests

HEADER = header(study=1, instance=1)
DATA = os.urandom(300_000)
NEIGHBOUR = os.urandom(200_000)


async def place_of(db: Database, uid: SOPInstanceUID) -> tuple[bytes, int, bytes]:
    async with db.read() as rx:
        row = await rx.fetch_one("SELECT pack, offset, object_id FROM instance WHERE uid = ?", (str(uid),))
    assert row is not None
    return bytes(row[0]), row[1], bytes(row[2])


async def spoil(directory: Path, db: Database, kind: str) -> None:
    """Damage the object of HEADER on the disk."""
    pack, offset, _ = await place_of(db, HEADER.sop_instance_uid)
    path = pack_path(directory / "packs", pack)
    if kind == "missing":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    data[offset + {"head": 2, "body": 100_000}[kind]] ^= 1
    path.write_bytes(data)


async def pieces() -> AsyncIterator[bytes]:
    for at in range(0, len(DATA), 70_000):
        yield DATA[at : at + 70_000]


async def again(store: ObjectStore, how: str) -> PutOutcome:
    if how == "stream":
        result = await store.put_stream(HEADER, pieces())
    else:
        result = await store.put(HEADER, DATA)
    return result.outcome


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("kind", ["head", "body", "missing"])
async def test_the_same_bytes_repair_a_damaged_object(tmp_path: Path, how: str, kind: str) -> None:
    async with opened_store(tmp_path) as (store, db):
        await store.put(HEADER, DATA)
        await store.put(header(study=1, instance=2), NEIGHBOUR)
        await store.indexed()
        assert await again(store, how) is PutOutcome.SAME, "nothing is wrong yet"
        await store.close_revision(study_uid(1))
        before = await store.studies()
        await spoil(tmp_path, db, kind)
        with pytest.raises(ObjectDamaged):
            await (await store.reader(HEADER.sop_instance_uid)).read()
        assert await again(store, how) is PutOutcome.STORED
        await store.indexed()
        assert await (await store.reader(HEADER.sop_instance_uid)).read() == DATA
        assert await again(store, how) is PutOutcome.SAME
        assert await store.studies() == before, "no new revision, no other counts"
    async with opened_store(tmp_path) as (store, _):
        assert await (await store.reader(HEADER.sop_instance_uid)).read() == DATA
        if kind != "missing":
            assert await (await store.reader(header(study=1, instance=2).sop_instance_uid)).read() == NEIGHBOUR


async def test_where_frames_lie_is_kept_as_long_as_the_object(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, db):
        result = await store.put(HEADER, DATA)
        await store.indexed()
        assert await store.frame_table(result.object_id) is None
        for table in (b"half", b"whole"):
            await store.keep_frame_table(result.object_id, table)
            assert await store.frame_table(result.object_id) == table
        await spoil(tmp_path, db, "body")
        repaired = await store.put(HEADER, DATA)
        await store.indexed()
        assert await store.frame_table(repaired.object_id) == b"whole", "the same bytes"
        async with db.write() as tx:
            await tx.execute("DELETE FROM instance WHERE uid = ?", (str(HEADER.sop_instance_uid),))
        assert await store.frame_table(repaired.object_id) is None
        await store.keep_frame_table(repaired.object_id, b"late")
        assert await store.frame_table(repaired.object_id) is None


async def test_a_transfer_brings_what_is_known_to_be_damaged(tmp_path: Path) -> None:
    uid, transfer = HEADER.sop_instance_uid, RequestId(b"t" * 16)
    async with opened_store(tmp_path) as (store, db):
        await store.put(HEADER, DATA)
        manifest = await store.close_revision(study_uid(1))
        assert manifest is not None
        await spoil(tmp_path, db, "body")
        pack, _, damaged = await place_of(db, uid)
        async with db.read() as rx:
            assert uid in await digests(rx, [uid])
        async with db.write() as tx:
            await tx.execute("INSERT INTO damaged_object VALUES (?, ?, 'damaged', 1)", (damaged, pack))
        async with db.read() as rx:
            assert await digests(rx, [uid]) == {}, "asked for again"
        assert (await store.put(HEADER, DATA, transfer=transfer)).outcome is PutOutcome.STORED
        await store.indexed()
        async with db.write() as tx:
            await store.admit(tx, transfer, manifest, origin=None)  # type: ignore[arg-type] # one's own study
        assert await (await store.reader(uid)).read() == DATA
        async with db.read() as rx:
            assert await rx.fetch_value("SELECT count(*) FROM damaged_object") == 0
