"""Each kind of consent between two nodes: what it releases, what it does not, what ends when it is revoked."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.ct import CtStudy
from support.grants import grant_text, granted
from support.sharing_node import ACTOR, SharingNode, befriend, sharing_node
from support.tasks import in_background, until

from node.config import ConsentSettings
from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws, verify_jws
from node.errors.consents import (
    EmergencyReviewed,
    InvalidDirective,
    InvalidPatientKey,
    NoSuchConsent,
    NoSuchEmergency,
    NoSuchPatientKey,
    PatientKeyKnown,
)
from node.errors.sharing import ConsentRevoked, ReleaseExpired
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.consent import ConsentId, ConsentKind, PurposeOfUse
from node.model.directive import DirectiveOrder, Effect, Scope
from node.model.ids import PatientKey, RequestId, StudyInstanceUID, StudyRef
from node.model.instance import Demographics
from node.model.release import DecisionNotice, Verdict
from node.model.request import AttestedProof, EmergencyProof, GrantProof, Proof, ReleaseRequest, StudyTarget, Subject
from node.model.transfer import TransferState
from node.model.withdrawal import NoticeOutcome, WithdrawalKind
from node.peers.messages import decode_decision, encode_body, encode_request
from node.sharing.evidence import read_grant
from node.sharing.holder import REFUSAL_GRID
from node.store.brought import EmergencyReview

STUDY = CtStudy(instances=2, rows=16)
OTHER = CtStudy(instances=2, rows=16, seed=2, patient_id="CT-0002", patient_name="Other^Olga", sex="M")
UID, OTHER_UID = StudyInstanceUID(STUDY.study_uid), StudyInstanceUID(OTHER.study_uid)
SAYS = Subject(None, Demographics(STUDY.patient_name, STUDY.birth_date, STUDY.sex))
FORM = AttestedProof(hashlib.sha256(b"the signed form").digest(), "nurse.n")
GLASS = EmergencyProof("unconscious after a fall")
OPEN = {"accept_attested": "true", "accept_emergency": "true"}


@pytest.fixture
async def north(tmp_path: Path) -> AsyncIterator[SharingNode]:
    """A holder of two studies where break-glass may be used twice a day."""
    async with sharing_node("north", tmp_path, consent=ConsentSettings(emergency_daily=2)) as node:
        await node.hold(STUDY, OTHER)
        yield node


@pytest.fixture
async def lake(tmp_path: Path, north: SharingNode) -> AsyncIterator[SharingNode]:
    """A facility whose every word north believes; its requests are made by hand."""
    async with sharing_node("lake", tmp_path, engine=False) as node:
        await befriend(north, node)
        await north.trust.set_policy(node.peer_id, OPEN)
        yield node


class Asker:
    """Signs requests with any consent, and hands them to the holder as its peer server would."""

    def __init__(self, north: SharingNode, lake: SharingNode) -> None:
        self.north, self.me = north, lake.identity

    def request(self, *targets: StudyTarget, **changes: object) -> ReleaseRequest:
        ids = RequestId.new(), self.north.peer_id, self.me.peer_id
        request = ReleaseRequest(*ids, "dr.who", "clinician", PurposeOfUse.TREAT, SAYS, targets or (UID,))
        return replace(request, **changes)  # type: ignore[arg-type]  # one field each, of its own type

    def token(self, request: ReleaseRequest, proof: Proof | None) -> str:
        payload = encode_request(encode_body(request), proof, self.north.clock.now())
        return sign_jws(self.me, JwsType.REQUEST, payload)

    async def send(self, request: ReleaseRequest, proof: Proof | None) -> DecisionNotice:
        answer = await self.north.holder.receive(self.me.peer_id, self.token(request, proof))
        return decode_decision(verify_jws(answer, JwsType.DECISION, self.north.identity.public_key, max_bytes=4096))

    async def ask(self, proof: Proof | None, *targets: StudyTarget, **changes: object) -> str:
        """The verdict, or the code of the refusal."""
        notice = await self.send(self.request(*targets, **changes), proof)
        return notice.code or notice.verdict.value

    async def cause(self) -> str:
        """What the holder's audit log says of the last decision."""
        return (await self.north.events(AuditType.REQUEST_DECIDED))[-1].code


