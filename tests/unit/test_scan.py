"""The scan against pydicom, on every file there is, and against files that are wrong in one way."""

import contextlib
import struct
import warnings
from functools import cache
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.multival import MultiValue
from support.datasets import (
    BIG,
    DEFLATED,
    DELIMITED_ITEM,
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    JPEG,
    SEQUENCE_END,
    UNDEFINED,
    bomb,
    deflate,
    element,
    fragments,
    identity,
    implicit,
    nested,
    pixels,
)
from support.zoo import MemorySource, brain, datasets

from node.dicom.heads import read_facts
from node.dicom.part10 import split_part10
from node.dicom.scan import HeaderFacts, as_date, as_time, header_of, scan
from node.dicom.structure import Unusual
from node.errors.dicom import DicomRefused, HeaderTooLarge, InvalidHeader, Truncated
from node.model.ids import TransferSyntaxUID

KEYWORDS = {
    "sop_class_uid": "SOPClassUID", "sop_instance_uid": "SOPInstanceUID", "study_instance_uid": "StudyInstanceUID",
    "series_instance_uid": "SeriesInstanceUID", "patient_id": "PatientID", "issuer": "IssuerOfPatientID",
    "patient_name": "PatientName", "birth_date": "PatientBirthDate", "sex": "PatientSex", "study_date": "StudyDate",
    "study_time": "StudyTime", "accession_number": "AccessionNumber", "study_id": "StudyID",
    "study_description": "StudyDescription", "referring_physician": "ReferringPhysicianName",
    "series_date": "SeriesDate", "series_time": "SeriesTime", "series_description": "SeriesDescription",
    "series_number": "SeriesNumber", "modality": "Modality", "body_part": "BodyPartExamined",
    "instance_number": "InstanceNumber",
}  # fmt: skip


def facts(dataset: bytes, syntax: TransferSyntaxUID = EXPLICIT) -> HeaderFacts:
    return scan(MemorySource(dataset), syntax)


@pytest.mark.filterwarnings("ignore")
def test_agrees_with_pydicom_on_the_whole_zoo() -> None:
    compared = 0
    for path, dataset, syntax in datasets():
        try:
            ours = facts(dataset, syntax)
        except DicomRefused:
            continue
        theirs = pydicom.dcmread(path)
        for name, keyword in KEYWORDS.items():
            value = theirs.get(keyword)
            text = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str("" if value is None else value)
            expected = text.strip()
            if name.endswith("date"):
                expected = expected.replace(".", "")
            if name.endswith("time"):
                expected = expected.replace(":", "")
            assert getattr(ours, name) == expected, (path.name, name)
        if any(tag in theirs for tag in (0x7FE00008, 0x7FE00009, 0x7FE00010)):
            for name, keyword in (("rows", "Rows"), ("columns", "Columns"), ("bits_allocated", "BitsAllocated")):
                if isinstance(theirs.get(keyword), int):
                    assert getattr(ours, name) == theirs.get(keyword), (path.name, name)
            frames = str(theirs.get("NumberOfFrames") or 1)
            assert ours.frames == (int(frames) if frames.isdigit() else 1), path.name
        else:
            assert ours.rows == ours.columns == ours.frames == 0
        compared += 1
    assert compared > 250


def test_scan_and_fallback_say_the_same_of_the_whole_zoo() -> None:
    for path, dataset, syntax in datasets():
        outcomes: list[object] = []
        for read in (scan, read_facts):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    outcomes.append(read(MemorySource(dataset), syntax))
            except DicomRefused as refusal:
                outcomes.append(type(refusal))
        if path.name != "emri_small_jpeg_2k_lossless_too_short.dcm" or isinstance(outcomes[0], HeaderFacts):
            assert outcomes[0] == outcomes[1], path.name


def test_the_fallback_reads_no_more_of_what_is_not_whole_than_scan_does() -> None:
    """The fragments of a large image that is still coming are not there to be walked through."""

    class Beginning(MemorySource):
        def after_fragments(self, offset: int) -> int:
            raise AssertionError(offset)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [
            (scan(Beginning(data), syntax, to_end=False), read_facts(Beginning(data), syntax, to_end=False))
            for path, data, syntax in datasets()
            if path.name in {"JPEG2000.dcm", "SC_rgb_rle.dcm", "color3d_jpeg_baseline.dcm"}
        ]
    assert found
    assert all(ours == theirs for ours, theirs in found)


def test_the_mr_series_is_taken_as_it_is() -> None:
    for number, data in enumerate(brain(), 1):
        part = split_part10(data)
        found = facts(data[part.dataset_offset :], part.transfer_syntax)
        assert (found.modality, found.instance_number, found.rows, found.frames) == ("MR", str(number), 256, 1)


def test_reads_every_encoding() -> None:
    rows = element(0x00280010, "US", struct.pack("<H", 3))
    little = identity() + rows + pixels()
    big = identity(order=">") + element(0x00280010, "US", struct.pack(">H", 3), order=">") + pixels(order=">")
    plain = b"".join((
        implicit(0x00080016, "1.2.840.10008.5.1.4.1.1.2"), implicit(0x00080018, "1.2.3.4"),
        implicit(0x00100010, "Doe^Jane"), implicit(0x00100020, "P1"), implicit(0x0020000D, "1.2.3"),
        implicit(0x0020000E, "1.2.3.1"), implicit(0x00280010, struct.pack("<H", 3)), implicit(0x7FE00010, bytes(8)),
    ))  # fmt: skip
    expected = facts(little)
    assert expected.rows == 3
    assert facts(big, BIG) == facts(plain, IMPLICIT) == facts(deflate(little), DEFLATED) == expected
    assert facts(identity() + rows + fragments(b"abcd", b"ef"), JPEG) == expected
    assert facts(little, TransferSyntaxUID("1.2.3.99")) == expected  # a private syntax
    assert facts(plain, EXPLICIT) == facts(little, IMPLICIT) == expected  # a label that lies


