"""What is withdrawn is nowhere to be seen, stays so when it comes again, and leaves old manifests as they were."""

from pathlib import Path

import pytest
from support.store import header, instance_uid, opened_store, study_uid

from node.errors.lifecycle import UnknownQuarantined
from node.errors.storage import ObjectDamaged, UnknownInstance
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.model.lifecycle import HiddenReason, RevisionCause
from node.model.quarantine import Acceptance, acceptance
from node.store import hiding, identity, quarantine, revisions, tombstones
from node.store.engine import Database, Write
from node.store.objects import ObjectStore, PutOutcome
from node.store.quarantine import Quarantined
from node.store.study_queries import InstanceQuery, StudyQuery
from node.store.tombstones import Tombstone

STUDY = study_uid(1)
SAFETY = HiddenReason.REJECTED_SAFETY


async def put(store: ObjectStore, *numbers: int, study: int = 1, data: bytes = b"pixels") -> list[PutOutcome]:
    done = [await store.put(header(study=study, instance=n), data + bytes([n])) for n in numbers]
    await store.indexed()
    return [one.outcome for one in done]


async def hide(db: Database, *numbers: int, reason: HiddenReason = SAFETY) -> None:
    chosen = [instance_uid(1, n) for n in numbers] or None
    async with db.write() as tx:
        await hiding.hide(tx, STUDY, chosen, reason, cause=RevisionCause.REJECTION, now=10, words="why")
        stones = [Tombstone(STUDY, reason, uid) for uid in chosen or (None,)]
        await tombstones.add(tx, stones, at=10)


async def uids(store: ObjectStore) -> set[str]:
    return {str(i.header.sop_instance_uid) for i in await store.instances(InstanceQuery())}


async def test_hidden_instances_are_nowhere_and_old_manifests_stay(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, db):
        await put(store, 1, 2, 3)
        first = await store.close_revision(STUDY)
        await hide(db, 2)
        assert await uids(store) == {instance_uid(1, 1), instance_uid(1, 3)}
        with pytest.raises(UnknownInstance):
            await store.reader(instance_uid(1, 2))
        (study,) = await store.studies()
        assert (study.instances, study.revision, study.revision_open) == (2, 2, False)
        assert await store.manifest(STUDY, 1) == first
        second = await store.manifest(STUDY)
        assert second is not None
        assert [e.sop_instance_uid for e in second.entries] == [instance_uid(1, 1), instance_uid(1, 3)]
        assert await store.gone(STUDY, instance=instance_uid(1, 2))
        assert not await store.gone(STUDY, instance=instance_uid(1, 9))
        async with db.read() as rx:
            history = await revisions.history(rx, STUDY)
            assert await hiding.hidden_counts(rx, STUDY) == {SAFETY: 1}
        assert [(r.number, r.cause.value, r.instances) for r in history] == [(2, "rejection", 2), (1, "instances", 3)]


async def test_a_resend_does_not_resurrect_and_is_no_contradiction(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, db):
        await put(store, 1, 2)
        await store.close_revision(STUDY)
        await hide(db, 2)
        assert await put(store, 2) == [PutOutcome.SAME]
        assert await put(store, 2, data=b"other") == [PutOutcome.QUARANTINED]
        assert await uids(store) == {instance_uid(1, 1)}
    async with opened_store(tmp_path) as (store, db):
        assert await put(store, 2) == [PutOutcome.SAME]
        assert await uids(store) == {instance_uid(1, 1)}


async def test_what_was_buried_before_it_came_arrives_hidden(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, db):
        async with db.write() as tx:
            await tombstones.add(tx, [Tombstone(STUDY, SAFETY, instance_uid(1, 2))], at=1)
        assert await put(store, 1, 2) == [PutOutcome.STORED, PutOutcome.STORED]
        assert await uids(store) == {instance_uid(1, 1)}
        assert await store.gone(STUDY, instance=instance_uid(1, 2))
        manifest = await store.close_revision(STUDY)
        assert manifest is not None
        assert len(manifest.entries) == 1


async def test_a_withdrawn_study_is_gone_and_its_numbers_go_on(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, db):
        await put(store, 1, 2)
        await store.close_revision(STUDY)
        await hide(db, 1, 2)
        assert await store.studies() == []
        assert await store.gone(STUDY)
        assert not await store.gone(study_uid(2))
        async with db.read() as rx:
            (gone,) = await hiding.withdrawn(rx)
        assert (gone.study, gone.instances, gone.revision, gone.words) == (STUDY, 2, 2, "why")
        assert gone.modalities == ("CT",)
        assert await put(store, 3) == [PutOutcome.STORED]
        await store.close_revision(STUDY)
        (study,) = await store.studies()
        assert (study.instances, study.revision) == (1, 3)
        async with db.read() as rx:
            assert await hiding.withdrawn(rx) == []
        await store.delete_study(STUDY)
        async with db.read() as rx:
            assert await rx.fetch_value("SELECT count(*) FROM hidden") == 0


async def test_a_peer_buries_only_what_is_its_own(tmp_path: Path) -> None:
    peer = PeerId(bytes(32))
    async with opened_store(tmp_path) as (store, db):
        async with db.write() as tx:
            await tombstones.add(tx, [Tombstone(STUDY, HiddenReason.RETRACTED, origin=peer)], at=1)
        assert await put(store, 1) == [PutOutcome.STORED]
        assert await uids(store) == {instance_uid(1, 1)}


