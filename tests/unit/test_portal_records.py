"""What a patient sees: their own and linked studies, never another's; at the right time; and what history tells."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.portal_desk import ANA, BEA, PASSPHRASE, SOUTH, STAFF, STRANGER, Desk, desk
from support.store import study_uid

from node.errors.access import NotFound, Unauthenticated
from node.errors.portal import EnrolmentRefused, InvalidPortalOrder, NotInvitable, UnknownAccount, VerificationNeeded
from node.errors.storage import UnknownStudy
from node.errors.vault import PortalClosed
from node.model.access import Caller, Role
from node.model.audit import AuditEvent, AuditType
from node.model.correction import Correction, CorrectionId, CorrectionKind
from node.model.ids import PatientKey, SOPClassUID
from node.model.instance import Demographics
from node.model.lifecycle import HiddenReason, RevisionCause
from node.model.portal import AccessId, RulingKind, Scope, Showing
from node.sharing.portal.accounts import FRESH_SECONDS
from node.sharing.portal.enrolment import account_of
from node.sharing.portal.history import Kind, Who, WhoKind
from node.sharing.portal.history_words import facts, sentence
from node.store import audit, corrections, feeds, hiding, links, restored, users

HOUR = 3600
PDF = SOPClassUID("1.2.840.10008.5.1.4.1.1.104.1")


@pytest.fixture
async def north(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


async def merge(
    north: Desk, patient: PatientKey, into: PatientKey, kind: CorrectionKind = CorrectionKind.MERGE
) -> None:
    async with north.db.write() as tx:
        studies = tuple(await corrections.own_studies(tx, patient))
        said = Demographics("Garcia^Ana", "19640327", "F")
        done = Correction(CorrectionId.new(), kind, patient, into, said, "same", 1, STAFF, studies)
        await corrections.add(tx, done)
        for one in studies:
            await corrections.apply(tx, one.study, into, said, now=1)


async def record(north: Desk, *events: AuditEvent) -> None:
    async with north.db.write() as tx:
        for event in events:
            await audit.append(tx, event)


async def test_a_patient_sees_what_is_theirs_and_nothing_else(north: Desk) -> None:
    ana = await north.enrolled()
    await north.receive(3, PatientKey("SOUTH", "S-1"), linked=ANA)
    await north.receive(4, PatientKey("SOUTH", "S-2"), linked=BEA)
    await north.receive(5, ANA, linked=None)  # another facility says that it is hers: no proof
    await north.hold(6, PatientKey("ELSEWHERE", "ANA-1"))  # the same id of another issuer
    assert await north.visible(ana) == {study_uid(1), study_uid(3)}
    async with north.db.write() as tx:
        await links.remove(tx, study_uid(3))
    assert await north.visible(ana) == {study_uid(1)}
    for caller in (STRANGER, Caller("user:clin", Role.CLINICIAN), Caller("link:1", Role.RECIPIENT)):
        assert await north.records.visible(caller) == frozenset()
    with pytest.raises(UnknownAccount):
        await north.records.visible(Caller("patient:../x", Role.PATIENT))
    found = await north.records.study(ana.session.caller, study_uid(1))
    assert found.is_visible
    for other in (2, 3, 5, 99):
        with pytest.raises(NotFound):
            await north.records.study(ana.session.caller, study_uid(other))


async def test_what_is_withdrawn_is_gone(north: Desk) -> None:
    ana = await north.enrolled()
    async with north.db.write() as tx:
        await hiding.hide(tx, study_uid(1), None, HiddenReason.RETRACTED, cause=RevisionCause.RETRACTION, now=1)
    assert await north.visible(ana) == set()
    assert await north.records.studies(ana.session.caller) == ()


async def test_merged_patients_are_one_and_a_moved_study_goes_along(north: Desk) -> None:
    old = PatientKey("NORTH", "OLD-7")
    await north.hold(7, old)
    ana, former = await north.enrolled(), await north.enrolled(BEA, "bea@example.org")
    await merge(north, old, ANA)
    assert await north.visible(ana) == {study_uid(1), study_uid(7)}
    await north.hold(8, BEA)
    await merge(north, BEA, ANA)  # the account of who was merged goes on under the patient that is left
    assert await north.visible(former) == {study_uid(n) for n in (1, 2, 7, 8)}
    async with north.db.write() as tx:
        await corrections.apply(
            tx, study_uid(7), PatientKey("NORTH", "THIRD"), Demographics("T^T", "19500101", "M"), now=2
        )
    assert study_uid(7) not in await north.visible(ana)


async def test_two_records_of_one_person_and_people_one_acts_for(north: Desk) -> None:
    ana = await north.enrolled()
    account = account_of(ana.session.caller)
    second = PatientKey("NORTH", "ANA-AGAIN")
    await north.hold(9, second)
    await north.proxies.add_record(account, second, by=STAFF)
    with pytest.raises(InvalidPortalOrder):
        await north.proxies.add_record(account, second, by=STAFF)
    with pytest.raises(NotInvitable):
        await north.proxies.add_record(account, PatientKey("NORTH", "NOBODY"), by=STAFF)
    assert await north.visible(ana) == {study_uid(1), study_uid(9)}
    carer = await north.enrol(
        await north.proxy_letter(ANA, Scope.SEE, until=north.clock.now() + HOUR), "carla@example.org"
    )
    with pytest.raises(UnknownAccount):
        await north.proxies.add_record(account_of(carer.session.caller), BEA, by=STAFF)
    assert await north.visible(carer) == {study_uid(1)}
    assert await north.records.sharable(carer.session.caller) == frozenset()
    assert await north.records.sharable(ana.session.caller) == await north.records.visible(ana.session.caller)
    north.clock.time += HOUR
    assert await north.visible(carer) == set(), "it ends by itself"


async def test_a_patient_ends_what_somebody_does_for_them(north: Desk) -> None:
    ana = await north.enrolled()
    carer = await north.enrol(await north.proxy_letter(ANA), "carla@example.org")
    other = await north.enrolled(BEA, "bea@example.org")
    (acts,) = await north.proxies.of_mine(ana.session)
    assert (acts.access.name, acts.sign_in_name, acts.is_live) == ("Carla Carer", "carla@example.org", True)
    assert await north.proxies.of_mine(carer.session) == [], "who acts does not learn who else does"
    for session, access in (
        (other.session, acts.access.access_id),
        (ana.session, AccessId.new()),
        (ana.session, (await north.records.records(ana.session.caller))[0].access.access_id),
    ):
        with pytest.raises(NotFound):
            await north.proxies.end_mine(session, access)
    north.clock.time += FRESH_SECONDS
    with pytest.raises(VerificationNeeded):
        await north.proxies.end_mine(ana.session, acts.access.access_id)
    await north.accounts.verify(ana.session, PASSPHRASE)
    await north.proxies.end_mine(ana.session, acts.access.access_id)
    assert await north.visible(carer) == set()
    assert not (await north.proxies.of_mine(ana.session))[0].is_live
    again = await north.enrol(await north.proxy_letter(ANA), "carla2@example.org")
    (own,) = await north.records.records(again.session.caller)
    await north.proxies.end_mine(again.session, own.access.access_id)
    assert await north.visible(again) == set()


async def test_what_ends_is_cut_off_at_once_unless_its_owner_ended_it(north: Desk) -> None:
    ended: list[str] = []
    north.accounts.on_ended(ended.append)
    ana, carer = await north.enrolled(), await north.enrol(await north.proxy_letter(ANA), "carla@example.org")
    acting, mother = carer.session.caller.actor, ana.session.caller.actor
    (acts,) = await north.proxies.of_mine(ana.session)
    await north.proxies.end_mine(ana.session, acts.access.access_id)
    await north.proxies.end(acts.access.access_id, by=STAFF)
    assert ended == [acting], "once"
    account = (await north.accounts.held(account_of(ana.session.caller))).account
    await north.enrolment.reset(account, by=STAFF)
    assert ended == [acting, mother]
    await north.accounts.close(account.account_id, by=mother)
    assert ended == [acting, mother], "or the answer that says so would be cut off"
    with pytest.raises(NotFound):
        await north.proxies.end(AccessId.new(), by=STAFF)


async def test_sensitive_studies_are_the_patients_alone(north: Desk) -> None:
    ana, carer = await north.enrolled(), await north.enrol(await north.proxy_letter(ANA), "carla@example.org")
    async with north.db.write() as tx:
        await feeds.set_sensitive(tx, study_uid(1), 1)
    await record(north, AuditEvent(AuditType.STUDY_READ, 5, STAFF, patient=ANA, study=study_uid(1)))
    assert await north.visible(ana) == {study_uid(1)}
    assert await north.visible(carer) == set()
    assert await north.records.studies(carer.session.caller) == ()
    entries, _ = await north.history.page(carer.session.caller)
    assert Kind.LOOKED not in {one.kind for one in entries}, "not even that somebody looked"


async def test_delays_and_what_staff_decide(tmp_path: Path) -> None:
    async with desk(tmp_path, release_delay_hours=1, release_delays=("CT=2", "REPORT=72")) as north:
        ana = await north.enrolled()
        (study,) = await north.records.studies(ana.session.caller)
        start = north.clock.now()
        assert (study.availability.showing, study.availability.since) == (Showing.DELAYED, start + 2 * HOUR)
        assert await north.visible(ana) == set()
        await north.hold(10, ANA, modality="US", sop_class_uid=PDF)
        north.clock.time = start + 2 * HOUR
        assert await north.visible(ana) == {study_uid(1)}
        waiting = {one.study.study_instance_uid: one for one in await north.records.studies(ana.session.caller)}
        assert waiting[study_uid(10)].availability.since == start + 72 * HOUR
        await north.records.rule(study_uid(10), RulingKind.RELEASED, by=STAFF)
        until = north.clock.now() + HOUR
        await north.records.rule(
            study_uid(1), RulingKind.HELD, by=STAFF, reason="Dr. Who calls you first.", until=until
        )
        assert await north.visible(ana) == {study_uid(10)}
        held = {one.study.study_instance_uid: one for one in await north.records.studies(ana.session.caller)}
        assert held[study_uid(1)].availability.reason == "Dr. Who calls you first."
        north.clock.time = until
        assert await north.visible(ana) == {study_uid(1), study_uid(10)}
        await north.records.rule(study_uid(10), None, by=STAFF)
        assert await north.visible(ana) == {study_uid(1)}
        with pytest.raises(InvalidPortalOrder):
            await north.records.rule(study_uid(1), RulingKind.HELD, by=STAFF)
        with pytest.raises(UnknownStudy):
            await north.records.rule(study_uid(99), RulingKind.RELEASED, by=STAFF)
        assert [one.kind for one in await north.records.rulings()] == [RulingKind.HELD]
        assert len(await north.records.shown_to(ANA)) == 2


async def test_a_late_image_hides_nothing_that_was_shown(tmp_path: Path) -> None:
    async with desk(tmp_path, release_delay_hours=1) as north:
        ana = await north.enrolled()
        north.clock.time += HOUR
        assert await north.visible(ana) == {study_uid(1)}
        await north.hold(1, ANA, instance_number="2", sop_instance_uid=f"{study_uid(1)}.3.2")
        assert await north.visible(ana) == {study_uid(1)}


async def test_history_is_of_ones_own_and_says_who(north: Desk) -> None:
    ana = await north.enrolled()
    async with north.db.write() as tx:
        await users.add_user(tx, "clin", Role.CLINICIAN, None, 1)
    await north.receive(3, PatientKey("SOUTH", "S-1"), linked=ANA)
    read = AuditType.STUDY_READ
    await record(
        north,
        AuditEvent(read, 1000, "user:clin", patient=ANA, study=study_uid(1), detail={"what": "frames"}),
        AuditEvent(read, 1060, "user:clin", patient=ANA, study=study_uid(1), detail={"what": "metadata"}),
        AuditEvent(read, 1070, "user:clin", patient=BEA, study=study_uid(2)),
        AuditEvent(read, 1080, "user:clin", patient=PatientKey("SOUTH", "S-1"), study=study_uid(3)),
        AuditEvent(
            AuditType.RELEASED, 1090, "node", peer=SOUTH, patient=ANA, study=study_uid(1), purpose="TREAT",
            detail={"consent": "share_code"},
        ),
        AuditEvent(AuditType.LINK_OPENED, 1100, "link:7", patient=ANA),
        AuditEvent(read, 1200, "user:gone", patient=ANA, study=study_uid(1)),
    )  # fmt: skip
    entries, more = await north.history.page(ana.session.caller)
    assert more is None
    told = [(one.kind, one.who, one.at, one.times) for one in entries if one.at <= 1200 and one.at >= 1000]
    clin = Who(WhoKind.STAFF, "", Role.CLINICIAN)
    assert told == [
        (Kind.LOOKED, Who(WhoKind.STAFF), 1200, 1),
        (Kind.LINK_OPENED, Who(WhoKind.LINK), 1100, 1),
        (Kind.SENT, Who(WhoKind.NODE), 1090, 1),
        (Kind.LOOKED, clin, 1080, 1),
        (Kind.LOOKED, clin, 1000, 2),
    ]
    sent = next(one for one in entries if one.kind is Kind.SENT)
    assert (sent.facility, sent.purpose, sent.consent) == ("South", "TREAT", "share_code")
    assert [label.text for label, _ in facts(sent)] == ["Of", "For", "Because of"]
    assert {one.kind for one in entries} >= {Kind.SIGNED_IN, Kind.ENROLLED, Kind.ACCESS_GIVEN, Kind.INVITED}
    assert all(sentence(one).text for one in entries)
    assert (await north.events())[0].type is AuditType.PORTAL_HISTORY_READ


async def test_history_does_not_tell_of_a_study_that_was_somebody_elses(north: Desk) -> None:
    ana = await north.enrolled()
    await north.hold(7, ANA)
    await record(north, AuditEvent(AuditType.STUDY_READ, 5, STAFF, patient=ANA, study=study_uid(7)))
    async with north.db.write() as tx:
        await corrections.apply(tx, study_uid(7), BEA, Demographics("Berg^Bea", "19701224", "F"), now=2)
    entries, _ = await north.history.page(ana.session.caller)
    assert 5 not in {one.at for one in entries}
    bea = await north.enrolled(BEA, "bea@example.org")
    entries, _ = await north.history.page(bea.session.caller)
    assert 5 in {one.at for one in entries}


async def test_history_goes_on_page_by_page(north: Desk) -> None:
    ana = await north.enrolled()
    await record(north, *(AuditEvent(AuditType.LINK_OPENED, n, "link:1", patient=ANA) for n in range(25)))
    seen, before = [], None
    while True:
        entries, before = await north.history.page(ana.session.caller, before=before, limit=10)
        seen += [one.at for one in entries if one.kind is Kind.LINK_OPENED]
        if before is None:
            break
    assert seen == sorted(range(25), reverse=True)


async def test_people_are_named_as_the_reader_may_know_them(north: Desk) -> None:
    ana = await north.enrolled()
    carer = await north.enrol(await north.proxy_letter(ANA), "carla@example.org")
    for who in (ana, carer):
        read = AuditEvent(AuditType.STUDY_READ, 7, who.session.caller.actor, patient=ANA, study=study_uid(1))
        await record(north, read)
    by_ana, _ = await north.history.page(ana.session.caller)
    by_carer, _ = await north.history.page(carer.session.caller)
    assert [one.who for one in by_ana if one.at == 7] == [Who(WhoKind.PROXY, "Carla Carer"), Who(WhoKind.YOU)]
    assert [one.who for one in by_carer if one.at == 7] == [Who(WhoKind.YOU), Who(WhoKind.PATIENT)]
    assert Kind.SIGNED_IN in {one.kind for one in by_carer}


async def test_staff_are_named_where_the_facility_says_so(tmp_path: Path) -> None:
    async with desk(tmp_path, staff_names=True) as north:
        ana = await north.enrolled()
        await record(north, AuditEvent(AuditType.STUDY_READ, 7, "user:clin", patient=ANA, study=study_uid(1)))
        entries, _ = await north.history.page(ana.session.caller)
        assert Who(WhoKind.STAFF, "clin") in {one.who for one in entries}


async def test_after_a_restore_letters_are_void_and_nobody_gets_in_before_the_review(north: Desk) -> None:
    ana = await north.enrolled()
    letter = await north.letter(BEA)
    async with north.db.write() as tx:
        await restored.mark(tx, now=north.clock.now(), log_ends=False)
    with pytest.raises(Unauthenticated):
        await north.sessions.by_cookie(ana.cookie)
    with pytest.raises(PortalClosed):
        await north.accounts.sign_in("ana@example.org", PASSPHRASE, place="::1")
    with pytest.raises(EnrolmentRefused):
        await north.enrolment.prove(letter.code.text, "19701224", place="::1")
    async with north.db.write() as tx:
        await restored.reviewed(tx, by=STAFF, now=north.clock.now())
    again = await north.accounts.sign_in("ana@example.org", PASSPHRASE, place="::1")
    assert await north.visible(again) == {study_uid(1)}
