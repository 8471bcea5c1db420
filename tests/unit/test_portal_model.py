"""When a patient sees a study, and what an access is: decided without any I/O."""

import calendar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors.portal import InvalidReleaseDelay
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.portal import (
    Access,
    AccessId,
    AccountId,
    InvitationState,
    PortalInvitation,
    PortalInvitationId,
    Relation,
    ReleasePolicy,
    Ruling,
    RulingKind,
    Scope,
    Showing,
    StudyFacts,
    availability,
    birthday,
    given_name,
)

NOW = 1_764_000_000
MODALITIES = st.lists(st.sampled_from(["CT", "MR", "US", "SR"]), unique=True, max_size=3).map(tuple)
HOURS = st.integers(0, 200)
POLICIES = st.builds(
    ReleasePolicy, HOURS, st.dictionaries(st.sampled_from(["CT", "MR", "US"]), HOURS), st.none() | HOURS
)
MOMENTS = st.integers(NOW - 300 * 3600, NOW + 3600)
RULINGS = st.none() | st.builds(
    Ruling,
    st.just(StudyInstanceUID("1.2")),
    st.sampled_from(RulingKind),
    st.just("a reason"),
    st.none() | MOMENTS,
    MOMENTS,
    st.just("user:a"),
)
FACTS = st.builds(StudyFacts, MOMENTS, MODALITIES, st.none() | MOMENTS, st.booleans(), RULINGS)


@given(FACTS, POLICIES, st.sampled_from(Relation))
def test_a_study_is_shown_only_when_nothing_speaks_against_it(
    facts: StudyFacts, policy: ReleasePolicy, relation: Relation
) -> None:
    shown = availability(facts, policy, relation, NOW)
    held = facts.ruling is not None and facts.ruling.kind is RulingKind.HELD
    is_held = held and (facts.ruling.until is None or facts.ruling.until > NOW)  # type: ignore[union-attr]  # held
    released = facts.ruling is not None and facts.ruling.kind is RulingKind.RELEASED
    delays = [policy.by_modality.get(m, policy.default) for m in facts.modalities] or [policy.default]
    is_over = facts.complete_at + 3600 * max(delays) <= NOW
    if facts.report_at is not None and policy.reports is not None:
        is_over = is_over and (policy.reports == 0 or facts.report_at + 3600 * policy.reports <= NOW)
    concealed = facts.is_sensitive and relation is Relation.PROXY
    assert (shown.showing is Showing.VISIBLE) == (not concealed and not is_held and (released or is_over))
    assert (shown.showing is Showing.CONCEALED) == concealed
    if shown.showing is Showing.DELAYED:
        assert shown.since is not None
        assert shown.since > NOW
        later = availability(facts, policy, relation, shown.since)
        assert later.showing is Showing.VISIBLE, "available from when it was said"
    if shown.showing is Showing.HELD:
        assert shown.reason == "a reason"


@given(FACTS, POLICIES)
def test_a_proxy_never_sees_more_than_the_patient(facts: StudyFacts, policy: ReleasePolicy) -> None:
    if availability(facts, policy, Relation.PROXY, NOW).showing is Showing.VISIBLE:
        assert availability(facts, policy, Relation.SELF, NOW).showing is Showing.VISIBLE


@given(FACTS, POLICIES, st.integers(0, 10**6))
def test_what_is_shown_stays_shown_unless_somebody_decides(facts: StudyFacts, policy: ReleasePolicy, more: int) -> None:
    if availability(facts, policy, Relation.SELF, NOW).showing is Showing.VISIBLE:
        assert availability(facts, policy, Relation.SELF, NOW + more).showing is Showing.VISIBLE


def test_delays_are_read_as_they_are_written() -> None:
    policy = ReleasePolicy.parse(2, ["CT=72", " mr = 5 ", "REPORT=24"])
    assert policy == ReleasePolicy(2, {"CT": 72, "MR": 5}, 24)
    assert policy.seconds(("US", "CT")) == 72 * 3600
    assert ReleasePolicy.parse(0, []).report_seconds() == 0


@pytest.mark.parametrize("entry", ["", "CT", "=5", "CT=", "CT=-1", "CT=1.5", "CT=\u0665", "CT 5"])
def test_what_is_no_delay_is_refused(entry: str) -> None:
    with pytest.raises(InvalidReleaseDelay):
        ReleasePolicy.parse(0, [entry])


@given(st.dates(), st.integers(0, 30))
def test_birthdays(date: object, years: int) -> None:
    text = f"{date:%Y}{date:%m}{date:%d}".rjust(8, "0")
    year = int(text[:4]) + years
    found = birthday(text, years)
    if year > 9999:
        assert found is None
    else:
        month, day = int(text[4:6]), int(text[6:])
        if (month, day) == (2, 29) and not calendar.isleap(year):
            month, day = 3, 1
        assert found == calendar.timegm((year, month, day, 0, 0, 0))


@pytest.mark.parametrize("text", ["", "1964", "19641327", "19640230", "1964-3-27", "\u0661" * 8])
def test_what_is_no_date_has_no_birthday(text: str) -> None:
    assert birthday(text, 18) is None


def test_given_names() -> None:
    assert given_name("Garcia^Ana^Maria") == "Ana"
    assert given_name("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce") == "Tarou"
    assert given_name("Mononym") == ""


@given(st.integers(-10, 10), st.none() | st.integers(-10, 10), st.none() | st.integers(-10, 10))
def test_an_access_holds_within_its_time(since: int, until: int | None, ended: int | None) -> None:
    access = Access(
        AccessId.new(),
        AccountId.new(),
        PatientKey("I", "P"),
        Relation.PROXY,
        Scope.SEE,
        "C",
        since,
        until,
        "user:a",
        ended,
    )
    assert access.is_live(0) == (since <= 0 and (until is None or until > 0) and ended is None)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, InvitationState.OPEN),
        ({"expires_at": NOW}, InvitationState.EXPIRED),
        ({"locked_at": 1}, InvitationState.LOCKED),
        ({"withdrawn_at": 1, "locked_at": 1}, InvitationState.WITHDRAWN),
        ({"used_at": 1, "expires_at": 1}, InvitationState.USED),
    ],
)
def test_letters(changes: dict[str, int], state: InvitationState) -> None:
    values = {"expires_at": NOW + 1, **changes}
    letter = PortalInvitation(
        PortalInvitationId.new(),
        PatientKey("I", "P"),
        Relation.SELF,
        Scope.SHARE,
        "",
        None,
        None,
        0,
        "user:a",
        **values,
    )
    assert letter.state(NOW) is state


def test_nothing_of_a_person_is_in_a_repr() -> None:
    access = Access(
        AccessId.new(), AccountId.new(), PatientKey("I", "P-9"), Relation.PROXY, Scope.SEE, "Carla", 0, None, "u"
    )
    assert "Carla" not in repr(access)
    assert "P-9" not in repr(access)
