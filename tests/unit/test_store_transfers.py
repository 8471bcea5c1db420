"""Staging, atomic admission, discarding; revisions and manifests."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.clocks import HandClock
from support.store import header, instance_uid, opened_store, study_uid

from node.errors.storage import StorageFailed, TransferIncomplete, UnknownInstance, UnknownStudy
from node.model.ids import Digest, PatientKey, PeerId, RequestId
from node.model.instance import Manifest, ManifestEntry
from node.store.engine import Database, Write
from node.store.objects import ObjectStore, PutOutcome
from node.store.study_queries import InstanceQuery, StudyQuery

ORIGIN = PeerId(bytes(range(32)))
TRANSFER = RequestId(bytes(16))
BODIES = {number: b"%d" % number * 1000 for number in range(1, 6)}


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[tuple[ObjectStore, Database]]:
    async with opened_store(tmp_path) as both:
        yield both


async def manifest_of(bodies: dict[int, bytes], revision: int = 3) -> Manifest:
    """What the holder would say of a study with these instances."""
    entries = []
    for number, body in bodies.items():
        h = header(instance=number)
        entries.append(
            ManifestEntry(
                h.sop_class_uid,
                h.sop_instance_uid,
                h.series_instance_uid,
                h.transfer_syntax_uid,
                len(body),
                Digest(hashlib.sha256(body).digest()),
            )
        )
    return Manifest(study_uid(1), header().patient, revision, 5, tuple(entries))


async def stage(store: ObjectStore, bodies: dict[int, bytes], transfer: RequestId = TRANSFER) -> None:
    for number, body in bodies.items():
        result = await store.put(header(instance=number), body, origin=ORIGIN, transfer=transfer, source="peer")
        assert result.outcome is PutOutcome.STORED


async def test_staged_is_invisible_until_the_whole_study_is_admitted(opened: tuple[ObjectStore, Database]) -> None:
    store, db = opened
    await stage(store, BODIES)
    assert set(await store.staged(TRANSFER)) == {instance_uid(1, number) for number in BODIES}
    assert await store.studies() == []
    with pytest.raises(UnknownInstance):
        await store.reader(instance_uid(1, 1))
    async with db.write() as tx:
        admitted = await store.admit(tx, TRANSFER, await manifest_of(BODIES), origin=ORIGIN)
        assert await store.studies() == []  # not before the caller's transaction is committed
    assert (admitted.stored, admitted.same, admitted.quarantined) == (5, 0, 0)
    [study] = await store.studies()
    assert (study.origin, study.instances, study.revision, study.revision_open) == (ORIGIN, 5, 3, False)
    assert await store.manifest(study_uid(1)) == admitted.manifest
    assert admitted.manifest is not None
    assert {e.digest for e in admitted.manifest.entries} == {e.digest for e in (await manifest_of(BODIES)).entries}
    assert await store.staged(TRANSFER) == {}
    for number, body in BODIES.items():
        assert await (await store.reader(instance_uid(1, number))).read() == body


async def test_half_a_study_is_not_admitted(opened: tuple[ObjectStore, Database]) -> None:
    store, db = opened
    await stage(store, {number: BODIES[number] for number in (1, 2, 3)})
    await store.indexed()

    async def admit() -> None:
        async with db.write() as tx:
            await store.admit(tx, TRANSFER, await manifest_of(BODIES), origin=ORIGIN)

    with pytest.raises(TransferIncomplete):
        await admit()
    assert await store.studies() == []
    assert len(await store.staged(TRANSFER)) == 3
    await stage(store, {number: BODIES[number] for number in (4, 5)})
    await store.indexed()
    await admit()
    assert [study.instances for study in await store.studies()] == [5]


async def test_other_bytes_than_the_manifest_says_do_not_count(opened: tuple[ObjectStore, Database]) -> None:
    store, db = opened
    await stage(store, {**BODIES, 2: b"other"})
    await store.indexed()
    with pytest.raises(TransferIncomplete):
        async with db.write() as tx:
            await store.admit(tx, TRANSFER, await manifest_of(BODIES), origin=ORIGIN)


async def test_what_is_held_already_need_not_come(opened: tuple[ObjectStore, Database]) -> None:
    store, db = opened
    first = RequestId.new()
    await stage(store, {1: BODIES[1]}, first)
    await store.indexed()
    async with db.write() as tx:
        await store.admit(tx, first, replace(await manifest_of({1: BODIES[1]}), revision=1), origin=ORIGIN)
    again = await store.put(header(instance=1), BODIES[1], transfer=TRANSFER)
    assert again.outcome is PutOutcome.SAME
    await stage(store, {number: body for number, body in BODIES.items() if number > 1})
    await store.indexed()
    async with db.write() as tx:
        admitted = await store.admit(tx, TRANSFER, await manifest_of(BODIES), origin=ORIGIN)
    assert (admitted.stored, admitted.same) == (4, 0)
    async with db.write() as tx:  # a retry, all of it held
        admitted = await store.admit(tx, TRANSFER, await manifest_of(BODIES), origin=ORIGIN)
    assert (admitted.stored, admitted.manifest) == (0, None)
    [study] = await store.studies()
    assert (study.instances, study.revision, study.origin) == (5, 3, ORIGIN)


async def test_what_arrived_meanwhile_wins(opened: tuple[ObjectStore, Database]) -> None:
    store, db = opened
    await stage(store, BODIES)
    assert (await store.put(header(instance=1), BODIES[1])).outcome is PutOutcome.STORED
    assert (await store.put(header(instance=2), b"our own version")).outcome is PutOutcome.STORED
    await store.indexed()
    async with db.write() as tx:
        admitted = await store.admit(tx, TRANSFER, await manifest_of(BODIES), origin=ORIGIN)
    # The study is one's own now: what was brought must not pass for that.
    assert (admitted.stored, admitted.same, admitted.quarantined) == (0, 1, 4)
    assert await (await store.reader(instance_uid(1, 2))).read() == b"our own version"
    assert (await store.totals()).quarantined == 4


async def test_admission_claims_the_study_for_its_patient(opened: tuple[ObjectStore, Database]) -> None:
    store, db = opened
    await stage(store, BODIES)
    await store.indexed()
    async with db.write() as tx:
        await store.admit(tx, TRANSFER, await manifest_of(BODIES), origin=ORIGIN)
    stranger = header(instance=9, patient=PatientKey("X", "Y"))
    assert (await store.put(stranger, b"z")).outcome is PutOutcome.QUARANTINED


async def test_a_discarded_transfer_leaves_nothing(opened: tuple[ObjectStore, Database], tmp_path: Path) -> None:
    store, _db = opened
    other = RequestId.new()
    await stage(store, BODIES)
    await stage(store, BODIES, other)
    await store.discard_staged(TRANSFER)
    assert await store.staged(TRANSFER) == {}
    assert len(await store.staged(other)) == 5
    assert len(await asyncio.to_thread(lambda: list(tmp_path.glob("packs/*/*.pack")))) == 1
    await stage(store, BODIES)  # it may begin again
    await store.discard_staged(other)
    await store.discard_staged(other)
    assert len(await store.staged(TRANSFER)) == 5


async def test_discarding_keeps_what_was_admitted(opened: tuple[ObjectStore, Database]) -> None:
    store, db = opened
    await stage(store, BODIES)
    await store.indexed()
    async with db.write() as tx:
        await store.admit(tx, TRANSFER, await manifest_of(BODIES), origin=ORIGIN)
    await store.discard_staged(TRANSFER)
    assert await (await store.reader(instance_uid(1, 3))).read() == BODIES[3]


async def test_revisions_grow_and_their_manifests_stay(tmp_path: Path) -> None:
    clock = HandClock(1_000_000)
    async with opened_store(tmp_path, clock=clock) as (store, _db):
        with pytest.raises(UnknownStudy):
            await store.close_revision(study_uid(1))
        assert await store.manifest(study_uid(1)) is None
        for number in (2, 10, 1):
            await store.put(header(instance=number), BODIES[1] + b"%d" % number)
        assert await store.manifest(study_uid(1)) is None
        first = await store.close_revision(study_uid(1))
        assert first is not None
        assert (first.revision, first.closed_at) == (1, 1_000_000)
        assert [e.sop_instance_uid for e in first.entries] == [instance_uid(1, n) for n in (1, 2, 10)]
        assert await store.close_revision(study_uid(1)) is None
        await store.put(header(instance=2), BODIES[1] + b"2")  # the same again opens nothing
        await store.indexed()
        assert await store.open_revisions(quiet_since=2_000_000) == []
        clock.time += 100
        await store.put(header(instance=11), b"late")
        await store.indexed()
        [study] = await store.studies()
        assert (study.revision, study.revision_open) == (1, True)
        assert await store.open_revisions(quiet_since=1_000_099) == []
        assert await store.open_revisions(quiet_since=1_000_100) == [study_uid(1)]
        second = await store.close_revision(study_uid(1))
        assert second is not None
        assert (second.revision, len(second.entries)) == (2, 4)
        assert await store.manifest(study_uid(1), 1) == first
        assert await store.manifest(study_uid(1)) == second
        assert await store.manifest(study_uid(1), 9) is None
    async with opened_store(tmp_path) as (store, _db):
        assert await store.manifest(study_uid(1), 1) == first


async def test_a_large_transfer_of_streams_is_admitted_too(opened: tuple[ObjectStore, Database]) -> None:
    store, db = opened
    body = os.urandom(2_000_000)

    async def stream() -> AsyncIterator[bytes]:
        yield body

    digest = (await manifest_of({1: body})).entries[0].digest
    await store.put_stream(header(instance=1), stream(), transfer=TRANSFER, origin=ORIGIN, expected=digest)
    await store.indexed()
    async with db.write() as tx:
        await store.admit(tx, TRANSFER, await manifest_of({1: body}), origin=ORIGIN)
    assert await (await store.reader(instance_uid(1, 1))).read() == body
    [instance] = await store.instances(InstanceQuery(studies=StudyQuery(own=False)))
    assert instance.header == replace(header(instance=1))


async def test_a_revision_is_not_closed_unless_it_is_on_record(tmp_path: Path) -> None:
    recorded: list[int] = []

    async def fail(_tx: Write, _manifest: Manifest) -> None:
        raise StorageFailed

    async def record(_tx: Write, manifest: Manifest) -> None:
        recorded.append(manifest.revision)

    async with opened_store(tmp_path) as (store, _db):
        await store.put(header(), BODIES[1])
        with pytest.raises(StorageFailed):
            await store.close_revision(study_uid(1), record=fail)
        assert await store.manifest(study_uid(1)) is None
        assert await store.close_revision(study_uid(1), record=record) is not None
        assert await store.close_revision(study_uid(1), record=record) is None
    assert recorded == [1], "what is closed already is not recorded again"