async def test_an_own_instance_does_not_join_another_facilitys_study(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, db):
        await put(store, 1)
        async with db.write() as tx:
            await tx.execute("UPDATE study SET origin = ?", (bytes(32),))
    async with opened_store(tmp_path) as (store, db):
        assert await put(store, 1, 2) == [PutOutcome.SAME, PutOutcome.QUARANTINED]
        async with db.read() as rx:
            assert await rx.fetch_value("SELECT reason FROM quarantine") == "origin_differs"
        assert await uids(store) == {instance_uid(1, 1)}


async def test_who_was_merged_is_no_contradiction(tmp_path: Path) -> None:
    old, new = PatientKey("LEVERET-TEST", "OLD"), PatientKey("LEVERET-TEST", "NEW")
    async with opened_store(tmp_path) as (store, db):
        async with db.write() as tx:
            await tx.execute(
                "INSERT INTO correction VALUES (?, 'merge', ?, ?, ?, ?, 'New^Name', '', '', 'r', 1, 'me', NULL)",
                (bytes(16), old.issuer, old.patient_id, new.issuer, new.patient_id),
            )
            await tx.execute("INSERT INTO patient_alias VALUES (?, ?, ?)", (old.issuer, old.patient_id, bytes(16)))
        for number, patient in enumerate((old, new, old), 1):
            done = await store.put(header(instance=number, patient=patient), bytes([number]))
            assert done.outcome is PutOutcome.STORED
        await store.indexed()
        (study,) = await store.studies(StudyQuery())
        assert (study.patient, study.demographics.name, study.instances) == (new, "New^Name", 3)
        assert study.demographics.birth_date == "19700131"
        async with db.read() as rx:
            assert await identity.formerly(rx, StudyInstanceUID(STUDY)) == [old]
        stranger = await store.put(header(instance=9, patient=PatientKey("LEVERET-TEST", "X")), b"x")
        assert stranger.outcome is PutOutcome.QUARANTINED


async def aside(db: Database) -> list[Quarantined]:
    async with db.read() as rx:
        return await quarantine.page(rx)


async def test_what_is_discarded_is_shredded_and_its_neighbours_stay(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, db):
        await put(store, 1, 2)
        assert await put(store, 1, data=b"a secret of somebody else") == [PutOutcome.QUARANTINED]
        (one,) = await aside(db)
        async with db.read() as rx:
            where = await quarantine.locate(rx, one)
        assert (await store.reader_at(where).read()).startswith(b"a secret")

        async def nothing(_tx: Write) -> None:
            return

        await store.shred(one, nothing)
        assert await aside(db) == []
        with pytest.raises(ObjectDamaged):
            await store.reader_at(where).read()
        assert await (await store.reader(instance_uid(1, 1))).read() == b"pixels\x01"
        with pytest.raises(UnknownQuarantined):
            await store.shred(one, nothing)
        assert await put(store, 1, data=b"a secret of somebody else") == [PutOutcome.QUARANTINED], "it may come again"
    async with opened_store(tmp_path) as (store, _):
        assert await uids(store) == {instance_uid(1, 1), instance_uid(1, 2)}
        assert await (await store.reader(instance_uid(1, 2))).read() == b"pixels\x02"


async def test_what_is_accepted_takes_the_place_in_one_new_revision(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, db):
        await put(store, 1, 2)
        first = await store.close_revision(STUDY)
        await put(store, 1, data=b"better")
        (one,) = await aside(db)
        async with db.write() as tx:
            assert acceptance(await quarantine.circumstances(tx, one)) is Acceptance.REPLACE
            assert await quarantine.put_in_place(tx, one, now=5)
        assert await (await store.reader(instance_uid(1, 1))).read() == b"better\x01"
        (study,) = await store.studies()
        assert (study.instances, study.revision, study.revision_open) == (2, 2, False)
        assert await store.manifest(STUDY, 1) == first, "the revision before is what it was"
        assert await put(store, 1) == [PutOutcome.SAME], "the one that was replaced comes again, and stays replaced"
        assert await (await store.reader(instance_uid(1, 1))).read() == b"better\x01"
        assert await put(store, 1, data=b"third") == [PutOutcome.QUARANTINED]


async def test_another_patient_s_instance_joins_under_the_study_s_patient(tmp_path: Path) -> None:
    stranger = PatientKey("LEVERET-TEST", "TYPO")
    async with opened_store(tmp_path) as (store, db):
        await put(store, 1)
        await store.close_revision(STUDY)
        assert (await store.put(header(instance=2, patient=stranger), b"2")).outcome is PutOutcome.QUARANTINED
        await store.indexed()
        (one,) = await aside(db)
        async with db.write() as tx:
            assert acceptance(await quarantine.circumstances(tx, one)) is Acceptance.FILE
            assert await quarantine.put_in_place(tx, one, now=5)
        (study,) = await store.studies()
        assert (study.patient.patient_id, study.instances) == ("PAT-0042", 2)
        known = await store.corrected_identity(STUDY)
        assert known is not None, "metadata say who it is, and what the bytes say"
        late = await store.put(header(instance=3, patient=stranger), b"3")
        assert late.outcome is PutOutcome.STORED


async def test_uids_that_contradict_each_other_have_no_right_place(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (store, db):
        await put(store, 1)
        elsewhere = header(study=2, instance=1, series_instance_uid=header().series_instance_uid)
        assert (await store.put(elsewhere, b"x")).outcome is PutOutcome.QUARANTINED
        await hide(db, 1)
        await put(store, 1, data=b"resend")
        for one in await aside(db):
            async with db.read() as rx:
                facts = await quarantine.circumstances(rx, one)
            assert acceptance(facts) is (Acceptance.IMPOSSIBLE if facts.is_withdrawn else Acceptance.FILE)
