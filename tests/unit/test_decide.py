"""The decision: total, and never wider than request, consent and policy allow."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import all_codes
from node.errors import sharing as _sharing  # noqa: F401 - its codes are looked up below
from node.model.consent import SHARE_CODE_PURPOSES, CodeConsent, ConsentId, PurposeOfUse, RefusalCode
from node.model.decide import (
    Decision,
    FoundStudy,
    Identification,
    Match,
    MatchGrade,
    Permit,
    Refuse,
    Review,
    ReviewReason,
    decide,
)
from node.model.directive import StudyTraits
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID, StudyRef
from node.model.request import ReleaseRequest, StudyTarget, Subject
from node.model.trust import PeerPolicy

HOLDER, REQUESTER = PeerId(b"h" * 32), PeerId(b"r" * 32)
PATIENTS = [PatientKey("HERE", "1"), PatientKey("HERE", "2"), PatientKey("THERE", "1")]
STUDIES = [StudyInstanceUID(f"1.2.{n}") for n in range(4)]
TARGETS: list[StudyTarget] = [*STUDIES, *(StudyRef(bytes([n]) * 16) for n in range(3))]
NOW = 1_000_000

times = st.integers(NOW - 2, NOW + 2)
patients = st.sampled_from(PATIENTS)
studies = st.sampled_from(STUDIES)
targets = st.sampled_from(TARGETS)


def request_for(*wanted: StudyTarget, purpose: PurposeOfUse = PurposeOfUse.TREAT) -> ReleaseRequest:
    return ReleaseRequest(RequestId(bytes(16)), HOLDER, REQUESTER, "u", "r", purpose, Subject(), wanted)


requests = st.builds(
    lambda wanted, purpose: request_for(*wanted, purpose=purpose),
    st.lists(targets, min_size=1, max_size=5, unique=True),
    st.sampled_from(PurposeOfUse),
)
consents = st.builds(
    CodeConsent,
    st.integers(0, 3).map(lambda n: ConsentId(bytes([n]) * 16)),
    patients,
    st.frozensets(studies),
    created_at=st.just(0),
    expires_at=times,
    uses=st.integers(1, 3),
    used=st.integers(0, 3),
    failures=st.integers(0, 3),
    locked_at=st.none() | times,
    revoked_at=st.none() | times,
)
identifications = st.one_of(
    st.just(Identification(MatchGrade.CONFIRMED)),
    st.builds(
        Identification,
        st.sampled_from([MatchGrade.CANDIDATE, MatchGrade.CONFLICT]),
        st.frozensets(st.sampled_from(ReviewReason), min_size=1, max_size=2),
    ),
)
traits = st.builds(
    StudyTraits,
    st.frozensets(st.sampled_from(["CT", "MR", "SR"]), max_size=2),
    st.frozensets(st.sampled_from(["HEAD", "CHEST"]), max_size=1),
    st.sampled_from(["", "20200101", "20250101"]),
)
found_studies = st.builds(FoundStudy, targets, studies, patients, st.booleans(), traits, identifications, st.booleans())
matches = st.builds(
    Match,
    st.lists(found_studies, max_size=6).map(tuple),
)
policies = st.builds(PeerPolicy, auto_release=st.booleans())


def permit_of(decision: Decision) -> Permit | None:
    if isinstance(decision, Review):
        return decision.permit
    return decision if isinstance(decision, Permit) else None


@given(requests, policies, st.lists(consents, max_size=3), matches)
def test_scope_is_within_request_consent_and_policy(
    request: ReleaseRequest, policy: PeerPolicy, given_consents: list[CodeConsent], match: Match
) -> None:
    decision = decide(request, policy, given_consents, match, NOW)
    permit = permit_of(decision)
    if permit is None:
        assert isinstance(decision, Refuse)
        return
    assert permit.scope
    behind = [c for c in given_consents if c.consent_id == permit.consent_id and c.refusal(NOW) is None]
    assert request.purpose in SHARE_CODE_PURPOSES
    for study in permit.scope:
        found = [f for f in match.studies if f.study == study and f.is_own and f.target in request.targets]
        assert any(study in c.studies and f.patient == c.patient for f in found for c in behind)
    if isinstance(decision, Permit):
        assert policy.auto_release
        released = [f for f in match.studies if f.study in permit.scope and f.is_own and f.target in request.targets]
        assert all(
            f.identification.grade is not MatchGrade.CONFLICT for f in released if f.patient == behind[0].patient
        )
    else:
        assert isinstance(decision, Review)
        assert decision.reasons


@given(requests, policies, matches)
def test_without_a_proved_consent_nothing_is_said(request: ReleaseRequest, policy: PeerPolicy, match: Match) -> None:
    assert decide(request, policy, (), match, NOW) == Refuse(RefusalCode.NOT_RELEASED)


@given(requests, policies, st.lists(consents, min_size=1, max_size=3), matches)
def test_a_proved_consent_is_told_the_reason(
    request: ReleaseRequest, policy: PeerPolicy, given_consents: list[CodeConsent], match: Match
) -> None:
    decision = decide(request, policy, given_consents, match, NOW)
    assert decision != Refuse(RefusalCode.NOT_RELEASED)


def refused(code: RefusalCode) -> Refuse:
    """What somebody hears who proved a consent: the cause itself."""
    return Refuse(code, code)


CONSENT = CodeConsent(ConsentId(bytes(16)), PATIENTS[0], frozenset(STUDIES[:2]), 0, NOW + 1, 1)
FOUND = Match((FoundStudy(STUDIES[0], STUDIES[0], PATIENTS[0], is_own=True),))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"revoked_at": NOW}, RefusalCode.REVOKED),
        ({"expires_at": NOW}, RefusalCode.EXPIRED),
        ({"locked_at": NOW}, RefusalCode.LOCKED),
        ({"used": 1}, RefusalCode.USED),
        ({"studies": frozenset(STUDIES[2:])}, RefusalCode.OTHER_STUDY),
        ({"patient": PATIENTS[1]}, RefusalCode.OTHER_STUDY),
    ],
)
def test_each_reason_has_its_own_code(change: dict[str, object], code: RefusalCode) -> None:
    consent = replace(CONSENT, **change)  # type: ignore[arg-type]
    assert decide(request_for(STUDIES[0]), PeerPolicy(), [consent], FOUND, NOW) == Refuse(code, code)


def test_a_plain_case_is_permitted() -> None:
    permit = Permit(frozenset({STUDIES[0]}), CONSENT.consent_id, seconds=1)
    assert decide(request_for(STUDIES[0]), PeerPolicy(), [CONSENT], FOUND, NOW) == permit


def test_a_received_copy_is_never_released_onward() -> None:
    copy = Match((replace(FOUND.studies[0], is_own=False),))
    assert decide(request_for(STUDIES[0]), PeerPolicy(), [CONSENT], copy, NOW) == refused(RefusalCode.OTHER_STUDY)


def test_another_purpose_is_not_covered() -> None:
    request = request_for(STUDIES[0], purpose=PurposeOfUse.HRESCH)
    assert decide(request, PeerPolicy(), [CONSENT], FOUND, NOW) == refused(RefusalCode.PURPOSE)


def test_conflicts_and_policy_make_a_person_look() -> None:
    about = Identification(MatchGrade.CONFLICT, frozenset({ReviewReason.NAME_CONFLICT}))
    clash = Match((replace(FOUND.studies[0], identification=about),))
    decision = decide(request_for(STUDIES[0]), PeerPolicy(auto_release=False), [CONSENT], clash, NOW)
    assert isinstance(decision, Review)
    assert decision.reasons == {ReviewReason.NAME_CONFLICT, ReviewReason.POLICY}


def test_every_refusal_is_an_error_for_people() -> None:
    known = all_codes()
    assert all(code.value in known for code in RefusalCode)