@pytest.fixture
def asker(north: SharingNode, lake: SharingNode) -> Asker:
    return Asker(north, lake)


def order(north: SharingNode, effect: Effect = Effect.PERMIT, study: CtStudy = STUDY, **limits: Any) -> DirectiveOrder:
    return replace(DirectiveOrder(north.patient(study), effect), **limits)


async def permit(north: SharingNode, **limits: Any) -> ConsentId:
    return (await north.consents.add(order(north, **limits), by=ACTOR)).directive.consent_id


async def patient_key(north: SharingNode, study: CtStudy = STUDY) -> Identity:
    key = Identity.generate()
    await north.consents.bind_key(north.patient(study), key.public_key, by=ACTOR)
    return key


def glass(asker: Asker) -> ReleaseRequest:
    return asker.request(purpose=PurposeOfUse.ETREAT)


# Directives


async def test_a_directive_releases_to_a_confirmed_patient_and_is_fetched(tmp_path: Path, north: SharingNode) -> None:
    async with sharing_node("hill", tmp_path) as hill:
        await befriend(north, hill)
        held = await north.hold(STUDY)
        await permit(north, recipient=hill.peer_id, recorded_by="Nurse Nora")
        view = await hill.requests.wait(await hill.requests.ask(hill.order(north, STUDY, None, subject=SAYS), by=ACTOR))
        assert (view.state, view.code) == ("COMPLETED", "")
        assert await hill.bytes_of(held) == held
        (recorded,) = await north.events(AuditType.CONSENT_RECORDED)
        assert (recorded.actor, recorded.patient, recorded.peer) == (ACTOR, north.patient(STUDY), hill.peer_id)
        assert recorded.detail["recorded_by"] == "Nurse Nora"
        (released,) = await north.events(AuditType.RELEASED)
        assert released.detail["consent"] == "directive"


async def test_a_directive_keeps_within_its_limits(north: SharingNode, asker: Asker) -> None:
    mine = order(north)
    for directive, cause in [
        (replace(mine, patient=PatientKey("ELSEWHERE", STUDY.patient_id)), "no_consent"),
        (replace(mine, effect=Effect.DENY), "no_consent"),
        (replace(mine, purposes=frozenset({PurposeOfUse.HRESCH})), "purpose_not_covered"),
        (replace(mine, recipient=north.peer_id), "purpose_not_covered"),
        (replace(mine, scope=Scope(modalities=frozenset({"MR"}))), "consent_other_study"),
        (replace(mine, scope=Scope(body_parts=frozenset({"KNEE"}))), "consent_other_study"),
        (replace(mine, scope=Scope(to_date="19990101")), "consent_other_study"),
        (replace(mine, scope=Scope(studies=frozenset({OTHER_UID}))), "consent_other_study"),
        (replace(mine, starts_at=2**39), "consent_expired"),
    ]:
        consent_id = (await north.consents.add(directive, by=ACTOR)).directive.consent_id
        assert await asker.ask(None) == "not_released"
        assert await asker.cause() == cause
        await north.consents.revoke(consent_id, by=ACTOR)


async def test_a_directive_ends_by_itself_and_what_it_released_with_it(north: SharingNode, asker: Asker) -> None:
    await permit(north, until=north.clock.now() + 3600)
    request = asker.request()
    assert (await asker.send(request, None)).verdict is Verdict.PERMIT
    north.clock.offset += 3601
    with pytest.raises(ReleaseExpired):
        await started(north, asker, request)
    assert await asker.ask(None) == "not_released"
    assert await asker.cause() == "consent_expired"


async def test_demographics_that_do_not_confirm_wait_for_a_person(north: SharingNode, asker: Asker) -> None:
    await permit(north)
    request = asker.request(subject=Subject(None, Demographics("Else^Somebody", STUDY.birth_date, STUDY.sex)))
    assert (await asker.send(request, None)).verdict is Verdict.REVIEW
    (entry,) = await north.inbox.page()
    assert (entry.consent, entry.reasons) == (ConsentKind.DIRECTIVE, ("name_conflict",))
    assert await north.inbox.release(request.request_id, by=ACTOR) == (UID,)
    await started(north, asker, request)


