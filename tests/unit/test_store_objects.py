"""The object store: what is put is kept, once, and read again exactly; what contradicts is put aside."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.store import MASTER, header, instance_uid, keys, opened_store, study_uid

from node.errors.crypto_keys import IntegrityError
from node.errors.storage import CodecUnknown, DigestMismatch, ObjectDamaged, StoreClosed, UnknownInstance, UnknownStudy
from node.model.ids import (
    Digest,
    ObjectId,
    PatientKey,
    PeerId,
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    TransferSyntaxUID,
)
from node.store.codec import Codec
from node.store.engine import Database, Write
from node.store.index_rows import Entry
from node.store.intake import judge
from node.store.known import Kind, Known
from node.store.objects import ObjectStore, PutOutcome
from node.store.pack_format import QuarantineReason, RecordBuilder
from node.store.study_queries import InstanceQuery, SeriesQuery, StudyQuery

PIECE = 256 * 1024
DIGESTS = [Digest(bytes([n]) * 32) for n in range(3)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ObjectStore]:
    async with opened_store(tmp_path) as (opened, _db):
        yield opened


def pack_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("packs/??/*.pack"))


async def everything(store: ObjectStore, instance: SOPInstanceUID) -> bytes:
    reader = await store.reader(instance)
    return b"".join([piece async for piece in reader.chunks()])


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 17])
async def test_bytes_come_back_exactly(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    result = await store.put(header(), data, file_meta=b"group 2")
    assert result.outcome is PutOutcome.STORED
    reader = await store.reader(instance_uid(1, 1))
    assert reader.size == size
    assert await reader.read() == data
    assert await everything(store, instance_uid(1, 1)) == data
    assert await reader.head(100) == data[:100]
    for offset, length in ((0, size), (size // 2, 10), (max(0, size - 3), 100), (size, 5), (PIECE - 2, 4)):
        assert await reader.read(offset, length) == data[offset : offset + length]
        assert b"".join([p async for p in reader.chunks(offset, offset + length)]) == data[offset : offset + length]
    [stored] = await store.instances(InstanceQuery())
    assert (stored.header, stored.digest, stored.object_id) == (header(), result.digest, result.object_id)
    assert (stored.size, stored.file_meta) == (size, b"group 2")


async def test_the_same_again_is_success_and_writes_nothing(store: ObjectStore, tmp_path: Path) -> None:
    first = await store.put(header(), b"data")
    before = [path.stat().st_size for path in pack_files(tmp_path)]
    again = await store.put(header(), b"data")  # before the index knows it
    await store.indexed()
    once_more = await store.put(header(), b"data")
    assert again.outcome is once_more.outcome is PutOutcome.SAME
    assert again.object_id == once_more.object_id == first.object_id
    assert [path.stat().st_size for path in pack_files(tmp_path)] == before
    assert (await store.totals()).instances == 1


@pytest.mark.parametrize("indexed", [False, True])
async def test_other_bytes_under_the_same_uid_are_put_aside(store: ObjectStore, indexed: bool) -> None:  # noqa: FBT001
    await store.put(header(), b"first")
    if indexed:
        await store.indexed()
    second = await store.put(header(), b"other")
    again = await store.put(header(), b"other")
    await store.indexed()
    assert second.outcome is again.outcome is PutOutcome.QUARANTINED
    assert second.object_id == again.object_id
    assert await everything(store, instance_uid(1, 1)) == b"first"
    totals = await store.totals()
    assert (totals.instances, totals.quarantined, totals.size) == (1, 1, 5)
    assert (await store.put(header(), b"first")).outcome is PutOutcome.SAME


@pytest.mark.parametrize("indexed", [False, True])
async def test_a_study_of_another_patient_is_put_aside(store: ObjectStore, indexed: bool) -> None:  # noqa: FBT001
    await store.put(header(instance=1), b"one")
    if indexed:
        await store.indexed()
    other = PatientKey("OTHER-ISSUER", "PAT-0042")
    assert (await store.put(header(instance=2, patient=other), b"two")).outcome is PutOutcome.QUARANTINED
    await store.indexed()
    [study] = await store.studies()
    assert (study.patient, study.instances) == (header().patient, 1)


@pytest.mark.parametrize("indexed", [False, True])
async def test_a_series_of_another_study_is_put_aside(store: ObjectStore, indexed: bool) -> None:  # noqa: FBT001
    await store.put(header(study=1), b"one")
    if indexed:
        await store.indexed()
    stray = replace(header(study=2), series_instance_uid=header(study=1).series_instance_uid)
    assert (await store.put(stray, b"two")).outcome is PutOutcome.QUARANTINED
    await store.indexed()
    assert [study.study_instance_uid for study in await store.studies()] == [study_uid(1)]
    with pytest.raises(UnknownInstance):
        await store.reader(instance_uid(2, 1))


async def test_what_contradicted_a_deleted_study_is_welcome_afterwards(store: ObjectStore) -> None:
    await store.put(header(study=1), b"one")
    stray = replace(header(study=2), series_instance_uid=header(study=1).series_instance_uid)
    assert (await store.put(stray, b"two")).outcome is PutOutcome.QUARANTINED
    await store.delete_study(study_uid(1))
    assert (await store.put(stray, b"two")).outcome is PutOutcome.STORED
    await store.indexed()
    totals = await store.totals()
    assert (totals.instances, totals.quarantined) == (1, 0)


async def test_a_uid_reused_in_another_study_is_put_aside(store: ObjectStore) -> None:
    await store.put(header(study=1), b"one")
    stray = replace(header(study=2), sop_instance_uid=instance_uid(1, 1))
    assert (await store.put(stray, b"two")).outcome is PutOutcome.QUARANTINED
    assert await everything(store, instance_uid(1, 1)) == b"one"


async def test_a_put_that_failed_claims_no_study(store: ObjectStore) -> None:
    wrong = (await store.put(header(study=9), b"x")).digest
    with pytest.raises(DigestMismatch):
        await store.put(header(patient=PatientKey("I", "FIRST")), b"one", expected=wrong)
    assert (await store.put(header(patient=PatientKey("I", "SECOND")), b"one")).outcome is PutOutcome.STORED


async def test_many_at_once_share_packs_and_lose_nothing(store: ObjectStore, tmp_path: Path) -> None:
    bodies = {number: os.urandom(2000 + number) for number in range(120)}
    async with asyncio.TaskGroup() as group:
        for number, body in bodies.items():
            group.create_task(store.put(header(study=number % 3, series=number % 2, instance=number), body))
            group.create_task(store.put(header(study=number % 3, series=number % 2, instance=number), body))
    await store.indexed()
    assert (await store.totals()).instances == 120
    assert len(pack_files(tmp_path)) == 3
    for number, body in bodies.items():
        assert await everything(store, instance_uid(number % 3, number)) == body
    assert [(s.series, s.instances, s.size) for s in await store.studies(StudyQuery(study_uids=(study_uid(0),)))] == [
        (2, 40, sum(len(b) for n, b in bodies.items() if n % 3 == 0))
    ]


async def test_concurrent_contradictions_keep_exactly_one(store: ObjectStore) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(store.put(header(), os.urandom(1000))) for _ in range(10)]
    outcomes = [task.result().outcome for task in tasks]
    assert outcomes.count(PutOutcome.STORED) == 1
    assert outcomes.count(PutOutcome.QUARANTINED) == 9


async def test_a_cancelled_put_leaves_the_store_whole(store: ObjectStore) -> None:
    tasks = [asyncio.create_task(store.put(header(instance=n), os.urandom(300_000))) for n in range(20)]
    for turn, task in enumerate(tasks):
        for _ in range(turn % 7):
            await asyncio.sleep(0)
        if turn % 2:
            task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await store.indexed()
    held = {i.header.sop_instance_uid for i in await store.instances(InstanceQuery())}
    assert {instance_uid(1, n) for n, r in enumerate(results) if not isinstance(r, BaseException)} <= held
    for number in range(20):
        await store.put(header(instance=number), b"again")
    await store.indexed()
    assert (await store.totals()).instances == 20


async def test_packs_are_sealed_when_they_are_full(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.store.packs.PACK_BYTES", 100_000)
    for number in range(10):
        await store.put(header(instance=number), os.urandom(30_000))
    await store.indexed()
    assert len(pack_files(tmp_path)) == 3
    assert (await store.totals()).instances == 10


async def _forget(db: Database) -> None:
    """As if the index had never heard of any instance."""
    async with db.write() as tx:
        for table in ("instance", "series", "study", "pack"):
            await tx.execute(f"DELETE FROM {table}")


async def test_nothing_on_the_disk_shows_a_patient(tmp_path: Path) -> None:
    data = os.urandom(400_000)
    async with opened_store(tmp_path) as (store, _db):
        await store.put(header(), data)
        await store.put(header(), b"other")
        await store.close_revision(study_uid(1))
        await store.put_stream(header(instance=2), _pieces(data))
        await store.indexed()
        seen = _all_bytes(tmp_path)
    seen += _all_bytes(tmp_path)
    modes = await asyncio.to_thread(lambda: {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")})
    secrets = (b"PAT-0042", b"LEVERET-TEST", "Müller".encode(), b"1.2.826.0.1", data[1000:1064], data[-64:], b"thorax")
    assert not [secret for secret in secrets if secret in seen]
    assert modes == {0}


def _all_bytes(directory: Path) -> bytes:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return b"".join(str(path).encode() + path.read_bytes() for path in files)


async def _pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


class TestPacked:
    """Data sets that get smaller."""

    DATA = os.urandom(300) * 1000 + os.urandom(300_000) + os.urandom(300) * 2000 + b"the end"

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_every_range_comes_back_and_the_disk_has_less(self, tmp_path: Path, *, streamed: bool) -> None:
        async with opened_store(tmp_path) as (store, _db):
            await self._put(store, streamed=streamed)
            reader = await store.reader(instance_uid(1, 1))
            assert reader.size == len(self.DATA)
            assert await reader.read() == self.DATA
            assert await everything(store, instance_uid(1, 1)) == self.DATA
            for offset in (0, 1, PIECE - 1, PIECE, 3 * PIECE + 5, len(self.DATA) - 1, len(self.DATA), 10**9):
                for length in (0, 1, 100, PIECE, 2 * PIECE):
                    assert await reader.read(offset, length) == self.DATA[offset : offset + length]
            parts = [part async for part in reader.chunks(PIECE - 2, 4 * PIECE + 2)]
            assert b"".join(parts) == self.DATA[PIECE - 2 : 4 * PIECE + 2]
            assert max(map(len, parts)) <= PIECE
        [pack] = pack_files(tmp_path)
        assert pack.stat().st_size < len(self.DATA) * 0.75

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_off_means_off_and_what_is_packed_stays_readable(self, tmp_path: Path, *, streamed: bool) -> None:
        async with opened_store(tmp_path) as (store, _db):
            await self._put(store, streamed=streamed)
        async with opened_store(tmp_path, compress=False) as (store, _db):
            await self._put(store, study=2, streamed=streamed)
            for study in (1, 2):
                assert await everything(store, instance_uid(study, 1)) == self.DATA
        small, large = sorted(path.stat().st_size for path in pack_files(tmp_path))
        assert small < len(self.DATA) * 0.75 < len(self.DATA) < large

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_the_packs_alone_bring_it_back(self, tmp_path: Path, *, streamed: bool) -> None:
        async with opened_store(tmp_path) as (store, db):
            await self._put(store, streamed=streamed)
            await store.indexed()
            await _forget(db)
        async with opened_store(tmp_path) as (store, _db):
            assert await everything(store, instance_uid(1, 1)) == self.DATA

    async def test_compressed_syntaxes_are_not_packed_again(self, tmp_path: Path) -> None:
        async with opened_store(tmp_path) as (store, _db):
            await store.put(header(transfer_syntax_uid=TransferSyntaxUID("1.2.840.10008.1.2.4.50")), self.DATA)
        [pack] = pack_files(tmp_path)
        assert pack.stat().st_size > len(self.DATA)

    async def test_it_is_the_same_instance_however_it_is_kept(self, tmp_path: Path) -> None:
        async with opened_store(tmp_path, compress=False) as (store, _db):
            await self._put(store, streamed=False)
        async with opened_store(tmp_path) as (store, _db):
            assert (await store.put(header(), self.DATA)).outcome is PutOutcome.SAME

    async def _put(self, store: ObjectStore, *, streamed: bool, study: int = 1) -> None:
        one = header(study=study)
        await (store.put_stream(one, _pieces(self.DATA)) if streamed else store.put(one, self.DATA))


class TestStreams:
    async def test_a_stream_is_stored_like_any_other(self, store: ObjectStore, tmp_path: Path) -> None:
        data = os.urandom(3_000_000)
        result = await store.put_stream(header(), _pieces(data), file_meta=b"fm")
        assert result.outcome is PutOutcome.STORED
        assert await everything(store, instance_uid(1, 1)) == data
        assert (await store.put(header(), data)).outcome is PutOutcome.SAME
        assert (await store.put_stream(header(), _pieces(data))).outcome is PutOutcome.SAME
        assert (await store.put_stream(header(), _pieces(data[1:]))).outcome is PutOutcome.QUARANTINED
        assert len(pack_files(tmp_path)) == 2  # the first and the one put aside

    async def test_a_stream_that_breaks_off_leaves_nothing(self, store: ObjectStore, tmp_path: Path) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield os.urandom(2_000_000)
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await store.put_stream(header(), broken())
        with pytest.raises(DigestMismatch):
            await store.put_stream(header(), _pieces(b"x"), expected=(await store.put(header(study=2), b"y")).digest)
        assert len(pack_files(tmp_path)) == 1
        assert (await store.put(header(), b"data")).outcome is PutOutcome.STORED

    async def test_an_empty_stream_is_an_empty_data_set(self, store: ObjectStore) -> None:
        await store.put_stream(header(), _pieces(b""))
        assert await everything(store, instance_uid(1, 1)) == b""


class TestDamage:
    @pytest.fixture(params=["as it is", "packed"])
    async def damaged(
        self, request: pytest.FixtureRequest, tmp_path: Path
    ) -> AsyncIterator[tuple[ObjectStore, Path, bytes]]:
        data = os.urandom(600_000) if request.param == "as it is" else os.urandom(300_000) + os.urandom(300) * 1000
        async with opened_store(tmp_path) as (store, _db):
            await store.put(header(), data)
            await store.indexed()
            [pack] = pack_files(tmp_path)
            yield store, pack, data

    @staticmethod
    def positions(length: int) -> Iterator[int]:
        yield from range(40, 900, 7)  # header, wrapped key, meta, commitment
        yield from range(1200, length, 40_000)
        yield from (length - 100, length - 30, length - 20, length - 1)  # the table of a packed one, the last tag

    async def test_a_flipped_bit_is_an_error_that_names_the_object(
        self, damaged: tuple[ObjectStore, Path, bytes]
    ) -> None:
        store, pack, data = damaged
        whole = pack.read_bytes()
        object_id = str((await store.reader(instance_uid(1, 1))).object_id)
        for position in self.positions(len(whole)):
            changed = bytearray(whole)
            changed[position] ^= 0x10
            pack.write_bytes(changed)
            reader = await store.reader(instance_uid(1, 1))
            seen = b""
            try:
                async for piece in reader.chunks():
                    seen += piece
            except ObjectDamaged as exc:
                assert exc.fact == object_id  # noqa: PT017 - what came before the damage matters too
            else:
                assert 200 <= position < 1200  # meta data, which the index has and reading does not need
            assert data.startswith(seen)

    async def test_a_pack_that_was_cut_or_removed(self, damaged: tuple[ObjectStore, Path, bytes]) -> None:
        store, pack, _data = damaged
        whole = pack.read_bytes()
        for length in (0, 39, 100, 500, 300_000, len(whole) - 1):
            pack.write_bytes(whole[:length])
            with pytest.raises(ObjectDamaged):
                await (await store.reader(instance_uid(1, 1))).read()
        pack.unlink()
        with pytest.raises(ObjectDamaged):
            await (await store.reader(instance_uid(1, 1))).read()

    async def test_a_block_that_is_authentic_and_wrong(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wrong = Codec().pack(bytes(700_000), 2)
        assert wrong is not None
        bad = replace(wrong, blocks=[wrong.blocks[0], b"x" * len(wrong.blocks[1]), wrong.blocks[2]])
        monkeypatch.setattr(Codec, "pack", lambda *_args: bad)
        async with opened_store(tmp_path) as (store, _db):
            object_id = str((await store.put(header(), bytes(700_000))).object_id)
            reader = await store.reader(instance_uid(1, 1))
            assert await reader.read(0, PIECE) == bytes(PIECE)
            with pytest.raises(ObjectDamaged, match=object_id):
                await reader.read()

    async def test_a_table_that_is_authentic_and_wrong(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        right = Codec().pack(bytes(700_000), 2)
        assert right is not None
        bad = replace(right, layout=replace(right.layout, lengths=(1, *right.layout.lengths[1:])))
        monkeypatch.setattr(Codec, "pack", lambda *_args: bad)
        async with opened_store(tmp_path) as (store, _db):
            await store.put(header(), bytes(700_000))
            with pytest.raises(ObjectDamaged):
                await (await store.reader(instance_uid(1, 1))).read()

    async def test_an_object_of_a_later_version_says_so_and_stays(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(RecordBuilder, "for_packed", lambda key, _packed: RecordBuilder(key, codec=7))
        async with opened_store(tmp_path) as (store, db):
            await store.put(header(), b"in some other way")
            await store.indexed()
            await _forget(db)
        async with opened_store(tmp_path) as (store, _db):  # which takes it from the pack again
            with pytest.raises(CodecUnknown):
                await (await store.reader(instance_uid(1, 1))).read()

    async def test_objects_that_were_exchanged(self, store: ObjectStore, tmp_path: Path) -> None:
        for number in (1, 2):
            await store.put(header(study=number), b"%d" % number * 1000)
        await store.indexed()
        one, two = pack_files(tmp_path)
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
        for number in (1, 2):
            with pytest.raises(ObjectDamaged):
                await (await store.reader(instance_uid(number, 1))).read()

    async def test_another_master_key_opens_nothing(self, tmp_path: Path) -> None:
        async with opened_store(tmp_path) as (store, db):
            await store.put(header(), b"data")
            await store.indexed()
            await db.truncate_wal()
        async with opened_store(tmp_path, master=MASTER[::-1]) as (store, _db):
            with pytest.raises(IntegrityError):
                await store.reader(instance_uid(1, 1))
            with pytest.raises(IntegrityError):
                await store.put(header(instance=2), b"more")


async def test_deleting_a_study_leaves_nothing(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, db):
        await store.put(header(study=1), b"one")
        await store.put(header(study=1), b"contradiction")
        await store.put(header(study=2), b"two")
        await store.close_revision(study_uid(1))
        await store.put(header(study=1, instance=2), b"late")
        reader = await store.reader(instance_uid(1, 1))
        async with db.read() as rx:
            key = bytes(await rx.fetch_value("SELECT wrapped_key FROM space WHERE study_uid = ?", (str(study_uid(1)),)))
            name = bytes(await rx.fetch_value("SELECT pack FROM instance WHERE uid = ?", (str(instance_uid(1, 1)),)))
        await store.delete_study(study_uid(1))
        with pytest.raises(UnknownInstance):
            await store.reader(instance_uid(1, 1))
        with pytest.raises(ObjectDamaged):
            await reader.read()
        with pytest.raises(UnknownStudy):
            await store.delete_study(study_uid(1))
        assert name.hex() not in {path.stem for path in pack_files(tmp_path)}
        assert len(pack_files(tmp_path)) == 1
        async with db.read() as rx:
            assert await rx.fetch_value("SELECT count(*) FROM space WHERE wrapped_key = ?", (key,)) == 0
        totals = await store.totals()
        assert (totals.studies, totals.instances, totals.quarantined) == (1, 1, 0)
        assert (await store.put(header(study=1, patient=PatientKey("X", "Y")), b"new")).outcome is PutOutcome.STORED
        assert await everything(store, instance_uid(1, 1)) == b"new"


async def test_deleting_waits_for_puts_and_puts_wait_for_deleting(store: ObjectStore) -> None:
    await store.put(header(instance=0), b"0")
    async with asyncio.TaskGroup() as group:
        puts = [group.create_task(store.put(header(instance=n), os.urandom(50_000))) for n in range(1, 20)]
        await asyncio.sleep(0.005)
        group.create_task(store.delete_study(study_uid(1)))
        await asyncio.sleep(0)
        puts += [group.create_task(store.put(header(instance=n), os.urandom(50_000))) for n in range(20, 40)]
    assert all(task.result().outcome is PutOutcome.STORED for task in puts)
    await store.indexed()
    for instance in await store.instances(InstanceQuery()):
        assert len(await everything(store, instance.header.sop_instance_uid)) in {1, 50_000}


async def test_the_index_finds_what_is_asked_for(store: ObjectStore) -> None:
    sr = SOPClassUID("1.2.840.10008.5.1.4.1.1.88.11")
    await store.put(header(study=1), b"a")
    await store.put(replace(header(study=1, series=2, instance=2, modality="SR"), sop_class_uid=sr), b"b")
    await store.put(header(study=2, patient=PatientKey("LEVERET-TEST", "PAT-1"), modality="MR"), b"c")
    await store.indexed()
    [study] = await store.studies(StudyQuery(modalities=("SR",)))
    assert (study.modalities, study.body_parts, study.has_report) == (("CT", "SR"), ("CHEST",), True)
    assert (study.series, study.instances, study.size, study.revision, study.revision_open) == (2, 2, 2, 0, True)
    assert [s.modality for s in await store.series(SeriesQuery(studies=StudyQuery(study_uids=(study_uid(1),))))] == [
        "CT",
        "SR",
    ]
    found = await store.instances(InstanceQuery(series_uids=(SeriesInstanceUID(f"{study_uid(1)}.2.2"),)))
    assert [i.header.sop_class_uid for i in found] == [sr]


async def test_an_observer_writes_in_the_transaction_that_indexes(tmp_path: Path) -> None:
    seen: list[int] = []

    async def observe(tx: Write, entries: object) -> None:
        assert isinstance(entries, list)
        assert all(isinstance(entry, Entry) for entry in entries)
        seen.append(await tx.fetch_value("SELECT count(*) FROM instance"))

    async with opened_store(tmp_path, observer=observe) as (store, _db):
        await store.put(header(), b"x")
        await store.indexed()
    assert seen == [1]


async def test_a_closed_store_refuses(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, _db):
        await store.put(header(), b"x")
        await store.close()
        with pytest.raises(StoreClosed):
            await store.put(header(instance=2), b"y")
        await store.close()


async def test_many_studies_at_once_keep_few_files_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.store.intake.MAX_OPEN_PACKS", 4)
    monkeypatch.setattr("node.store.spaces.MAX_CACHED", 4)
    async with opened_store(tmp_path) as (store, _db):
        async with asyncio.TaskGroup() as group:
            for number in range(60):
                group.create_task(store.put(header(study=number % 20, instance=number), b"%d" % number))
        await store.indexed()
        assert (await store.totals()).instances == 60
        await store.put(header(study=1, instance=61), b"61")
        assert len(store._intake._packs) <= 4
        assert len(store._spaces._cached) <= 5
        for number in range(60):
            assert await everything(store, instance_uid(number % 20, number)) == b"%d" % number


async def test_a_peers_study_keeps_its_origin(store: ObjectStore) -> None:
    peer = PeerId(os.urandom(32))
    await store.put(header(), b"x", origin=peer, source="peer")
    await store.indexed()
    [study] = await store.studies(StudyQuery(own=False))
    assert study.origin == peer
    assert await store.studies(StudyQuery(own=True)) == []


async def test_keys_are_the_nodes_own(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "i.db", keys().index_key()) as db:
        assert db.path == tmp_path / "i.db"


@given(
    known=st.lists(st.builds(Known, st.sampled_from(Kind), st.sampled_from(DIGESTS), st.just(ObjectId(bytes(16))))),
    digest=st.sampled_from(DIGESTS),
    contradiction=st.none() | st.just(QuarantineReason.PATIENT_DIFFERS),
)
def test_the_verdict_on_any_instance(
    known: list[Known], digest: Digest, contradiction: QuarantineReason | None
) -> None:
    kept = [one for one in known if one.kind is not Kind.ASIDE]
    verdict = judge(known, digest, contradiction)
    if any(one.digest == digest for one in kept):
        assert verdict in kept
    elif any(one.kind is not Kind.SUPERSEDED for one in kept):
        assert verdict is QuarantineReason.CONTENT_DIFFERS or (isinstance(verdict, Known) and verdict.digest == digest)
    elif contradiction is None:
        assert verdict is None
    else:
        assert verdict is contradiction or (isinstance(verdict, Known) and verdict.kind is Kind.ASIDE)
