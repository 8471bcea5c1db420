"""Announcing and locating between facilities in one process, over real TLS and real databases."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.locating import ACTOR, ANNA, Site, site, trust_each_other

from node.errors.announce import PatientNotSearchable, UnknownPatient
from node.model.audit import AuditType
from node.model.ids import PatientKey, StudyInstanceUID, StudyRef
from node.model.instance import Demographics
from node.model.trust import TrustState
from node.sharing.locate import MatchKind
from node.store import feeds, followed

NOBODY = Demographics("Nobody^Nils", "19500505", "M")


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Site, Site]]:
    """A holder and a reader that trust each other."""
    async with site(tmp_path, "north") as north, site(tmp_path, "lake") as lake:
        await trust_each_other(north, lake)
        yield north, lake


async def test_a_prior_is_found_as_a_candidate_and_tells_little(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    await north.hold()
    report = await north.announcer.announce_now()
    assert (report.peers, report.batches, report.studies) == (1, 1, 1)

    (prior,) = await lake.priors_at(north, Demographics("LÁRSEN^Anna^Maria", "1961-02-03", "f"))
    assert prior.match is MatchKind.CANDIDATE
    assert (prior.modalities, prior.instances, prior.revision, prior.year) == (("CT",), 12, 1, 2026)
    assert prior.regions == ("CHEST",)
    assert (prior.study_instance_uid, prior.study_date, prior.description) == (None, None, None)
    assert (prior.held, prior.consent_on_file, prior.report) == (False, False, False)
    assert await lake.priors_at(north, NOBODY) == ()


async def test_an_initial_tells_only_that_something_exists(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    await north.hold()
    await north.announcer.announce_now()
    (prior,) = await lake.priors_at(north, replace(ANNA, name="Larsen^Agnes"))
    assert prior.match is MatchKind.CANDIDATE
    assert (prior.modalities, prior.regions) == ((), ())
    assert (prior.instances, prior.report, prior.revision, prior.year) == (None, None, None, None)


async def test_a_shared_identifier_is_more_than_a_candidate(tmp_path: Path) -> None:
    settings = {"shared_issuers": ("NATION",)}
    async with site(tmp_path, "a", settings=settings) as a, site(tmp_path, "b", settings=settings) as b:
        await trust_each_other(a, b)
        await a.hold(patient=PatientKey("NATION", "77-1"))
        await a.announcer.announce_now()
        (prior,) = await b.priors_at(a, NOBODY, patient=PatientKey("NATION", "771"))
        assert prior.match is MatchKind.IDENTIFIER
        (prior,) = await b.priors_at(a, ANNA, patient=PatientKey("NATION", "771"))
        assert prior.match is MatchKind.IDENTIFIER, "the surest way of finding it counts"


async def test_what_must_not_be_announced_is_not(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    await north.hold(origin=lake.peer_id)
    await north.hold(revision=0)
    await north.hold(Demographics("UNKNOWN^X", "19610203", "F"))
    opted_out, sensitive = PatientKey("HERE", "2"), await north.hold()
    async with north.db.write() as tx:
        await feeds.opt_out(tx, opted_out, 1)
        await feeds.set_sensitive(tx, sensitive, 1)
    await north.hold(patient=opted_out)
    assert (await north.announcer.announce_now()).batches == 0
    assert await lake.priors_at(north) == ()


async def test_each_revision_is_announced_once_and_changes_reach_the_reader(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    study = await north.hold()
    assert (await north.announcer.announce_now()).studies == 1
    assert (await north.announcer.announce_now()).batches == 0
    (first,) = await lake.priors_at(north)

    await north.close_revision(study, 40)
    assert (await north.announcer.announce_now()).studies == 1
    (second,) = await lake.priors_at(north)
    assert (second.ref, second.revision, second.instances) == (first.ref, 2, 40)

    async with north.db.write() as tx:
        await feeds.set_sensitive(tx, study, 1)
    assert (await north.announcer.announce_now()).studies == 1
    assert await lake.priors_at(north) == ()
    async with north.db.write() as tx:
        await feeds.clear_sensitive(tx, study)
    await north.announcer.announce_now()
    (third,) = await lake.priors_at(north)
    assert third == second

    async with north.db.write() as tx:
        await tx.execute("DELETE FROM study WHERE uid = ?", (str(study),))
    await north.announcer.announce_now()
    assert await lake.priors_at(north) == ()


async def test_a_corrected_name_moves_the_announcement(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    study = await north.hold()
    await north.announcer.announce_now()
    async with north.db.write() as tx:
        await tx.execute("UPDATE study SET patient_name = 'Berg^Anna' WHERE uid = ?", (str(study),))
    await north.announcer.announce_now()
    assert await lake.priors_at(north) == ()
    (prior,) = await lake.priors_at(north, replace(ANNA, name="Berg^Anna"))
    assert prior.revision == 1


async def test_opting_out_withdraws_and_opting_in_announces_again(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    await north.hold()
    await north.announcer.announce_now()
    async with north.db.write() as tx:
        await feeds.opt_out(tx, PatientKey("HERE", "1"), 1)
    await north.announcer.announce_now()
    assert await lake.priors_at(north) == ()
    async with north.db.write() as tx:
        await feeds.opt_in(tx, PatientKey("HERE", "1"))
    await north.announcer.announce_now()
    assert len(await lake.priors_at(north)) == 1


async def test_details_are_told_when_the_policy_says_so(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    study = await north.hold()
    await north.announcer.announce_now()
    (prior,) = await lake.priors_at(north)
    assert prior.study_instance_uid is None
    await north.trust.set_policy(lake.peer_id, {"label_detail": "true"})
    await north.announcer.announce_now()
    (prior,) = await lake.priors_at(north)
    assert prior.study_instance_uid == study
    assert (prior.study_date, prior.description) == ("20260102", "CT Thorax nativ")
    assert not prior.consent_on_file
    await north.trust.set_policy(lake.peer_id, {"label_detail": "false"})
    await north.announcer.announce_now()
    (prior,) = await lake.priors_at(north)
    assert prior.study_instance_uid is None


async def test_a_ref_resolves_at_its_holder_for_its_peer_alone(tmp_path: Path) -> None:
    async with site(tmp_path, "a") as a, site(tmp_path, "b") as b, site(tmp_path, "c") as c:
        await trust_each_other(a, b, c)
        study = await a.hold()
        await a.announcer.announce_now()
        (at_b,), (at_c,) = await b.priors_at(a), await c.priors_at(a)
        assert at_b.ref != at_c.ref
        async with a.db.read() as rx:
            assert await feeds.resolve_ref(rx, b.peer_id, at_b.ref) == study
            assert await feeds.resolve_ref(rx, c.peer_id, at_b.ref) is None
            assert await feeds.resolve_ref(rx, b.peer_id, StudyRef.new()) is None


async def test_a_ref_that_a_release_explained_shows_its_study(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    study = await north.hold()
    await north.announcer.announce_now()
    (prior,) = await lake.priors_at(north)
    assert prior.study_instance_uid is None
    async with lake.db.write() as tx:
        await followed.learn_refs(tx, north.peer_id, {prior.ref: study, StudyRef.new(): StudyInstanceUID("2.25.7")})
    (prior,) = await lake.priors_at(north)
    assert (prior.study_instance_uid, prior.held) == (study, False)
    async with lake.db.write() as tx:
        await tx.execute("INSERT INTO space VALUES (x'00112233445566778899aabbccddeeff', ?, 1, x'00')", (str(study),))
        await tx.execute(
            "INSERT INTO study (uid, space, issuer, patient_id, patient_name, patient_name_match, patient_name_raw,"
            " birth_date, sex, character_set, date, time, accession_number, study_id, description,"
            " referring_physician, origin, changed_at) VALUES (?, x'00112233445566778899aabbccddeeff', 'HERE', '1',"
            " 'Larsen^Anna', '', x'', '19610203', 'F', '', '', '', '', '', '', '', ?, 0)",
            (str(study), north.peer_id.digest),
        )
    result = await lake.locator.priors(demographics=ANNA, actor=ACTOR)
    assert [s.study_instance_uid for s in result.local] == [study]
    assert result.peers[0].studies[0].held


async def test_a_peer_that_is_away_is_known_by_what_it_announced(tmp_path: Path) -> None:
    async with site(tmp_path, "lake") as lake:
        async with site(tmp_path, "north") as north:
            await trust_each_other(north, lake)
            await north.hold()
            await north.announcer.announce_now()
            known = await lake.priors_at(north)
        (peer,) = (await lake.locator.priors(demographics=ANNA, actor=ACTOR)).peers
        assert (peer.status, peer.name) == ("peer_unreachable", "north")
        assert peer.studies == known
        (peer,) = (await lake.locator.priors(demographics=NOBODY, actor=ACTOR)).peers
        assert (peer.status, peer.studies) == ("peer_unreachable", ())


async def test_both_ends_put_the_question_on_record_and_it_is_asked_once(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    await north.hold()
    await north.announcer.announce_now()
    await lake.priors_at(north)
    await lake.priors_at(north)
    (answered,) = await north.events(AuditType.QUESTIONS_ANSWERED)
    assert (answered.peer, answered.purpose, answered.patient) == (lake.peer_id, "TREAT", None)
    assert answered.detail["questions"] == 3
    assert ACTOR not in str(answered), "the holder sees a pseudonym"
    asked = [event for event in await lake.events(AuditType.PRIORS_ASKED) if event.peer]
    assert [event.actor for event in asked] == [ACTOR]
    assert asked[0].detail["user"] == answered.detail["user"]
    await lake.locator.priors(demographics=NOBODY, actor="user:other")
    assert (await north.events(AuditType.QUESTIONS_ANSWERED))[1].detail["user"] != answered.detail["user"]


async def test_every_patient_makes_the_same_number_of_questions(tmp_path: Path) -> None:
    settings = {"shared_issuers": ("NATION",)}
    async with site(tmp_path, "a", settings=settings) as a, site(tmp_path, "b", settings=settings) as b:
        await trust_each_other(a, b)
        await a.hold()
        await a.announcer.announce_now()
        for number, who in ((1, NOBODY), (2, ANNA), (3, Demographics())):
            await b.locator.priors(demographics=who, patient=PatientKey("NATION", str(number)), actor=ACTOR)
        assert [event.detail["questions"] for event in await a.events(AuditType.QUESTIONS_ANSWERED)] == [3, 3, 3]


async def test_questions_run_out_and_answers_that_are_known_do_not_cost(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    await north.hold()
    await north.announcer.announce_now()
    await north.trust.set_policy(lake.peer_id, {"daily_questions": "5"})
    assert len(await lake.priors_at(north)) == 1
    for _ in range(3):
        (peer,) = (await lake.locator.priors(demographics=NOBODY, actor=ACTOR)).peers
        assert peer.status == "questions_exhausted"
    assert len(await lake.priors_at(north)) == 1
    refused = [e for e in await north.events(AuditType.QUESTIONS_ANSWERED) if e.code]
    assert [event.code for event in refused] == ["questions_exhausted"], "on record once a day"
    north.clock.time += 86_400
    assert await lake.priors_at(north, NOBODY) == ()


async def test_two_peers_get_feeds_that_cannot_be_compared(tmp_path: Path) -> None:
    async with site(tmp_path, "a") as a, site(tmp_path, "b") as b, site(tmp_path, "c") as c:
        await trust_each_other(a, b, c)
        await a.hold()
        await a.announcer.announce_now()
        assert len(await b.priors_at(a)) == len(await c.priors_at(a)) == 1
        tags = [{r[0] for r in await one.rows("SELECT tag FROM feed_entry")} for one in (b, c)]
        assert len(tags[0]) == len(tags[1]) == 256
        assert not tags[0] & tags[1]
        assert len({r[0] for r in await a.rows("SELECT seed FROM announce_feed")}) == 2


async def test_a_revoked_peer_takes_its_key_with_it_and_starts_anew(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    await north.hold()
    await north.announcer.announce_now()
    (before,) = await lake.priors_at(north)
    old = await north.rows("SELECT incarnation, seed FROM announce_feed")
    await north.trust.revoke(lake.peer_id)
    assert await north.rows("SELECT seed, (SELECT count(*) FROM announce_batch) FROM announce_feed") == [(None, 0)]
    assert (await north.announcer.announce_now()).batches == 0
    (peer,) = (await lake.locator.priors(demographics=ANNA, actor=ACTOR)).peers
    assert peer.status == "not_trusted_by_peer"

    await trust_each_other(north, lake)
    await north.announcer.announce_now()
    new = await north.rows("SELECT incarnation, seed FROM announce_feed")
    assert new[0][0] > old[0][0]
    assert new[0][1] != old[0][1]
    (after,) = await lake.priors_at(north)
    assert after.ref == before.ref


async def test_local_priors_are_found_by_patient_and_by_name(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    own = await lake.hold(patient=PatientKey("LAKE", "9"))
    received = await lake.hold(patient=PatientKey("NORTH", "1"), origin=north.peer_id, date="20250101")
    await lake.hold(NOBODY)
    result = await lake.locator.priors(patient=PatientKey("LAKE", "9"), actor=ACTOR)
    assert [study.study_instance_uid for study in result.local] == [own, received]
    assert result.peers[0].status == "ok", "who the patient is was taken from the study"
    with pytest.raises(UnknownPatient):
        await lake.locator.priors(patient=PatientKey("LAKE", "10"), actor=ACTOR)
    with pytest.raises(PatientNotSearchable):
        await lake.locator.priors(actor=ACTOR)
    nothing = await lake.locator.priors(demographics=Demographics("X"), actor=ACTOR)
    assert (nothing.local, nothing.peers[0].status) == ((), "patient_not_searchable")


async def test_a_suspended_peer_is_not_asked(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    await lake.trust.suspend(north.peer_id)
    assert lake.trust.state_of(north.peer_id) is TrustState.SUSPENDED
    assert (await lake.locator.priors(demographics=ANNA, actor=ACTOR)).peers == ()


async def test_a_large_archive_travels_in_many_batches(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    for number in range(400):
        name = f"Fam{chr(97 + number % 26)}{chr(97 + number // 26)}^Given"
        await north.hold(Demographics(name, "19700101", "M"), patient=PatientKey("HERE", str(number)))
    report = await north.announcer.announce_now()
    assert (report.batches, report.studies) == (2, 400)
    (prior,) = await lake.priors_at(north, Demographics("Famzo^Given", "19700101", "M"))
    assert prior.revision == 1
    assert await lake.rows("SELECT sequence, entries FROM feed") == [(1, 1024 + 256)]


async def test_consent_on_file_opens_the_details(tmp_path: Path) -> None:
    class Everything:
        async def covers(self, *_facts: object) -> bool:
            return True

    async with site(tmp_path, "a", consents=Everything()) as a, site(tmp_path, "b") as b:
        await trust_each_other(a, b)
        study: StudyInstanceUID = await a.hold()
        await a.announcer.announce_now()
        (prior,) = await b.priors_at(a)
        assert (prior.study_instance_uid, prior.consent_on_file) == (study, True)