async def test_a_directive_that_cannot_be_is_not_recorded(north: SharingNode) -> None:
    mine = order(north)
    for wrong in [
        replace(mine, patient=PatientKey("HERE", " ")),
        replace(mine, scope=Scope(modalities=frozenset({"much too long for CS"}))),
        replace(mine, scope=Scope(from_date="20200230")),
        replace(mine, scope=Scope(from_date="20210101", to_date="20200101")),
        replace(mine, scope=Scope(studies=frozenset(StudyInstanceUID(f"1.2.{n}") for n in range(201)))),
        replace(mine, until=1),
        replace(mine, starts_at=-1),
        replace(mine, recorded_by="x" * 129),
    ]:
        with pytest.raises(InvalidDirective):
            await north.consents.add(wrong, by=ACTOR)
    assert await north.events(AuditType.CONSENT_RECORDED) == []


async def test_who_records_for_an_unknown_patient_is_told(north: SharingNode) -> None:
    known, unknown = order(north), order(north, patient=PatientKey("HERE", "CT-OOO1"))
    assert (await north.consents.add(known, by=ACTOR)).studies == 1
    assert (await north.consents.add(unknown, by=ACTOR)).studies == 0


# A patient's key


async def test_a_grant_releases_without_demographics_and_as_often_as_it_is_used(
    north: SharingNode, asker: Asker
) -> None:
    key = await patient_key(north)
    grant = granted(key, north.peer_id, asker.me.peer_id, north.clock.now())
    for _ in range(2):
        request = asker.request(subject=Subject())
        assert (await asker.send(request, GrantProof(grant))).verdict is Verdict.PERMIT
        await started(north, asker, request)
    (entry,) = await north.consents.page(by=ACTOR)
    assert (entry.kind, entry.recipient, entry.patient) == (
        ConsentKind.PATIENT_KEY, asker.me.peer_id, north.patient(STUDY),
    )  # fmt: skip


async def test_a_grant_counts_only_as_it_was_signed(north: SharingNode, asker: Asker) -> None:
    key, now = await patient_key(north), north.clock.now()
    me, holder = asker.me.peer_id, north.peer_id
    stranger = Identity.generate()
    for proof, heard in {
        granted(stranger, holder, me, now): "not_released",  # a key that nobody bound
        granted(key, stranger.peer_id, me, now): "not_released",  # for another holder
        granted(key, holder, stranger.peer_id, now): "not_released",  # for another recipient
        granted(key, holder, me, now, key=stranger.public_key, signer=key): "not_released",  # names another signer
        granted(key, holder, me, now, signer=stranger): "not_released",  # signed by another
        granted(key, holder, me, now - 10_000, expires_at=now - 1): "consent_expired",
        granted(key, holder, me, now + 500): "consent_expired",  # not yet
        granted(key, holder, me, now, purposes=frozenset({PurposeOfUse.HRESCH})): "purpose_not_covered",
        granted(key, holder, me, now, scope=Scope(studies=frozenset({OTHER_UID}))): "consent_other_study",
        granted(key, holder, me, now, expires_at=now + 400 * 86_400): "not_released",  # longer than a year
    }.items():
        assert await asker.ask(GrantProof(proof)) == heard
    assert await asker.ask(GrantProof(granted(key, holder, me, now)), OTHER_UID) == "consent_other_study"
    assert await north.events(AuditType.RELEASED) == []


