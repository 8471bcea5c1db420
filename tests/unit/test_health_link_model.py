"""What a health link says and allows: the payload as others read it, bounds, and a life that only ever ends."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from node.errors.health_links import InvalidHealthLink, LabelNamesPatient, NoSuchHealthLink
from node.model.consent import DAY_SECONDS, PurposeOfUse
from node.model.directive import Scope
from node.model.health_link import (
    MAX_LABEL,
    MAX_LINK_DAYS,
    MAX_RECIPIENT,
    MAX_USES,
    HealthLink,
    HealthLinkId,
    LinkFlag,
    LinkOrder,
    LinkPayload,
    LinkState,
    check_order,
    clean_recipient,
    failed,
    opened,
    revoked,
)
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import Demographics

ELENA = Demographics("García Márquez^Elena^Q", "19610203", "F")
PATIENT = PatientKey("HERE", "MRN-4711")
SCOPE = Scope(frozenset({StudyInstanceUID("1.2.3")}))
URL = "https://images.hospital.example/shl/" + "a" * 43


def link(**changes: Any) -> HealthLink:
    made = HealthLink(HealthLinkId(bytes(16)), PATIENT, SCOPE, "", PurposeOfUse.TREAT, 0, "patient:1", 1000)
    return replace(made, **changes)


def payload(**changes: Any) -> LinkPayload:
    said: dict[str, Any] = {"url": URL, "key": bytes(range(32)), "exp": 1000, "flags": frozenset()}
    return LinkPayload(**(said | changes))


def read(text: str) -> dict[str, Any]:
    """By the words of the specification: base64url without padding of minified JSON, behind ``shlink:/``."""
    assert text.startswith("shlink:/")
    encoded = text.removeprefix("shlink:/")
    assert "=" not in encoded
    raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    said: dict[str, Any] = json.loads(raw)
    assert raw == json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode(), "minified"
    return said


def test_the_payload_says_what_the_specification_asks_for() -> None:
    flags = frozenset({LinkFlag.PASSCODE, LinkFlag.LONG_TERM})
    said = read(payload(flags=flags, label="Tomografía del tórax").text)
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert said == {"url": URL, "key": key, "exp": 1000, "flag": "LP", "label": "Tomografía del tórax", "v": 1}
    assert len(key) == 43
    assert set(read(payload().text)) == {"url", "key", "exp", "v"}, "what is not said is left out"


@pytest.mark.parametrize(
    "changes",
    [
        {"url": URL + "x" * 60},
        {"url": "ftp://a/b"},
        {"url": "https://b\u00fccher.example/shl/x"},
        {"key": bytes(31)},
        {"key": bytes(33)},
        {"flags": frozenset({LinkFlag.DIRECT, LinkFlag.PASSCODE})},
        {"label": "x" * (MAX_LABEL + 1)},
    ],
)
def test_what_the_specification_forbids_is_no_payload(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidHealthLink):
        payload(**changes)


def test_flags_are_what_the_link_is() -> None:
    assert link().flags == frozenset()
    assert link(scope=Scope(from_date="20200101")).flags == {LinkFlag.LONG_TERM}, "later studies come along"
    assert link(has_passcode=True).flags == {LinkFlag.PASSCODE}
    assert link(direct=True, scope=Scope()).flags == {LinkFlag.DIRECT, LinkFlag.LONG_TERM}


@pytest.mark.parametrize(
    "changes",
    [
        {"lifetime": 0},
        {"lifetime": MAX_LINK_DAYS * DAY_SECONDS + 1},
        {"uses": 0},
        {"uses": MAX_USES + 1},
        {"scope": Scope(modalities=frozenset({"CT"}))},
        {"scope": Scope(from_date="20240102", to_date="20240101")},
        {"scope": Scope(frozenset(StudyInstanceUID(f"1.2.{n}") for n in range(201)))},
        {"scope": Scope(from_date="20241301")},
        {"scope": Scope(to_date="2024")},
        {"label": "x" * 81},
        {"label": "a\nb"},
        {"consent": "x" * 201},
        {"passcode": "12345"},
        {"passcode": "x" * 65},
        {"passcode": "482913", "direct": True},
    ],
)
def test_orders_out_of_bounds(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidHealthLink):
        check_order(LinkOrder(PATIENT, **changes), ELENA)


@pytest.mark.parametrize(
    "label", ["CT of Elena", "GARCIA, chest", "for mrs márquez", "MRN-4711 chest", "born 03.02.1961", "1961-02-03"]
)
def test_a_label_does_not_say_who_it_is(label: str) -> None:
    with pytest.raises(LabelNamesPatient):
        check_order(LinkOrder(PATIENT, label=label), ELENA)


@pytest.mark.parametrize("passcode", ["030261", "03021961", "19610203", "02/03/1961", "mrn-4711", "marquez"])
def test_a_passcode_is_not_what_everybody_knows_of_the_patient(passcode: str) -> None:
    with pytest.raises(LabelNamesPatient):
        check_order(LinkOrder(PATIENT, passcode=passcode), ELENA)


@pytest.mark.parametrize("label", ["", "CT of the chest, June 2024", "For Dr. Quentin", "Eleven images"])
def test_other_labels_may_be(label: str) -> None:
    check_order(LinkOrder(PATIENT, label=label, passcode="482913"), ELENA)


@given(st.text(max_size=600))
def test_what_somebody_calls_themselves_is_one_short_line(text: str) -> None:
    cleaned = clean_recipient(text)
    assert len(cleaned) <= MAX_RECIPIENT
    assert cleaned.isprintable()
    assert cleaned == cleaned.strip()


def test_names_stay_as_they_are() -> None:
    assert clean_recipient("  Dr. Wong\r\n\tLakeside <b>Practice</b> ") == "Dr. Wong Lakeside <b>Practice</b>"


class Life(RuleBasedStateMachine):
    """Whatever happens, and in whichever order: once over, always over; and never one attempt or use too many."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.link = link(has_passcode=True, attempts=3, uses=4)
        self.ended: LinkState | None = None
        self.opened = self.wrong = 0

    @rule(seconds=st.integers(0, 400))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def somebody_opens_it(self) -> None:
        before = self.link
        try:
            self.link = opened(self.link, self.now)
            self.opened += 1
            assert before.state(self.now) is LinkState.ACTIVE
        except NoSuchHealthLink:
            assert before.state(self.now) is not LinkState.ACTIVE

    @rule()
    def a_passcode_is_wrong(self) -> None:
        before = self.link
        try:
            self.link = failed(self.link, self.now)
            self.wrong += 1
        except NoSuchHealthLink:
            assert before.state(self.now) is not LinkState.ACTIVE

    @precondition(lambda self: self.link.revoked_at is None)
    @rule()
    def it_is_taken_back(self) -> None:
        self.link = revoked(self.link, self.now)
        assert revoked(self.link, self.now + 1) == self.link, "the first time counts"

    @invariant()
    def it_only_ever_ends(self) -> None:
        state = self.link.state(self.now)
        if self.ended is not None:
            assert state is not LinkState.ACTIVE
        if state is not LinkState.ACTIVE:
            self.ended = state

    @invariant()
    def counts_hold(self) -> None:
        assert self.opened == self.link.used <= 4
        assert self.wrong == self.link.failures <= 3
        assert self.link.remaining == 3 - self.wrong
        assert (self.link.locked_at is not None) == (self.wrong == 3)

    @invariant()
    def what_was_handed_out_ends_with_it(self) -> None:
        alive = self.link.is_alive(self.now)
        assert alive == (self.link.state(self.now) in {LinkState.ACTIVE, LinkState.USED})


TestLife = Life.TestCase
