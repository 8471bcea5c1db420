import base64
import json
import struct
from typing import Any

import pydicom
import pytest
from support.datasets import (
    BIG,
    DEFLATED,
    DELIMITED_ITEM,
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    JPEG,
    SEQUENCE_END,
    UNDEFINED,
    deflate,
    element,
    fragments,
    identity,
    implicit,
    nested,
    pixels,
)
from support.zoo import MemorySource, brain, zoo

from node.dicom.metadata import locate, metadata
from node.dicom.part10 import split_part10
from node.errors.dicom import DicomRefused, HeaderTooLarge, NoSuchElement, Truncated
from node.model.ids import TransferSyntaxUID

URI = "http://node/instances/1/bulkdata"


def told(dataset: bytes, syntax: TransferSyntaxUID = EXPLICIT) -> dict[str, Any]:
    text = metadata(MemorySource(dataset), syntax, URI)
    document: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return document


def sequence(tag: int, content: bytes) -> bytes:
    return element(tag, "SQ", DELIMITED_ITEM + content + ITEM_END + SEQUENCE_END, UNDEFINED)


@pytest.mark.filterwarnings("ignore")
def test_says_what_pydicom_says_of_the_whole_zoo() -> None:
    compared = 0
    for path in zoo():
        data = path.read_bytes()
        try:
            part = split_part10(data)
            ours = told(data[part.dataset_offset :], part.transfer_syntax)
        except DicomRefused:
            continue
        theirs = pydicom.dcmread(path, stop_before_pixels=True)
        for item in theirs:
            key = f"{item.tag:08X}"
            if item.tag.element == 0 or item.keyword in {"SpecificCharacterSet", "WindowCenter", "WindowWidth"}:
                continue
            assert key in ours, (path.name, item)
            if item.VR in {"UI", "US", "SS", "UL", "SL", "AT"} and not item.is_empty and ours[key]["vr"] == item.VR:
                values = item.value if item.VM > 1 else [item.value]
                texts = [f"{v:08X}" if item.VR == "AT" else str(v) for v in values]
                assert list(map(str, ours[key]["Value"])) == texts, (path.name, item)
            if item.VR == "SQ":
                assert len(ours[key].get("Value", [])) == len(item.value), (path.name, item)
        compared += 1
    assert compared > 240