async def test_no_changed_grant_is_a_grant(north: SharingNode, asker: Asker) -> None:
    key = await patient_key(north)
    token = granted(key, north.peer_id, asker.me.peer_id, north.clock.now(), scope=Scope(frozenset({UID})))
    header, payload, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    widened = [
        {**said, "sub": Identity.generate().peer_id.compact},
        {**said, "aud": asker.me.peer_id.compact},
        {**said, "key": base64.urlsafe_b64encode(Identity.generate().public_key).decode().rstrip("=")},
        {**said, "jti": "0" * 32},
        {**said, "nbf": said["nbf"] - 1},
        {**said, "exp": said["exp"] + 1},
        {**said, "studies": []},
        {**said, "modalities": ["CT"]},
        {**said, "body_parts": ["CHEST"]},
        {**said, "from_date": "20000101"},
        {**said, "to_date": "20990101"},
        {**said, "purposes": ["TREAT", "HRESCH"]},
        {**said, "v": 2},
        {**said, "more": 1},
    ]
    assert {name for one in widened for name in one if one[name] != said.get(name)} >= set(said), "each is changed"
    forged = [
        f"{header}.{base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip('=')}.{signature}"
        for one in widened
    ]
    forged += [token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in range(0, len(token), 3)]
    forged += [token[:-1], token + "A", f"{header}.{payload}.", f"{header}.{payload}", "", token.upper()]
    async with north.db.read() as rx:
        assert await read_grant(rx, token, north.peer_id) is not None
        assert [one for one in forged if await read_grant(rx, one, north.peer_id) is not None] == []
    assert await asker.ask(GrantProof(forged[0])) == "not_released"
    assert await asker.ask(GrantProof(token)) == "permit"


async def test_two_grants_under_one_number_are_one(north: SharingNode, asker: Asker) -> None:
    key, now = await patient_key(north), north.clock.now()
    first = grant_text(key, north.peer_id, asker.me.peer_id, now)
    narrow = granted(key, north.peer_id, asker.me.peer_id, now, jti=first.jti)
    wide = granted(key, north.peer_id, asker.me.peer_id, now, jti=first.jti, expires_at=now + 86_400)
    assert await asker.ask(GrantProof(narrow)) == "permit"
    assert await asker.ask(GrantProof(wide)) == "not_released"
    assert await asker.ask(GrantProof(narrow)) == "permit"


async def test_a_key_is_bound_once_and_revoked_with_all_that_it_signed(north: SharingNode, asker: Asker) -> None:
    key = await patient_key(north)
    with pytest.raises(PatientKeyKnown):
        await north.consents.bind_key(north.patient(OTHER), key.public_key, by=ACTOR)
    with pytest.raises(InvalidPatientKey):
        await north.consents.bind_key(north.patient(OTHER), b"short", by=ACTOR)
    with pytest.raises(NoSuchPatientKey):
        await north.consents.revoke_key(bytes(32), by=ACTOR)
    grant = GrantProof(granted(key, north.peer_id, asker.me.peer_id, north.clock.now()))
    released, waiting = asker.request(), asker.request(subject=Subject(None, Demographics("Else^Somebody", "", "")))
    assert (await asker.send(released, grant)).verdict is Verdict.PERMIT
    assert (await asker.send(waiting, grant)).verdict is Verdict.REVIEW
    _, effects = await north.consents.revoke_key(key.public_key, by=ACTOR)
    assert (effects.stopped, effects.refused) == (1, 1)
    assert await asker.ask(grant) == "consent_revoked"
    fresh = GrantProof(granted(key, north.peer_id, asker.me.peer_id, north.clock.now()))
    assert await asker.ask(fresh) == "consent_revoked"
    with pytest.raises(ConsentRevoked):
        await started(north, asker, released)
    assert [k.revoked_at is None for k in await north.consents.keys(north.patient(STUDY), by=ACTOR)] == [False]
    assert (
        len(await north.events(AuditType.PATIENT_KEY_BOUND))
        == len(await north.events(AuditType.PATIENT_KEY_REVOKED))
        == 1
    )


# Another facility's word


async def test_an_attestation_counts_where_the_policy_says_so(
    north: SharingNode, lake: SharingNode, asker: Asker
) -> None:
    request = asker.request()
    assert (await asker.send(request, FORM)).verdict is Verdict.PERMIT
    await started(north, asker, request)
    (entry,) = await north.consents.page(north.patient(STUDY), by=ACTOR)
    assert (entry.kind, entry.recorded_by, entry.scope.studies) == (ConsentKind.ATTESTED, "nurse.n", frozenset({UID}))
    await north.trust.set_policy(lake.peer_id, {"accept_attested": "false"})
    assert await asker.ask(FORM) == "not_released"
    assert await asker.cause() == "consent_kind_not_accepted"


