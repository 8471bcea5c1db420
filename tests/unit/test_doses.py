"""Doses: what a report states, what is typical, and that neither is turned into something else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.dose_report import ReportedDose, read_dose
from node.model.doses import OTHER, TYPICAL_DOSES, likely
from node.model.relevance import examination


def code(value: str, scheme: str = "DCM") -> dict[str, Any]:
    return {
        "vr": "SQ",
        "Value": [{"00080100": {"vr": "SH", "Value": [value]}, "00080102": {"vr": "SH", "Value": [scheme]}}],
    }


def number(concept: str, value: object, unit: str, scheme: str = "DCM") -> dict[str, Any]:
    measured = {"0040A30A": {"vr": "DS", "Value": [value]}, "004008EA": code(unit, "UCUM")}
    return {"0040A043": code(concept, scheme), "0040A300": {"vr": "SQ", "Value": [measured]}}


def container(*items: dict[str, Any]) -> dict[str, Any]:
    return {"0040A730": {"vr": "SQ", "Value": list(items)}}


def test_the_dose_length_product_of_a_ct() -> None:
    tree = container(container(number("113813", 412.5, "mGy.cm")), number("113830", 12.1, "mGy"))
    assert read_dose(tree) == ReportedDose("dose length product", 412.5, "mGy·cm")
    assert read_dose(tree).text == "dose length product 412.5 mGy·cm"  # type: ignore[union-attr]  # it is there


def test_both_planes_of_a_biplane_system_are_one_total() -> None:
    tree = container(container(number("113722", 0.002, "Gy.m2")), container(number("113722", 0.003, "Gy.m2")))
    assert read_dose(tree) == ReportedDose("dose area product", 0.005, "Gy·m²")


@pytest.mark.parametrize(
    "item",
    [
        number("113813", 1.0, "mGy.cm", scheme="99LOCAL"),  # somebody else's code
        number("113813", 1.0, "furlong"),
        number("113813", "much", "mGy.cm"),
        number("113813", -1.0, "mGy.cm"),
        {"0040A043": code("113813")},
        {"0040A043": {"vr": "SQ", "Value": []}, "0040A300": {"vr": "SQ", "Value": [None]}},
        {},
    ],
)
def test_what_states_no_total_is_none(item: dict[str, Any]) -> None:
    assert read_dose(container(item)) is None


_JSON = st.recursive(
    st.none() | st.text(max_size=4) | st.floats(allow_nan=False),
    lambda inner: st.dictionaries(
        st.sampled_from(["0040A730", "0040A043", "0040A300", "0040A30A", "004008EA", "00080100"]),
        st.fixed_dictionaries({"Value": st.lists(inner, max_size=3)}),
        max_size=4,
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["0040A730", "0040A043"]), st.fixed_dictionaries({"Value": st.lists(_JSON)})))
def test_any_tree_is_read_without_an_error(tree: dict[str, Any]) -> None:
    read_dose(tree)


def test_every_typical_dose_has_a_range_and_a_source() -> None:
    for key, dose in TYPICAL_DOSES.items():
        assert dose.low <= dose.high
        assert dose.typical is None or dose.low <= dose.typical <= dose.high
        assert dose.source or key == OTHER


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("ct_chest", "7 mSv (4 to 18)"),
        ("mammogram", "0.21 to 0.4 mSv"),
        ("xray_abdomen", "0.7 mSv"),
        ("mr", "no ionising radiation"),
    ],
)
def test_doses_in_words(key: str, words: str) -> None:
    assert TYPICAL_DOSES[key].text == words


@pytest.mark.parametrize(
    ("modalities", "parts", "key"),
    [
        (["CT", "SR"], ["CHEST"], "ct_chest"),
        (["CT"], ["ABDOMENPELVIS"], "ct_abdomen_pelvis"),
        (["CT"], [], OTHER),
        (["PT", "CT"], ["WHOLEBODY"], "pet"),
        (["DX"], ["KNEE"], "xray_limb"),
        (["MR"], ["BRAIN"], "mr"),
        (["XA"], ["CHEST"], OTHER),
    ],
)
def test_the_likely_examination(modalities: list[str], parts: list[str], key: str) -> None:
    assert likely(examination(modalities=modalities, body_parts=parts)) == key
