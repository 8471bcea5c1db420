import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors.feeds import EntryMalformed
from node.model.ids import PatientKey, StudyInstanceUID, StudyRef
from node.model.instance import Demographics, StudySummary
from node.model.label import DESCRIPTION_BYTES, LABEL_BYTES, NO_REGION, BodyRegion, Label, LabelDetail, body_regions

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "announcement_vectors.json").read_text())
REF = StudyRef(bytes(range(16)))


def label_of(fields: dict[str, Any]) -> Label:
    detail = fields["detail"]
    return Label(
        ref=StudyRef.parse(fields["ref"]),
        withdrawn=fields["withdrawn"],
        existence_only=fields["existence_only"],
        report=fields["report"],
        modalities=tuple(fields["modalities"]),
        regions=BodyRegion(fields["regions"]),
        year=fields["year"],
        instances=fields["instances"],
        revision=fields["revision"],
        consent=fields["consent"],
        detail=LabelDetail(
            StudyInstanceUID.parse(detail["study_instance_uid"]), detail["study_date"], detail["description"]
        )
        if detail
        else None,
    )


def study(**changes: Any) -> StudySummary:
    facts: dict[str, Any] = {
        "study_instance_uid": StudyInstanceUID.parse("2.25.1"),
        "patient": PatientKey("A", "1"),
        "demographics": Demographics("Smith^Jane", "19700101", "F"),
        "date": "20261124",
        "time": "",
        "accession_number": "",
        "study_id": "",
        "description": "CT Thorax",
        "referring_physician": "",
        "modalities": ("CT", "SR"),
        "body_parts": ("CHEST",),
        "series": 2,
        "instances": 412,
        "size": 1,
        "revision": 1,
        "revision_open": False,
        "origin": None,
        "has_report": True,
    }
    return StudySummary(**(facts | changes))


@pytest.mark.parametrize("vector", VECTORS["labels"], ids=range(len(VECTORS["labels"])))
def test_labels_of_the_vectors_in_both_directions(vector: dict[str, Any]) -> None:
    label = label_of(vector["fields"])
    assert label.encode().hex() == vector["bytes"]
    assert Label.decode(bytes.fromhex(vector["bytes"])) == label


def test_without_consent_a_label_tells_the_year_and_nothing_finer() -> None:
    data = Label.of_study(study(), REF, detail=False).encode()
    assert b"20261124" not in data
    assert b"Thorax" not in data
    assert b"2.25.1" not in data
    label = Label.decode(data)
    assert (label.year, label.modalities, label.regions, label.instances, label.report, label.revision) == (
        2026,
        ("CT", "SR"),
        BodyRegion.CHEST,
        412,
        True,
        1,
    )


def test_with_consent_it_tells_date_description_and_uid() -> None:
    label = Label.decode(Label.of_study(study(), REF, detail=True).encode())
    assert label.detail == LabelDetail(StudyInstanceUID.parse("2.25.1"), "20261124", "CT Thorax")


def test_existence_is_a_ref_and_whether_it_was_withdrawn() -> None:
    full = Label.of_study(study(), REF, detail=True, withdrawn=True)
    assert Label.decode(full.existence().encode()) == Label(ref=REF, withdrawn=True, existence_only=True)


def test_what_does_not_fit_is_left_out() -> None:
    crowd = tuple(f"MODALITY{number:02}" for number in range(9))
    label = Label.of_study(
        study(
            modalities=("ct", "CT", "CT", "", *crowd),
            date="2026",
            description="Prüfung\n" + "ü" * 200,
            instances=2**40,
            body_parts=("NOWHERE",),
        ),
        REF,
        detail=True,
    )
    label = Label.decode(label.encode())
    assert label.modalities == ("CT", *crowd[:2])
    assert (label.year, label.instances, label.regions) == (0, 2**32 - 1, NO_REGION)
    assert label.detail is not None
    assert label.detail.study_date == ""
    assert label.detail.description.startswith("Prüfung üü")
    assert DESCRIPTION_BYTES - 1 <= len(label.detail.description.encode()) <= DESCRIPTION_BYTES