async def test_break_glass_is_capped_reviewed_and_seen(north: SharingNode, asker: Asker) -> None:
    first = glass(asker)
    assert (await asker.send(first, GLASS)).verdict is Verdict.PERMIT
    assert (await asker.send(glass(asker), GLASS)).verdict is Verdict.PERMIT
    assert (await asker.send(glass(asker), GLASS)).code == "not_released"
    assert await asker.cause() == "emergency_limit"
    assert await asker.ask(GLASS) == "not_released", "it is for emergency treatment alone"

    assert await north.emergencies.pending() == 2
    entries = await north.emergencies.page(pending=True, by=ACTOR)
    assert {e.reason for e in entries} == {GLASS.reason}
    assert {(e.patient, e.studies, e.user) for e in entries} == {(north.patient(STUDY), (UID,), "dr.who")}

    async def judge(request_id: RequestId) -> EmergencyReview:
        return await north.emergencies.review(
            request_id, justified=False, note="no emergency", patient_told=True, by="user:officer"
        )

    review = await judge(first.request_id)
    assert (review.verdict, review.told_at) == ("unjustified", north.clock.now())
    with pytest.raises(EmergencyReviewed):
        await judge(first.request_id)
    with pytest.raises(NoSuchEmergency):
        await judge(RequestId.new())
    assert await north.emergencies.pending() == 1
    assert len(await north.emergencies.page(pending=False, by=ACTOR)) == 2
    (event,) = await north.events(AuditType.EMERGENCY_REVIEWED)
    assert (event.actor, event.patient, event.request) == ("user:officer", north.patient(STUDY), first.request_id)
    assert event.detail == {"verdict": "unjustified", "note": "no emergency", "patient_told": 1}


async def test_fifty_emergencies_at_once_keep_the_cap(north: SharingNode, asker: Asker) -> None:
    answers = await asyncio.gather(*(asker.send(glass(asker), GLASS) for _ in range(50)))
    assert [answer.verdict for answer in answers].count(Verdict.PERMIT) == 2
    north.clock.offset += 86_400
    assert (await asker.send(glass(asker), GLASS)).verdict is Verdict.PERMIT, "another day"


# Policies


async def test_policies_narrow_every_kind(north: SharingNode, lake: SharingNode, asker: Asker) -> None:
    await permit(north)
    for policy, heard, cause in [
        ({"accept_directive": "false"}, "not_released", "consent_kind_not_accepted"),
        ({"accept_directive": "true", "purposes": "HRESCH"}, "not_released", "purpose_not_covered"),
        ({"purposes": "", "daily_releases": "1"}, "permit", ""),
        ({}, "not_released", "release_quota_reached"),
        ({"daily_releases": "0"}, "permit", ""),
    ]:
        await north.trust.set_policy(lake.peer_id, policy)
        assert (await asker.ask(None), await asker.cause()) == (heard, cause)


async def test_outside_the_hours_a_person_decides(north: SharingNode, lake: SharingNode, asker: Asker) -> None:
    await permit(north)
    local = time.localtime(north.clock.now())
    hour = (local.tm_hour + 2) % 24
    await north.trust.set_policy(lake.peer_id, {"hours": f"{hour:02}:00-{hour:02}:30"})
    assert await asker.ask(None) == "review"
    assert [e.reasons for e in await north.inbox.page()] == [("outside_hours",)]


# Denials and opting out


async def test_a_denial_ends_what_it_forbids_and_nothing_else(north: SharingNode, asker: Asker) -> None:
    await permit(north)
    await north.consents.add(order(north, study=OTHER), by=ACTOR)
    said = Subject(None, Demographics(OTHER.patient_name, OTHER.birth_date, OTHER.sex))
    mine, others, waiting = asker.request(), asker.request(OTHER_UID, subject=said), asker.request(subject=Subject())
    for request in (mine, others):
        assert (await asker.send(request, None)).verdict is Verdict.PERMIT
    assert (await asker.send(waiting, None)).verdict is Verdict.REVIEW
    elsewhere = order(north, Effect.DENY, recipient=Identity.generate().peer_id)
    assert (await north.consents.add(elsewhere, by=ACTOR)).effects.stopped == 0
    research = order(north, Effect.DENY, purposes=frozenset({PurposeOfUse.HRESCH}))
    assert (await north.consents.add(research, by=ACTOR)).effects.refused == 0

    effects = (await north.consents.add(order(north, Effect.DENY), by=ACTOR)).effects
    assert (effects.stopped, effects.refused, effects.copies) == (1, 1, ())
    assert await north.inbox.page() == []
    assert [(e.request, e.code, e.outcome) for e in await north.events(AuditType.REQUEST_DECIDED)][-1] == (
        waiting.request_id, "consent_denied", Outcome.REFUSED,
    )  # fmt: skip
    with pytest.raises(ConsentRevoked):
        await started(north, asker, mine)
    await started(north, asker, others)
    assert await asker.ask(None) == "not_released"
    assert await asker.cause() == "consent_denied"