def test_pixel_data_is_a_reference_and_text_is_utf_8() -> None:
    dataset = element(0x00080005, "CS", "ISO_IR 100") + identity() + element(0x00104000, "LT", b"gr\xfc\xdfe\r\nzwei ")
    document = told(dataset + pixels())
    assert document["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert document["00104000"] == {"vr": "LT", "Value": ["grüße\nzwei"]}
    assert document["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    assert document["7FE00010"] == {"vr": "OW", "BulkDataURI": f"{URI}/7FE00010"}
    assert told(identity() + fragments(b"ab"), JPEG)["7FE00010"]["BulkDataURI"] == f"{URI}/7FE00010"
    assert told(identity())["00080005"]["Value"] == ["ISO_IR 192"]
    assert "7FE00010" not in told(identity())


@pytest.mark.parametrize(
    ("center", "width", "kept"),
    [("40", "400", True), ("0", "0", False), ("40", "-1", False), ("40", "x", False), ("40\\50", "400\\0", False),
     ("40", "400\\500", False)],
)  # fmt: skip
def test_a_voi_window_that_no_viewer_can_use_is_left_out(center: str, width: str, kept: bool) -> None:  # noqa: FBT001
    voi = element(0x00281050, "DS", center) + element(0x00281051, "DS", width)
    document = told(identity() + voi + sequence(0x52009229, sequence(0x00289132, voi)))
    inner = document["52009229"]["Value"][0]["00289132"]["Value"][0]
    for where in (document, inner):
        assert ("00281050" in where, "00281051" in where) == (kept, kept)


def test_the_mr_series_has_no_window() -> None:
    part = split_part10(brain()[1])
    document = told(brain()[1][part.dataset_offset :], part.transfer_syntax)
    assert "00281051" not in document
    assert document["00280010"] == {"vr": "US", "Value": [256]}


def test_numbers_that_are_none_stay_valid_json() -> None:
    dataset = identity() + element(0x00189306, "FD", struct.pack("<3d", float("nan"), float("inf"), -1.5))
    dataset += element(0x00200013, "IS", "1A") + element(0x00201041, "DS", "1.50\\nan\\")
    document = told(dataset)
    assert document["00189306"]["Value"] == ["NaN", "inf", -1.5]
    assert document["00200013"]["Value"] == ["1A"]
    assert document["00201041"]["Value"] == [1.5, "NaN", None]


def test_small_binaries_are_inline_and_large_ones_by_reference() -> None:
    big = identity(order=">") + element(0x00281201, "OW", b"\1\2\3\4", order=">")
    assert base64.b64decode(told(big, BIG)["00281201"]["InlineBinary"]) == b"\2\1\4\3"
    report = sequence(0x00081140, element(0x00420011, "OB", bytes(5000)))
    document = told(identity() + report)
    inner = document["00081140"]["Value"][0]["00420011"]
    assert inner == {"vr": "OB", "BulkDataURI": f"{URI}/00081140/0/00420011"}


@pytest.mark.filterwarnings("ignore:Expected explicit VR")
def test_every_encoding_says_the_same() -> None:
    little = identity() + element(0x00280010, "US", b"\3\0")
    plain = b"".join((
        implicit(0x00080016, "1.2.840.10008.5.1.4.1.1.2"), implicit(0x00080018, "1.2.3.4"),
        implicit(0x00100010, "Doe^Jane"), implicit(0x00100020, "P1"), implicit(0x0020000D, "1.2.3"),
        implicit(0x0020000E, "1.2.3.1"), implicit(0x00280010, b"\3\0"),
    ))  # fmt: skip
    expected = told(little)
    assert told(deflate(little), DEFLATED) == told(plain, IMPLICIT) == expected
    assert told(identity(order=">") + element(0x00280010, "US", b"\0\3", order=">"), BIG) == expected
    assert told(plain, EXPLICIT) == expected  # a label that lies, by way of pydicom


def test_implicit_values_get_their_meaning_from_the_dictionary() -> None:
    signed = implicit(0x00280103, b"\1\0") + implicit(0x00280106, struct.pack("<h", -5))
    document = told(identity_implicit() + implicit(0x00291010, b"x") + signed, IMPLICIT)
    assert document["00280106"] == {"vr": "SS", "Value": [-5]}
    assert document["00291010"]["vr"] == "UN"


def identity_implicit() -> bytes:
    return implicit(0x00080016, "1.2.840.10008.5.1.4.1.1.2") + implicit(0x00080018, "1.2.3.4")


def test_locates_what_a_reference_names() -> None:
    inner = element(0x00420011, "OB", b"%PDF" * 500)
    dataset = identity() + sequence(0x00081140, inner) + pixels(64)
    for path, start in (("7FE00010", bytes(64)), ("00081140/0/00420011", b"%PDF" * 500)):
        offset, length, _ = locate(MemorySource(dataset), EXPLICIT, path)
        assert dataset[offset : offset + length] == start


@pytest.mark.parametrize(
    "path", ["", "7FE00010/0", "00081140", "00081140/1/00420011", "00081140/0", "00420011", "zz", "1/" * 200, "../x"]
)
def test_does_not_locate_what_is_not_there(path: str) -> None:
    dataset = identity() + sequence(0x00081140, b"") + fragments(b"ab")
    with pytest.raises(NoSuchElement):
        locate(MemorySource(dataset), JPEG, path)


def test_deflated_values_have_no_place() -> None:
    with pytest.raises(NoSuchElement):
        locate(MemorySource(deflate(identity() + pixels())), DEFLATED, "7FE00010")


def test_limits() -> None:
    with pytest.raises(HeaderTooLarge):
        told(identity() + nested(40) + (ITEM_END + SEQUENCE_END) * 40)
    with pytest.raises(HeaderTooLarge):
        told(identity() + element(0x00091010, "OB", bytes(17 << 20)))
    with pytest.raises(Truncated):
        told(identity() + element(0x00091010, "OB", b"abc", 100))