def test_regions_come_from_the_terms_and_add_up() -> None:
    assert body_regions(["CHEST", "ABDOMENPELVIS"]) == BodyRegion.CHEST | BodyRegion.ABDOMEN | BodyRegion.PELVIS
    assert body_regions(["L-SPINE", "whole body"]) == BodyRegion.SPINE | BodyRegion.WHOLE_BODY
    assert body_regions(["", "PHANTOM"]) == NO_REGION


@pytest.mark.parametrize(
    ("offset", "new"),
    [
        (0, b"\2"),  # a later version
        (1, b"\x20"),  # an unknown flag
        (2, b"\4\0"),  # an unknown region
        (4, b"\0\1"),  # the year 1
        (6, b"\0\1"),  # not zero
        (32, b"ct"),  # lower case
        (32, b"CT\\CT"),  # twice
        (32, b"CT\0SR"),  # more after the padding
        (32, b"C\xff"),
        (64, b"20261124"),  # detail without its flag
        (136, b"x"),
    ],
)
def test_a_label_against_the_rules_is_refused(offset: int, new: bytes) -> None:
    data = bytearray(Label.of_study(study(), REF, detail=False).encode())
    data[offset : offset + len(new)] = new
    with pytest.raises(EntryMalformed):
        Label.decode(bytes(data))


@pytest.mark.parametrize(
    ("offset", "new"),
    [(64, b"2026112x"), (64, bytes(7) + b"1"), (72, b"2.25.01"), (72, bytes(64)), (72, b"2.25.1 "), (136, b"a\nb")],
)
def test_detail_against_the_rules_is_refused(offset: int, new: bytes) -> None:
    data = bytearray(Label.of_study(study(), REF, detail=True).encode())
    data[offset : offset + len(new)] = new
    with pytest.raises(EntryMalformed):
        Label.decode(bytes(data))


@pytest.mark.parametrize("offset", [2, 5, 11, 15, 32])
def test_existence_with_anything_beside_it_is_refused(offset: int) -> None:
    data = bytearray(Label(ref=REF, existence_only=True).encode())
    data[offset] = 65
    with pytest.raises(EntryMalformed):
        Label.decode(bytes(data))


def test_another_length_is_refused() -> None:
    with pytest.raises(EntryMalformed):
        Label.decode(bytes(LABEL_BYTES + 1))


@pytest.mark.parametrize(
    "label",
    [
        Label(ref=REF, modalities=("A" * 16, "B" * 16)),
        Label(ref=REF, modalities=("ct",)),
        Label(ref=REF, existence_only=True, report=True),
        Label(ref=REF, existence_only=True, consent=True),
        Label(ref=REF, detail=LabelDetail(StudyInstanceUID.parse("2.25.1"), description="x" * 65)),
        Label(ref=REF, year=1200),
    ],
)
def test_a_label_that_cannot_be_read_is_not_written(label: Label) -> None:
    with pytest.raises(ValueError, match=r"."):
        label.encode()


@given(st.binary(min_size=LABEL_BYTES, max_size=LABEL_BYTES) | st.binary(max_size=LABEL_BYTES + 1))
def test_noise_is_refused_or_spelt_in_one_way(data: bytes) -> None:
    try:
        label = Label.decode(data)
    except EntryMalformed:
        return
    assert label.encode() == data


@given(
    flags=st.integers(0, 31),
    tail=st.binary(max_size=168),
    modalities=st.text("CTMRSR\\\0 ", max_size=32),
)
def test_nearly_right_labels_are_refused_or_spelt_in_one_way(flags: int, tail: bytes, modalities: str) -> None:
    head = bytes([1, flags]) + bytes(14) + REF.value + modalities.encode().ljust(32, b"\0")
    data = (head + tail).ljust(LABEL_BYTES, b"\0")[:LABEL_BYTES]
    try:
        label = Label.decode(data)
    except EntryMalformed:
        return
    assert label.encode() == data


@given(st.lists(st.text(max_size=20)), st.text(max_size=10), st.text(max_size=100), st.lists(st.text(max_size=16)))
def test_any_study_can_be_announced(modalities: list[str], date: str, description: str, parts: list[str]) -> None:
    label = Label.of_study(
        study(modalities=tuple(modalities), date=date, description=description, body_parts=tuple(parts)),
        REF,
        detail=True,
    )
    assert Label.decode(label.encode()) == label