async def test_a_denial_that_begins_later_ends_things_then(north: SharingNode, asker: Asker) -> None:
    await permit(north)
    request = asker.request()
    await asker.send(request, None)
    now = north.clock.now()
    await north.consents.add(order(north, Effect.DENY, starts_at=now + 3600), by=ACTOR)
    await started(north, asker, request)
    north.clock.offset += 3601

    async def has_failed() -> bool:
        return (await north.requests.transfer(request.request_id)).state is TransferState.FAILED

    async with in_background(north.consents.run()):
        await until(has_failed)


async def test_a_denial_that_began_is_told_once_and_not_at_every_start(tmp_path: Path, north: SharingNode) -> None:
    async with sharing_node("hill", tmp_path) as hill:
        await befriend(north, hill)
        await permit(north)
        view = await hill.requests.wait(await hill.requests.ask(hill.order(north, STUDY, None, subject=SAYS), by=ACTOR))
        assert view.state == "COMPLETED"

        async def signed_for() -> bool:
            (transfer,) = await north.requests.transfers()
            return transfer.state is TransferState.COMPLETED

        await until(signed_for)
        await north.consents.add(order(north, Effect.DENY, starts_at=north.clock.now() + 3600), by=ACTOR)
        north.clock.offset += 3601
        for _ in range(2):  # a start and another

            async def looked() -> bool:
                return bool(await north.withdrawals.page(study=UID))

            async with in_background(north.consents.run()):
                await until(looked)
                await asyncio.sleep(0.3)
        assert len(await north.withdrawals.page(study=UID)) == 1


async def test_who_opted_out_is_released_by_no_word_of_others(north: SharingNode, asker: Asker) -> None:
    running = asker.request()
    await asker.send(running, FORM)
    assert (await north.consents.opt_out(north.patient(STUDY), by=ACTOR)).stopped == 1
    assert (await north.consents.opt_out(north.patient(STUDY), by=ACTOR)).stopped == 0
    for proof in (FORM, GLASS):
        assert await asker.ask(proof, purpose=PurposeOfUse.ETREAT) == "not_released"
        assert await asker.cause() == "patient_opted_out"
    await permit(north)
    assert await asker.ask(None) == "permit", "the patient's own word"
    await north.consents.opt_in(north.patient(STUDY), by=ACTOR)
    assert await asker.ask(FORM) == "permit"
    assert (
        len(await north.events(AuditType.PATIENT_OPTED_OUT)) == len(await north.events(AuditType.PATIENT_OPTED_IN)) == 1
    )


async def test_emergencies_that_wait_take_their_place_under_the_cap(north: SharingNode, asker: Asker) -> None:
    stranger = Subject(None, Demographics("Else^Somebody", "", ""))
    waiting = [asker.request(purpose=PurposeOfUse.ETREAT, subject=stranger) for _ in range(2)]
    for request in waiting:
        assert (await asker.send(request, GLASS)).verdict is Verdict.REVIEW
    third = asker.request(purpose=PurposeOfUse.ETREAT)
    assert (await asker.send(third, GLASS)).verdict is Verdict.REFUSE, "the cap is two a day"
    assert (await north.inbox.one(waiting[0].request_id)).word == GLASS.reason
    await north.inbox.refuse(waiting[0].request_id, reason="not an emergency", by=ACTOR)
    fourth = asker.request(purpose=PurposeOfUse.ETREAT)
    assert (await asker.send(fourth, GLASS)).verdict is Verdict.PERMIT, "a refused one leaves its place"
    await north.inbox.release(waiting[1].request_id, by=ACTOR)  # what waited is not refused for having waited
    assert await north.emergencies.pending() == 2


