"""Who is who: the cases that have released the wrong person's images elsewhere, each with the grade it must get."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.model.decide import MatchGrade, ReviewReason
from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.model.match import identify, same_person
from node.model.request import Subject

KEY, THEIRS = PatientKey("HERE", "1"), PatientKey("THERE", "77")
ANNE = Demographics("Müller^Anne", "19700302", "F")
CONFIRMED, CANDIDATE, CONFLICT = MatchGrade


@pytest.mark.parametrize(
    ("said", "key", "held", "namesakes", "grade"),
    [
        pytest.param(ANNE, THEIRS, ANNE, 1, CONFIRMED, id="whole name, birth date and sex, and nobody else has them"),
        pytest.param(Demographics("MULLER^ANNE", "1970-03-02", "f"), None, ANNE, 1, CONFIRMED, id="other spelling"),
        pytest.param(ANNE, THEIRS, ANNE, 2, CANDIDATE, id="another patient shares name and birth date"),
        pytest.param(ANNE, KEY, ANNE, 2, CONFIRMED, id="the identifier tells namesakes apart"),
        pytest.param(ANNE, PatientKey("HERE", "2"), ANNE, 2, CONFLICT, id="the namesake, by identifier"),
        pytest.param(Demographics("Müller^Anton", "19700302", "M"), None, ANNE, 1, CONFLICT, id="twins"),
        pytest.param(Demographics("Müller^Anna", "19700302", "F"), None, ANNE, 1, CONFLICT, id="twins of one sex"),
        pytest.param(Demographics("Müller^A", "19700302", "F"), None, ANNE, 1, CANDIDATE, id="an initial fits twins"),
        pytest.param(Demographics("Müller^Anne", "19700203", "F"), None, ANNE, 1, CONFLICT, id="day and month swapped"),
        pytest.param(Demographics("Meier^Anne", "19700302", "F"), KEY, ANNE, 1, CONFLICT, id="married, same id"),
        pytest.param(Demographics("Meier^Anne", "19700302", "F"), THEIRS, ANNE, 1, CONFLICT, id="married elsewhere"),
        pytest.param(
            Demographics("Müller^Baby", "20260101", "F"), THEIRS, Demographics("Müller^Baby", "20260101", "F"), 1,
            CANDIDATE, id="newborn without a name",
        ),
        pytest.param(
            Demographics("Doe^John", "19000101", "M"), THEIRS, Demographics("Doe^John", "19000101", "M"), 1,
            CANDIDATE, id="two John Does",
        ),
        pytest.param(ANNE, None, Demographics("Doe^John", "19000101", ""), 1, CONFLICT, id="John Doe merged later"),
        pytest.param(ANNE, KEY, Demographics("Unknown^Female"), 1, CONFLICT, id="not yet identified, same identifier"),
        pytest.param(Demographics("", "19700302"), KEY, ANNE, 1, CONFIRMED, id="identifier and birth date"),
        pytest.param(Demographics("Müller^Anne"), KEY, ANNE, 1, CONFIRMED, id="identifier and name"),
        pytest.param(Demographics(), KEY, ANNE, 1, CANDIDATE, id="an identifier alone"),
        pytest.param(Demographics("Müller^Anne", "19700302"), None, ANNE, 1, CANDIDATE, id="sex not said"),
        pytest.param(Demographics("Müller^Anne", "", "F"), None, ANNE, 1, CANDIDATE, id="birth date not said"),
        pytest.param(Demographics("Müller^Anne Maria", "19700302", "F"), None, ANNE, 1, CANDIDATE, id="a middle name"),
        pytest.param(Demographics(), None, ANNE, 1, CANDIDATE, id="nothing said"),
        pytest.param(ANNE, PatientKey("here ", "1"), ANNE, 1, CONFIRMED, id="issuer in other case"),
    ],
)  # fmt: skip
def test_cases(
    said: Demographics, key: PatientKey | None, held: Demographics, namesakes: int, grade: MatchGrade
) -> None:
    result = identify(Subject(key, said), KEY, held, namesakes=namesakes)
    assert result.grade is grade
    assert bool(result.reasons) is (grade is not MatchGrade.CONFIRMED)


def test_a_swapped_date_is_named() -> None:
    said = Demographics("Müller^Anne", "19700203", "F")
    reasons = identify(Subject(None, said), KEY, ANNE, namesakes=1).reasons
    assert reasons == {ReviewReason.BIRTH_DATE_CONFLICT, ReviewReason.BIRTH_DATE_SWAPPED}


people = st.builds(Demographics, st.text(max_size=20), st.text(max_size=9), st.text(max_size=3))
keys = st.none() | st.builds(PatientKey, st.text(max_size=5), st.text(max_size=5))


@given(people, keys, people, st.integers(1, 3))
def test_a_confirmed_match_has_two_things_that_agree(
    said: Demographics, key: PatientKey | None, held: Demographics, namesakes: int
) -> None:
    """Total, and never confirmed by what nobody said."""
    result = identify(Subject(key, said), KEY, held, namesakes=namesakes)
    if result.grade is MatchGrade.CONFIRMED:
        assert said.name or said.birth_date
        assert held.name or held.birth_date


def test_records_that_cannot_be_told_apart() -> None:
    assert same_person(ANNE, Demographics("MULLER^ANNE", "19700302", ""))
    assert not same_person(ANNE, Demographics("Muller^Anna", "19700302", "F"))
    assert not same_person(Demographics("A^B", ""), Demographics("A^B", ""))
