"""All five kinds of consent: nothing without one, DENY always wins, and never more than it says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.model.consent import CodeConsent, ConsentId, ConsentKind, PurposeOfUse, RefusalCode
from node.model.decide import (
    Consent,
    Decision,
    FoundStudy,
    Identification,
    Match,
    MatchGrade,
    Permit,
    Refuse,
    Review,
    ReviewReason,
    Standing,
    decide,
)
from node.model.directive import Directive, Effect, Scope, StudyTraits, permitted_on_file
from node.model.evidence import EMERGENCY_SECONDS, EMERGENCY_STUDIES, Attestation, Emergency, Grant
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.model.release import RELEASE_SECONDS
from node.model.request import ReleaseRequest, Subject
from node.model.trust import PeerPolicy

HOLDER, REQUESTER, OTHER = (PeerId(letter * 32) for letter in (b"h", b"r", b"o"))
ANNE, BERT = PatientKey("HERE", "1"), PatientKey("HERE", "2")
STUDIES = [StudyInstanceUID(f"1.2.{n}") for n in range(4)]
NOW = 1_000_000
CT, MR = StudyTraits(frozenset({"CT", "SR"}), frozenset({"HEAD"}), "20200101"), StudyTraits(frozenset({"MR"}))
SURE = Identification(MatchGrade.CONFIRMED)
OPEN = PeerPolicy(accept_attested=True, accept_emergency=True)
CAP = Standing(emergency_cap=3)


def request_for(*wanted: StudyInstanceUID, purpose: PurposeOfUse = PurposeOfUse.TREAT) -> ReleaseRequest:
    return ReleaseRequest(RequestId(bytes(16)), HOLDER, REQUESTER, "u", "r", purpose, Subject(), wanted)


def found(*studies: StudyInstanceUID, about: Identification = SURE, traits: StudyTraits = CT) -> Match:
    return Match(tuple(FoundStudy(s, s, ANNE, True, traits, about) for s in studies))


def consent_id(number: int = 0) -> ConsentId:
    return ConsentId(bytes([number]) * 16)


PERMIT = Directive(consent_id(1), ANNE, Effect.PERMIT)
DENY = Directive(consent_id(2), ANNE, Effect.DENY)
GRANT = Grant(
    consent_id(3), ANNE, REQUESTER, Scope(), frozenset({PurposeOfUse.TREAT}), not_before=NOW, expires_at=NOW + 1000
)
ATTESTED = Attestation(consent_id(4), bytes(32), "nurse")
EMERGENCY = Emergency(consent_id(5), "unconscious", "dr")
CODE = CodeConsent(consent_id(6), ANNE, frozenset(STUDIES), 0, NOW + 500, 1)


# Properties -----------------------------------------------------------------------------------------------------------

times = st.sampled_from([NOW - 1, NOW, NOW + 1, NOW + RELEASE_SECONDS * 2])
peers = st.sampled_from([REQUESTER, OTHER])
patients = st.sampled_from([ANNE, BERT])
ids = st.integers(0, 5).map(consent_id)
purposes = st.frozensets(st.sampled_from(PurposeOfUse), max_size=3)
scopes = st.builds(
    Scope,
    st.frozensets(st.sampled_from(STUDIES), max_size=2),
    st.frozensets(st.sampled_from(["CT", "MR"]), max_size=2),
    st.frozensets(st.sampled_from(["HEAD", "CHEST"]), max_size=1),
    st.sampled_from(["", "20190101", "20210101"]),
    st.sampled_from(["", "20200601"]),
)
directives = st.builds(
    Directive,
    ids,
    patients,
    st.sampled_from(Effect),
    st.none() | peers,
    scopes,
    purposes,
    starts_at=times,
    until=st.none() | times,
    revoked_at=st.none() | times,
)
grants = st.builds(Grant, ids, patients, peers, scopes, purposes, times, times, st.none() | times)
codes = st.builds(
    CodeConsent,
    ids,
    patients,
    st.frozensets(st.sampled_from(STUDIES)),
    st.just(0),
    times,
    st.integers(1, 2),
    st.integers(0, 2),
)
evidence = st.one_of(st.builds(Attestation, ids, st.just(bytes(32))), st.builds(Emergency, ids, st.just("why")))
consents = st.one_of(directives, grants, codes, evidence)
identifications = st.one_of(
    st.just(SURE),
    st.just(Identification()),
    st.just(Identification(MatchGrade.CONFLICT, frozenset({ReviewReason.NAME_CONFLICT}))),
)
matches = st.lists(
    st.builds(
        lambda study, patient, own, traits, about, out: FoundStudy(study, study, patient, own, traits, about, out),
        st.sampled_from(STUDIES),
        patients,
        st.booleans(),
        st.sampled_from([CT, MR, StudyTraits()]),
        identifications,
        st.booleans(),
    ),
    max_size=4,
).map(lambda studies: Match(tuple(studies)))
requests = st.builds(
    lambda wanted, purpose: request_for(*wanted, purpose=purpose),
    st.lists(st.sampled_from(STUDIES), min_size=1, max_size=4, unique=True),
    st.sampled_from(PurposeOfUse),
)
policies = st.builds(
    PeerPolicy,
    accept_share_code=st.booleans(),
    accept_patient_key=st.booleans(),
    accept_directive=st.booleans(),
    accept_attested=st.booleans(),
    accept_emergency=st.booleans(),
    auto_release=st.booleans(),
    daily_releases=st.sampled_from([0, 1]),
    purposes=st.sampled_from(["", "TREAT", "ETREAT,TREAT"]),
)
standings = st.builds(Standing, st.integers(0, 1), st.integers(0, 1), st.integers(0, 2), st.booleans())


def permit_of(decision: Decision) -> Permit | None:
    return decision.permit if isinstance(decision, Review) else decision if isinstance(decision, Permit) else None


@given(requests, policies, st.lists(consents, max_size=4), matches, standings)
def test_a_permit_rests_on_one_valid_consent_and_keeps_within_it(
    request: ReleaseRequest, policy: PeerPolicy, given_consents: list[Consent], match: Match, standing: Standing
) -> None:
    permit = permit_of(decide(request, policy, given_consents, match, NOW, standing=standing))
    if permit is None:
        return
    behind = [c for c in given_consents if c.consent_id == permit.consent_id and c.refusal(NOW) is None]
    assert behind
    assert policy.accepts(permit.kind)
    assert 0 < permit.seconds <= (EMERGENCY_SECONDS if permit.kind is ConsentKind.EMERGENCY else RELEASE_SECONDS)
    denials = [c for c in given_consents if isinstance(c, Directive) and c.effect is Effect.DENY]
    for study in permit.scope:
        asked = [f for f in match.studies if f.study == study and f.is_own and f.target in request.targets]
        assert asked
        assert any(_allows(c, f) for f in asked for c in behind)
        for denial in denials:
            if denial.refusal(NOW) is None and denial.is_about(request.requester, request.purpose):
                assert not all(denial.denies(f.patient, f.study, f.traits) for f in asked)


def _allows(consent: Consent, study: FoundStudy) -> bool:
    match consent:
        case CodeConsent():
            return consent.patient == study.patient and study.study in consent.studies
        case Grant() | Directive():
            return consent.patient == study.patient and consent.scope.surely_covers(study.study, study.traits)
        case _:
            return not study.opted_out


@given(requests, policies, matches, standings)
def test_without_any_consent_nothing_is_released_or_said(
    request: ReleaseRequest, policy: PeerPolicy, match: Match, standing: Standing
) -> None:
    assert decide(request, policy, (), match, NOW, standing=standing) == Refuse(RefusalCode.NOT_RELEASED)


@given(requests, policies, st.lists(consents, max_size=3), matches, standings, directives)
def test_a_further_deny_never_releases_more(  # noqa: PLR0917 - one strategy each
    request: ReleaseRequest,
    policy: PeerPolicy,
    given_consents: list[Consent],
    match: Match,
    standing: Standing,
    directive: Directive,
) -> None:
    deny = replace(directive, effect=Effect.DENY)
    before = decide(request, policy, given_consents, match, NOW, standing=standing)
    after = decide(request, policy, [*given_consents, deny], match, NOW, standing=standing)
    released_before = before.scope if isinstance(before, Permit) else frozenset()
    released_after = after.scope if isinstance(after, Permit) else frozenset()
    assert released_after <= released_before
    reviewed_before, reviewed_after = permit_of(before), permit_of(after)
    assert (reviewed_after.scope if reviewed_after else frozenset()) <= (
        reviewed_before.scope if reviewed_before else frozenset()
    )


@given(requests, policies, st.lists(st.one_of(directives, evidence), max_size=3), matches, standings)
def test_who_proved_nothing_hears_one_word(
    request: ReleaseRequest, policy: PeerPolicy, given_consents: list[Consent], match: Match, standing: Standing
) -> None:
    decision = decide(request, policy, given_consents, match, NOW, standing=standing)
    if isinstance(decision, Refuse):
        assert decision.code is RefusalCode.NOT_RELEASED


# Cases ----------------------------------------------------------------------------------------------------------------


def scope_of(*studies: StudyInstanceUID) -> frozenset[StudyInstanceUID]:
    return frozenset(studies)


def test_a_directive_on_file_releases_to_a_confirmed_match() -> None:
    decision = decide(request_for(STUDIES[0]), OPEN, [PERMIT], found(STUDIES[0]), NOW)
    assert decision == Permit(scope_of(STUDIES[0]), PERMIT.consent_id, ConsentKind.DIRECTIVE)


@pytest.mark.parametrize("consent", [PERMIT, ATTESTED])
@pytest.mark.parametrize(
    ("about", "reason"),
    [
        (Identification(), ReviewReason.NOT_IDENTIFIED),
        (Identification(MatchGrade.CANDIDATE, frozenset({ReviewReason.NAMESAKES})), ReviewReason.NAMESAKES),
        (Identification(MatchGrade.CONFLICT, frozenset({ReviewReason.SEX_CONFLICT})), ReviewReason.SEX_CONFLICT),
    ],
)
def test_what_is_unconfirmed_waits_for_a_person(consent: Consent, about: Identification, reason: ReviewReason) -> None:
    decision = decide(request_for(STUDIES[0]), OPEN, [consent], found(STUDIES[0], about=about), NOW)
    assert isinstance(decision, Review)
    assert decision.reasons == {reason}


def test_a_code_identifies_by_itself() -> None:
    match = found(STUDIES[0], about=Identification(MatchGrade.CANDIDATE, frozenset({ReviewReason.NOT_IDENTIFIED})))
    assert isinstance(decide(request_for(STUDIES[0]), OPEN, [CODE], match, NOW), Permit)


@pytest.mark.parametrize("consent", [CODE, GRANT, PERMIT, ATTESTED])
def test_deny_wins_over_every_kind(consent: Consent) -> None:
    decision = decide(request_for(STUDIES[0]), OPEN, [consent, DENY], found(STUDIES[0]), NOW)
    heard = RefusalCode.CONSENT_DENIED if consent.is_proof else RefusalCode.NOT_RELEASED
    assert decision == Refuse(heard, RefusalCode.CONSENT_DENIED)


def test_deny_wins_over_an_emergency_too() -> None:
    request = request_for(STUDIES[0], purpose=PurposeOfUse.ETREAT)
    decision = decide(request, OPEN, [EMERGENCY, DENY], found(STUDIES[0]), NOW, standing=CAP)
    assert decision == Refuse(RefusalCode.NOT_RELEASED, RefusalCode.CONSENT_DENIED)


def test_a_deny_for_another_facility_or_purpose_says_nothing() -> None:
    for deny in (replace(DENY, recipient=OTHER), replace(DENY, purposes=frozenset({PurposeOfUse.HRESCH}))):
        assert isinstance(decide(request_for(STUDIES[0]), OPEN, [PERMIT, deny], found(STUDIES[0]), NOW), Permit)


def test_a_deny_takes_its_part_away() -> None:
    deny = replace(DENY, scope=Scope(studies=frozenset({STUDIES[1]})))
    decision = decide(request_for(*STUDIES[:2]), OPEN, [CODE, deny], found(*STUDIES[:2]), NOW)
    assert isinstance(decision, Permit)
    assert decision.scope == scope_of(STUDIES[0])


def test_what_a_study_does_not_say_is_read_against_release() -> None:
    scope = Scope(modalities=frozenset({"CT"}))
    assert not scope.surely_covers(STUDIES[0], StudyTraits())
    assert scope.may_cover(STUDIES[0], StudyTraits())
    dated = Scope(from_date="20200101")
    assert not dated.surely_covers(STUDIES[0], StudyTraits())
    assert dated.may_cover(STUDIES[0], StudyTraits())


def test_reports_travel_with_their_images() -> None:
    assert Scope(modalities=frozenset({"CT"})).surely_covers(STUDIES[0], CT)
    assert not Scope(modalities=frozenset({"CT"})).surely_covers(STUDIES[0], StudyTraits(frozenset({"CT", "PT"})))
    assert Scope(modalities=frozenset({"SR"})).surely_covers(STUDIES[0], StudyTraits(frozenset({"SR"})))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"recipient": OTHER}, RefusalCode.CONSENT_OTHER_STUDY),
        ({"patient": BERT}, RefusalCode.CONSENT_OTHER_STUDY),
        ({"not_before": NOW + 1}, RefusalCode.CONSENT_EXPIRED),
        ({"expires_at": NOW}, RefusalCode.CONSENT_EXPIRED),
        ({"revoked_at": NOW}, RefusalCode.CONSENT_REVOKED),
        ({"purposes": frozenset({PurposeOfUse.HRESCH})}, RefusalCode.PURPOSE),
        ({"scope": Scope(studies=frozenset({STUDIES[3]}))}, RefusalCode.CONSENT_OTHER_STUDY),
    ],
)
def test_each_reason_to_refuse_a_grant_is_told(change: dict[str, object], code: RefusalCode) -> None:
    grant = replace(GRANT, **change)  # type: ignore[arg-type]  # one field each, of its own type
    assert decide(request_for(STUDIES[0]), OPEN, [grant], found(STUDIES[0]), NOW) == Refuse(code, code)


def test_a_facilitys_word_counts_only_where_the_policy_says_so() -> None:
    decision = decide(request_for(STUDIES[0]), PeerPolicy(), [ATTESTED], found(STUDIES[0]), NOW)
    assert decision == Refuse(RefusalCode.NOT_RELEASED, RefusalCode.KIND)


def test_who_opted_out_is_released_only_by_their_own_word() -> None:
    match = Match((replace(found(STUDIES[0]).studies[0], opted_out=True),))
    decision = decide(request_for(STUDIES[0]), OPEN, [ATTESTED], match, NOW)
    assert decision == Refuse(RefusalCode.NOT_RELEASED, RefusalCode.OPTED_OUT)
    assert isinstance(decide(request_for(STUDIES[0]), OPEN, [CODE], match, NOW), Permit)


@pytest.mark.parametrize(
    ("policy", "standing", "purpose", "studies"),
    [
        (PeerPolicy(), CAP, PurposeOfUse.ETREAT, 1),
        (OPEN, Standing(), PurposeOfUse.ETREAT, 1),
        (OPEN, Standing(emergencies_today=3, emergency_cap=3), PurposeOfUse.ETREAT, 1),
        (OPEN, CAP, PurposeOfUse.TREAT, 1),
        (OPEN, CAP, PurposeOfUse.ETREAT, EMERGENCY_STUDIES + 1),
    ],
    ids=["policy", "off", "capped", "purpose", "too wide"],
)
def test_break_glass_is_narrow(policy: PeerPolicy, standing: Standing, purpose: PurposeOfUse, studies: int) -> None:
    wanted = [StudyInstanceUID(f"1.2.{n}") for n in range(studies)]
    decision = decide(
        request_for(*wanted, purpose=purpose), policy, [EMERGENCY], found(*wanted), NOW, standing=standing
    )
    assert isinstance(decision, Refuse)
    assert decision.code is RefusalCode.NOT_RELEASED


@pytest.mark.parametrize("word", [ATTESTED, EMERGENCY])
def test_a_word_is_about_one_patient(word: Attestation | Emergency) -> None:
    """Who decides sees one record, and the consent is kept under it: a second patient must not slip through."""
    purpose = PurposeOfUse.ETREAT if word is EMERGENCY else PurposeOfUse.TREAT
    asked = request_for(*STUDIES[:3], purpose=purpose)
    clash = Identification(MatchGrade.CONFLICT, frozenset({ReviewReason.NAME_CONFLICT}))
    berts = FoundStudy(STUDIES[0], STUDIES[0], BERT, is_own=True, traits=CT, identification=clash)
    both = Match((berts, *found(*STUDIES[1:3]).studies))
    decision = decide(asked, OPEN, [word], both, NOW, standing=CAP)
    assert isinstance(decision, Permit)
    assert decision.scope == frozenset(STUDIES[1:3])
    unsure = Match(tuple(replace(one, identification=clash) for one in both.studies))
    decision = decide(asked, OPEN, [word], unsure, NOW, standing=CAP)
    assert isinstance(decision, Review)
    assert decision.permit.scope == frozenset(STUDIES[:1])


def test_break_glass_lasts_a_day() -> None:
    request = request_for(STUDIES[0], purpose=PurposeOfUse.ETREAT)
    decision = decide(request, OPEN, [EMERGENCY], found(STUDIES[0]), NOW, standing=CAP)
    assert decision == Permit(scope_of(STUDIES[0]), EMERGENCY.consent_id, ConsentKind.EMERGENCY, EMERGENCY_SECONDS)


def test_quota_hours_and_purposes_of_the_policy() -> None:
    limited = replace(OPEN, daily_releases=1)
    used_up = decide(request_for(STUDIES[0]), limited, [CODE], found(STUDIES[0]), NOW, standing=Standing(1))
    assert used_up == Refuse(RefusalCode.QUOTA, RefusalCode.QUOTA)
    at_night = decide(
        request_for(STUDIES[0]), OPEN, [CODE], found(STUDIES[0]), NOW, standing=Standing(within_hours=False)
    )
    assert isinstance(at_night, Review)
    assert at_night.reasons == {ReviewReason.OUTSIDE_HOURS}
    research = replace(OPEN, purposes="HRESCH")
    assert decide(request_for(STUDIES[0]), research, [CODE], found(STUDIES[0]), NOW) == Refuse(
        RefusalCode.PURPOSE, RefusalCode.PURPOSE
    )


@pytest.mark.parametrize(
    ("hours", "minute", "inside"),
    [
        ("", 0, True),
        ("07:00-19:00", 7 * 60, True),
        ("07:00-19:00", 19 * 60, False),
        ("22:00-06:00", 23 * 60, True),
        ("22:00-06:00", 5 * 60, True),
        ("22:00-06:00", 12 * 60, False),
    ],
)
def test_hours_may_run_past_midnight(hours: str, minute: int, inside: bool) -> None:  # noqa: FBT001 - a parameter set
    assert PeerPolicy(hours=hours).is_within_hours(minute) is inside


@pytest.mark.parametrize(
    ("on_file", "told"),
    [
        ([], False),
        ([PERMIT], True),
        ([replace(PERMIT, recipient=REQUESTER)], True),
        ([replace(PERMIT, recipient=OTHER)], False),
        ([replace(PERMIT, patient=BERT)], False),
        ([replace(PERMIT, purposes=frozenset({PurposeOfUse.HRESCH}))], False),
        ([replace(PERMIT, scope=Scope(modalities=frozenset({"MR"})))], False),
        ([replace(PERMIT, until=NOW)], False),
        ([replace(PERMIT, revoked_at=NOW)], False),
        ([PERMIT, DENY], False),
        ([PERMIT, replace(DENY, recipient=OTHER)], True),
        ([DENY], False),
    ],
)
def test_announcements_tell_more_where_a_request_would_be_answered(on_file: list[Directive], *, told: bool) -> None:
    assert permitted_on_file(on_file, REQUESTER, PurposeOfUse.TREAT, ANNE, STUDIES[0], CT, NOW) is told