# Revoking


async def test_revoking_any_kind_ends_what_rests_on_it(north: SharingNode, asker: Asker) -> None:
    key = await patient_key(north)
    grant = GrantProof(granted(key, north.peer_id, asker.me.peer_id, north.clock.now()))
    await permit(north)
    for proof, kind in ((None, "directive"), (grant, "patient_key"), (FORM, "attested"), (GLASS, "emergency")):
        purpose = PurposeOfUse.ETREAT if proof is GLASS else PurposeOfUse.TREAT
        released, waiting = (
            asker.request(purpose=purpose),
            asker.request(purpose=purpose, subject=Subject(None, Demographics("Else^Somebody", "", ""))),
        )
        assert (await asker.send(released, proof)).verdict is Verdict.PERMIT
        assert (await asker.send(waiting, proof)).verdict is Verdict.REVIEW
        entries = {entry.consent_id: entry for entry in await north.consents.page(by=ACTOR) if entry.kind == kind}
        assert all(entry.revoked_at is None for entry in entries.values())
        stopped = refused = 0
        for consent_id in entries:  # a word is one for each request
            entry, effects = await north.consents.revoke(consent_id, by=ACTOR)
            assert entry.revoked_at is not None
            stopped, refused = stopped + effects.stopped, refused + effects.refused
            again = await north.consents.revoke(consent_id, by=ACTOR)
            assert (again[0].revoked_at, again[1].stopped) == (entry.revoked_at, 0)
        assert (stopped, refused) == (1, 1), kind
        with pytest.raises(ConsentRevoked):
            await started(north, asker, released)
        heard = await asker.send(waiting, proof)
        assert heard.code == ("consent_revoked" if kind == "patient_key" else "not_released")
    assert await north.inbox.page() == []
    revoked = await north.events(AuditType.CONSENT_REVOKED)
    assert {event.detail["consent"] for event in revoked} == {"directive", "patient_key", "attested", "emergency"}
    with pytest.raises(NoSuchConsent):
        await north.consents.revoke(ConsentId.new(), by=ACTOR)


async def test_a_share_code_is_revoked_by_the_same_door(north: SharingNode) -> None:
    made = await north.share_codes.create(north.patient(STUDY), by=ACTOR)
    entry, _ = await north.consents.revoke(made.consent.consent_id, by=ACTOR)
    assert (entry.kind, entry.scope.studies) == (ConsentKind.SHARE_CODE, frozenset({UID}))
    assert (await north.share_codes.page())[0].revoked_at is not None
    assert len(await north.events(AuditType.SHARE_CODE_REVOKED)) == 1
    await north.consents.revoke(made.consent.consent_id, by=ACTOR)
    assert len(await north.events(AuditType.SHARE_CODE_REVOKED)) == 1


async def test_a_request_goes_on_waiting_while_another_permission_covers_it(north: SharingNode, asker: Asker) -> None:
    first = await permit(north)
    request = asker.request(subject=Subject())
    assert (await asker.send(request, None)).verdict is Verdict.REVIEW
    await permit(north)
    _, effects = await north.consents.revoke(first, by=ACTOR)
    assert effects.refused == 0
    await north.inbox.release(request.request_id, by=ACTOR)
    await started(north, asker, request)


