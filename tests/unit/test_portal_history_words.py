"""Whatever can happen is said in both languages, whoever did it: no entry of the history is left without words."""

import pytest

from node.api.web.languages import Languages
from node.model.access import Role
from node.model.consent import ConsentKind, PurposeOfUse
from node.model.release import Verdict
from node.sharing.portal.history import KINDS, Entry, Kind, Who, WhoKind
from node.sharing.portal.history_words import facts, person, sentence

TONGUES = [Languages().named(language) for language in ("en", "es")]
PEOPLE = [
    *(Who(kind) for kind in WhoKind),
    *(Who(WhoKind.STAFF, name, role) for role in Role for name in ("", "dr.who")),
    Who(WhoKind.PROXY, "Carla Carer"), Who(WhoKind.FACILITY, "South"), Who(WhoKind.SYSTEM, "CT1"),
]  # fmt: skip


def entry(kind: Kind, who: Who, **changes: object) -> Entry:
    return Entry(1, 1, kind, who, None, None, **changes)  # type: ignore[arg-type]  # test's words


@pytest.mark.parametrize("kind", Kind)
def test_everything_is_said_of_everybody(kind: Kind) -> None:
    assert kind in KINDS.values(), "or nothing tells of it"
    for who in PEOPLE:
        for about in (False, True):
            said = [tongue(sentence(entry(kind, who, is_about_reader=about))) for tongue in TONGUES]
            assert said[0] != said[1]
            assert all(text.endswith(".") and "{" not in text for text in said)


@pytest.mark.parametrize("who", PEOPLE, ids=str)
def test_people_have_words_and_keep_their_names(who: Who) -> None:
    for tongue in TONGUES:
        text = tongue(person(who))
        assert text
        assert who.name in text or who.kind is WhoKind.STAFF


def test_why_and_under_which_consent() -> None:
    for purpose in PurposeOfUse:
        assert len(facts(entry(Kind.SENT, Who(WhoKind.NODE), purpose=purpose.value))) == 1
    for consent in ConsentKind:
        assert len(facts(entry(Kind.SENT, Who(WhoKind.NODE), consent=consent.value))) == 1
    for verdict in Verdict:
        ((label, answer),) = facts(entry(Kind.ASKED, Who(WhoKind.FACILITY, "South"), detail={"verdict": verdict.value}))
        assert label.text == "Answer"
        assert TONGUES[1](answer) != answer.text
    ((_, reason),) = facts(entry(Kind.RULED, Who(WhoKind.STAFF), detail={"reason": "We {call} you."}))
    assert TONGUES[0](reason) == "We {call} you.", "what people write is text, not a template"
