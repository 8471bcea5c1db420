import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors.trust import IllegalTrustChange, InvalidAddress, InvalidPolicy
from node.model.trust import (
    TRANSITIONS,
    Address,
    Invitation,
    PeerPolicy,
    TrustEvent,
    TrustState,
    next_state,
)

EVENTS = st.lists(st.sampled_from(TrustEvent), max_size=20)


@pytest.mark.parametrize("state", [None, *TrustState])
@pytest.mark.parametrize("event", TrustEvent)
def test_every_pair_is_in_the_table_or_refused(state: TrustState | None, event: TrustEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTrustChange):
            next_state(state, event)


@given(EVENTS)
def test_nobody_is_trusted_without_a_person_or_an_auto_confirming_invitation(events: list[TrustEvent]) -> None:
    state: TrustState | None = None
    was_revoked = False
    for event in events:
        try:
            after = next_state(state, event)
        except IllegalTrustChange:
            continue
        if after is TrustState.TRUSTED and state is not TrustState.TRUSTED:
            by_person = event in {TrustEvent.IMPORT, TrustEvent.CONFIRM, TrustEvent.RESUME}
            assert by_person or (event is TrustEvent.REDEEM_AUTO and not was_revoked)
        was_revoked = was_revoked or after is TrustState.REVOKED
        state = after


@given(EVENTS)
def test_a_suspension_is_lifted_by_resume_alone(events: list[TrustEvent]) -> None:
    state = TrustState.SUSPENDED
    for event in events:
        if event in {TrustEvent.RESUME, TrustEvent.REVOKE}:
            continue
        try:
            state = next_state(state, event)
        except IllegalTrustChange:
            continue
        assert state is TrustState.SUSPENDED


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8443", "127.0.0.1", 8443),
        ("pacs.example.org:443", "pacs.example.org", 443),
        ("https://pacs.example.org:8443/", "pacs.example.org", 8443),
        ("[2001:db8::1]:8443", "2001:db8::1", 8443),
        ("localhost:1", "localhost", 1),
    ],
)
def test_addresses_that_are_read(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "host", ":8443", "host:", "host:0", "host:65536", "host:-1", "host:8 443", "ho st:1", "http://host:80",
        "[::1]", "[::1%eth0]:1", "::1:8443", "user@host:1", "host:1/path", "host:1?x", "-host:1", "ho..st:1",
        "a" * 130 + ":1", "host:\u0663", "host/..:1", "[127.0.0.1]:1",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        Address.parse(text)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except InvalidAddress:
        return
    assert Address.parse(str(address)) == address


def test_a_listener_may_ask_for_any_port() -> None:
    assert Address.parse("0.0.0.0:0", allow_any_port=True).port == 0


def test_policy_changes_only_what_is_named() -> None:
    policy = PeerPolicy().changed({"max_rate": "20MB", "auto_release": "false"})
    assert policy == PeerPolicy(auto_release=False, max_rate=20_000_000)
    assert policy.changed({"max_rate": "512k"}).max_rate == 512_000
    assert policy.changed({"daily_questions": "0"}).daily_questions == 0
    assert policy.changed({}) == policy


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("colour", "blue"),
        ("auto_release", "perhaps"),
        ("max_rate", "-1"),
        ("max_rate", "fast"),
        ("max_rate", "9" * 16),
        ("max_rate", "999999999999GB"),
        ("daily_questions", "2K"),
        ("daily_questions", "1.5"),
        ("daily_questions", ""),
    ],
)
def test_policies_that_are_refused(key: str, value: str) -> None:
    with pytest.raises(InvalidPolicy):
        PeerPolicy().changed({key: value})


def test_an_invitation_shows_no_secret_and_closes_in_three_ways() -> None:
    invitation = Invitation(b"i" * 16, b"s" * 16, 100, 200, auto_confirm=False)
    assert "ssss" not in repr(invitation)
    assert invitation.is_open(199)
    assert not invitation.is_open(200)
    withdrawn = Invitation(b"i" * 16, b"s" * 16, 100, 200, auto_confirm=False, withdrawn=True)
    assert not withdrawn.is_open(150)