async def test_a_running_stream_ends_within_a_second_and_copies_are_named(tmp_path: Path, north: SharingNode) -> None:
    big = CtStudy(instances=40, rows=128, seed=9, patient_id="CT-0009", patient_name="Big^Bo")
    await north.hold(big)
    async with sharing_node("hill", tmp_path) as hill:
        await befriend(north, hill)
        await north.trust.set_policy(hill.peer_id, {"max_rate": "100KB"})
        consent_id = (await north.consents.add(order(north, study=big), by=ACTOR)).directive.consent_id
        says = Subject(None, Demographics(big.patient_name, big.birth_date, big.sex))
        request_id = await hill.requests.ask(hill.order(north, big, None, subject=says), by=ACTOR)

        async def is_moving() -> bool:
            return (await hill.requests.view(request_id)).transfer.state is TransferState.TRANSFERRING

        await until(is_moving)
        _, effects = await north.consents.revoke(consent_id, by=ACTOR)
        assert (effects.stopped, effects.copies) == (1, ())
        async with asyncio.timeout(20):
            view = await hill.requests.wait(request_id)
        assert (view.state, view.code) == ("FAILED", "consent_revoked")
        assert big.study_uid not in {s.study_instance_uid for s in await hill.store.studies()}

        await north.trust.set_policy(hill.peer_id, {"max_rate": "0"})
        small = await permit(north)
        view = await hill.requests.wait(await hill.requests.ask(hill.order(north, STUDY, None, subject=SAYS), by=ACTOR))
        assert view.state == "COMPLETED"
        await until(lambda: north.events(AuditType.RECEIPT_RECEIVED))
        _, effects = await north.consents.revoke(small, by=ACTOR)
        assert (effects.stopped, effects.copies) == (0, (hill.peer_id,))
        await until(hill.withdrawals.received)
        (told,) = await hill.withdrawals.received()
        assert (told.peer, told.study, told.kind) == (north.peer_id, UID, WithdrawalKind.CONSENT_REVOKED)
        assert (told.instances, told.outcome) == (2, NoticeOutcome.DONE)
        assert UID in {s.study_instance_uid for s in await hill.store.studies()}, "nobody can call it back"
        assert (await north.consents.revoke(small, by=ACTOR))[1].copies == (hill.peer_id,)
        assert (await north.consents.add(order(north, Effect.DENY), by=ACTOR)).effects.copies == (hill.peer_id,)
        assert (await north.consents.add(order(north, Effect.DENY, study=OTHER), by=ACTOR)).effects.copies == ()


# What others can tell from an answer


async def test_every_refusal_without_a_proof_is_alike(north: SharingNode, lake: SharingNode, asker: Asker) -> None:
    await north.consents.add(order(north, Effect.DENY), by=ACTOR)
    await north.consents.opt_out(north.patient(OTHER), by=ACTOR)
    unknown = StudyInstanceUID("1.2.3.4.5.6.7.8.9")
    cases: dict[str, tuple[Proof | None, StudyTarget]] = {
        "consent_denied": (FORM, UID),
        "patient_opted_out": (FORM, OTHER_UID),
        "no_consent": (None, OTHER_UID),
        "unknown study": (FORM, unknown),
        "unknown ref": (None, StudyRef.new()),
        "foreign grant": (GrantProof(granted(Identity.generate(), north.peer_id, asker.me.peer_id, 1)), UID),
    }
    answers: dict[str, DecisionNotice] = {}
    sizes: set[int] = set()
    for name, (proof, target) in cases.items():
        request, began = asker.request(target), time.monotonic()
        text = await north.holder.receive(asker.me.peer_id, asker.token(request, proof))
        assert time.monotonic() - began >= REFUSAL_GRID - 0.01, f"{name} is answered before its time"
        sizes.add(len(text))
        payload = verify_jws(text, JwsType.DECISION, north.identity.public_key, max_bytes=4096)
        answers[name] = decode_decision(payload)
    await north.trust.set_policy(lake.peer_id, {"accept_attested": "false"})
    answers["kind"] = await asker.send(asker.request(), FORM)
    assert {(answer.verdict, answer.code) for answer in answers.values()} == {(Verdict.REFUSE, "not_released")}
    assert len(sizes) == 1


async def test_looking_is_logged(north: SharingNode) -> None:
    consent_id = await permit(north)
    await north.consents.page(by="user:a")
    await north.consents.page(north.patient(STUDY), by="user:b")
    await north.consents.directive(consent_id, by="user:c")
    seen: list[AuditEvent] = await north.events(AuditType.CONSENTS_READ)
    assert [(event.actor, event.patient) for event in seen] == [
        ("user:a", None), ("user:b", north.patient(STUDY)), ("user:c", north.patient(STUDY)),
    ]  # fmt: skip
    with pytest.raises(NoSuchConsent):
        await north.consents.directive(ConsentId.new(), by=ACTOR)


async def started(north: SharingNode, asker: Asker, request: ReleaseRequest) -> None:
    """The first object of a release may be streamed now; raises why not."""
    async with north.objects.open(asker.me.peer_id, request.request_id, [0]):
        pass
