import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.model.linkage import MAX_TOKENS, TokenKind, linkage_tokens, normalise_name

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "linkage_vectors.json").read_text())


def token_bytes(kind: str, *fields: str) -> bytes:
    return b"\0".join(part.encode() for part in ("leveret/linkage/1", kind, *fields))


@pytest.mark.parametrize("patient", VECTORS["patients"], ids=range(len(VECTORS["patients"])))
def test_every_patient_of_the_vectors_gives_the_tokens_they_say(patient: dict[str, Any]) -> None:
    expected = []
    if patient["identifier"]:
        expected.append(token_bytes("identifier", *patient["identifier"]))
    if parts := patient["parts"]:
        expected.append(token_bytes("name", *parts))
        expected.append(token_bytes("initial", parts[0], parts[1][0], *parts[2:]))
    tokens = linkage_tokens(
        Demographics(patient["name"], patient["birth_date"], patient["sex"]),
        PatientKey(patient["issuer"], patient["patient_id"]),
        VECTORS["shared_issuers"],
    )
    assert [token.value for token in tokens] == expected


def test_the_bytes_of_a_token_are_those_of_the_vectors() -> None:
    for row in VECTORS["bytes"]:
        assert token_bytes(row["kind"], *row["fields"]).hex() == row["token"]


def test_kinds_say_what_a_token_is_made_of_and_repr_says_nothing_else() -> None:
    tokens = linkage_tokens(Demographics("Smith^Jane", "19700101", "F"), PatientKey("NHS", "12"), ["NHS"])
    assert [token.kind for token in tokens] == [TokenKind.IDENTIFIER, TokenKind.NAME, TokenKind.INITIAL]
    assert "SMITH" not in repr(tokens)


def test_the_bytes_of_kinds_differ_where_the_fields_are_the_same() -> None:
    tokens = linkage_tokens(Demographics("Smith^J", "19700101", "F"), PatientKey("", ""), [])
    assert tokens[0].value != tokens[1].value


@given(st.text(max_size=300), st.text(max_size=12), st.text(max_size=3), st.text(max_size=20), st.text(max_size=300))
def test_whatever_a_device_wrote_makes_a_few_clean_tokens_or_none(
    name: str, born: str, sex: str, issuer: str, patient_id: str
) -> None:
    tokens = linkage_tokens(Demographics(name, born, sex), PatientKey(issuer, patient_id), ["NHS", issuer])
    assert len(tokens) <= MAX_TOKENS
    for token in tokens:
        assert token.value.startswith(b"leveret/linkage/1\0" + token.kind.encode() + b"\0")
        assert token.value.count(b"\0") == (3 if token.kind is TokenKind.IDENTIFIER else 5)


@given(st.text(max_size=64), st.booleans())
def test_normalising_twice_changes_nothing_more(component: str, given: bool) -> None:  # noqa: FBT001
    once = normalise_name(component, given=given)
    assert set(once) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert normalise_name(once, given=given) == once


@given(
    st.sampled_from(["Müller", "O'Brien", "de la Cruz", "Łukasz", "Smith-Jones"]),
    st.sampled_from(["upper", "lower", "title"]),
)
def test_case_does_not_matter(name: str, case: str) -> None:
    assert normalise_name(getattr(name, case)()) == normalise_name(name)


def test_overlong_names_and_identifiers_give_no_token() -> None:
    patient = PatientKey("NHS", "1" * 1000)
    assert linkage_tokens(Demographics("A" * 1000 + "^B", "19700101", "M"), patient, ["NHS"]) == ()