@pytest.mark.parametrize(
    "oddity",
    [
        element(0x00091010, "LO", b"odd", length=3),
        element(
            0x00081140, "SQ", DELIMITED_ITEM + element(0x00081150, "UI", "1.2") + ITEM_END + SEQUENCE_END, UNDEFINED
        ),
        element(0x00081140, "SQ", ITEM + struct.pack("<I", 10) + element(0x00081150, "UI", "1\0")),
        element(0x00081140, "SQ", b""),
        element(0x00091010, "UN", DELIMITED_ITEM + implicit(0x00081150, "1.2") + ITEM_END + SEQUENCE_END, UNDEFINED),
        element(0x00091010, "UN", bytes(70000)),
        element(0x00000000, "UL", bytes(4)),
    ],
    ids=["odd length", "undefined length", "defined length", "empty", "UN sequence", "long private", "group 0000"],
)
def test_legitimate_oddities_are_taken(oddity: bytes) -> None:
    head = identity()
    cut = len(element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2")) + len(element(0x00080018, "UI", "1.2.3.4"))
    if oddity[:2] == b"\0\0":
        cut = 0
    for tail in (b"", b"\0", bytes(12), bytes(4096)):
        assert facts(head[:cut] + oddity + head[cut:] + pixels() + tail).patient_id == "P1"


def test_an_element_that_reaches_past_the_end_is_truncation() -> None:
    whole = identity() + element(0x00081140, "SQ", DELIMITED_ITEM + ITEM_END + SEQUENCE_END, UNDEFINED) + pixels(64)
    harmless = set()
    for end in range(len(whole)):
        try:
            facts(whole[:end])
            harmless.add(end)
        except (Truncated, InvalidHeader):
            pass
        except Unusual:
            pytest.fail(f"cut at {end}")
    for end in harmless:  # between two elements nothing tells that more should follow, but for what must be there
        if end < len(identity()):
            with pytest.raises(InvalidHeader):
                header_of(facts(whole[:end]), EXPLICIT)


def test_cut_pixel_data_is_truncation() -> None:
    compressed = identity() + fragments(b"abcdef", b"gh")
    for end in range(len(identity()) + 12, len(compressed)):
        with pytest.raises(Truncated):
            facts(compressed[:end], JPEG)
    packed = deflate(identity() + pixels(1000))
    with pytest.raises((Truncated, InvalidHeader)):
        facts(packed[: len(packed) // 2], DEFLATED)


@pytest.mark.parametrize(
    ("dataset", "syntax"),
    [
        (identity() + nested(3000), EXPLICIT),
        (b"".join(element(0x00110000 + (i // 60000 << 17) + i % 60000, "UN", b"") for i in range(70000)), EXPLICIT),
        (bomb(b"", 0x00080010, 80), DEFLATED),
    ],
    ids=["nesting", "elements", "inflation"],
)
def test_limits(dataset: bytes, syntax: TransferSyntaxUID) -> None:
    with pytest.raises(HeaderTooLarge):
        facts(dataset, syntax)


def test_a_bomb_of_pixels_is_not_inflated_to_its_end() -> None:
    assert facts(bomb(identity(), 0x7FE00010, 200), DEFLATED).patient_id == "P1"


@pytest.mark.parametrize("uid", ["../../../../etc/cron.d/x", "1.2.3\n4", "1..2", "1.02", "1." + "2" * 64, "", "1.2/3"])
def test_a_uid_that_is_none_is_refused(uid: str) -> None:
    with pytest.raises(InvalidHeader):
        header_of(facts(identity(instance=uid)), EXPLICIT)


def test_a_value_of_unreal_length_is_refused() -> None:
    with pytest.raises(InvalidHeader):
        facts(identity() + element(0x00200010, "SH", "x" * 5000))


def test_stops_early_where_the_end_is_not_at_hand() -> None:
    head = identity() + element(0x00280010, "US", b"\3\0") + element(0x00281050, "DS", "1")
    whole = head + pixels(1 << 20)
    source = MemorySource(whole[: len(head)])
    found = scan(source, EXPLICIT, to_end=False)
    assert (found.rows, found.frames) == (3, 1)


@pytest.mark.parametrize(
    ("text", "date"),
    [("20250115", "20250115"), ("1997.04.24", "19970424"), ("2025-01-15", "20250115"), ("", ""), ("15/01/2025", "")],
)
def test_dates(text: str, date: str) -> None:
    assert as_date(text) == date


@pytest.mark.parametrize(
    ("text", "time"),
    [("101500", "101500"), ("10:15:00", "101500"), ("10", "10"), ("101500.25", "101500.25"), ("x", "")],
)
def test_times(text: str, time: str) -> None:
    assert as_time(text) == time


@cache
def small() -> list[tuple[Path, bytes, TransferSyntaxUID]]:
    return [entry for entry in datasets() if len(entry[1]) < 200_000]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, TransferSyntaxUID]:
    """A real head with a few bytes changed, removed or added."""
    _, dataset, syntax = draw(st.sampled_from(small()))
    data = bytearray(dataset)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(data), 3000)))
        cut = draw(st.integers(0, 4))
        data[at : at + cut] = draw(st.binary(max_size=6))
    return bytes(data), syntax


@settings(max_examples=300, deadline=2000)
@given(damaged())
def test_a_damaged_head_is_read_or_refused(case: tuple[bytes, TransferSyntaxUID]) -> None:
    dataset, syntax = case
    with contextlib.suppress(DicomRefused, Unusual):
        header_of(facts(dataset, syntax), syntax)
