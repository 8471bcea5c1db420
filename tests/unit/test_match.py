"""Demographics: spelling is no conflict, another person is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.model.decide import ReviewReason
from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.model.match import conflicts
from node.model.request import Subject

ANNE = Demographics("Müller^Änne Maria", "19700131", "F")
KEY = PatientKey("HERE", "1")


@pytest.mark.parametrize(
    "said",
    [
        Demographics(),
        ANNE,
        Demographics("Muller^Anne", "19700131", "F"),
        Demographics("MÜLLER^A", "19700131", "f"),
        Demographics("Müller, Änne Maria", "1970-01-31", ""),
        Demographics("Müller^Änne^^Dr.", "19700131", "O"),
    ],
)
def test_the_same_person_in_other_spelling(said: Demographics) -> None:
    assert conflicts(Subject(None, said), KEY, ANNE) == frozenset()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Demographics("Meier^Änne"), ReviewReason.NAME_CONFLICT),
        (Demographics("Müller^Berta"), ReviewReason.NAME_CONFLICT),
        (Demographics("山田^太郎"), ReviewReason.NAME_CONFLICT),
        (Demographics("", "19700130"), ReviewReason.BIRTH_DATE_CONFLICT),
        (Demographics("", "garbage"), ReviewReason.BIRTH_DATE_CONFLICT),
        (Demographics("", "", "M"), ReviewReason.SEX_CONFLICT),
    ],
)
def test_another_person(said: Demographics, reason: ReviewReason) -> None:
    assert conflicts(Subject(None, said), KEY, ANNE) == {reason}


def test_identifiers_are_compared_under_one_issuer_only() -> None:
    assert conflicts(Subject(PatientKey("HERE", "2")), KEY, ANNE) == {ReviewReason.PATIENT_ID_CONFLICT}
    assert conflicts(Subject(PatientKey("THERE", "2")), KEY, ANNE) == frozenset()
    assert conflicts(Subject(KEY), KEY, ANNE) == frozenset()


@given(st.builds(Demographics, st.text(max_size=30), st.text(max_size=9), st.text(max_size=3)))
def test_anybody_agrees_with_itself(who: Demographics) -> None:
    assert conflicts(Subject(KEY, who), KEY, who) == frozenset()
