"""Identifiers: what was written is read, whatever is sent is read or refused, within limits."""

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from support.datasets import EXPLICIT, IMPLICIT, element, nested

from node.dicom.identifier import (
    FAILED_SEQUENCE,
    FAILURE_REASON,
    MAX_KEYS,
    REFERENCED_CLASS,
    REFERENCED_INSTANCE,
    REFERENCED_SEQUENCE,
    TRANSACTION,
    Value,
    encode_elements,
    read_commitment_request,
    read_identifier,
)
from node.errors.dimse import InvalidIdentifier

SYNTAXES = st.sampled_from([EXPLICIT, IMPLICIT])
UIDS = st.from_regex(r"1\.2\.[1-9]{1,9}", fullmatch=True)
TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=40).map(str.strip)


@given(SYNTAXES, TEXT, TEXT)
def test_what_was_written_is_read(syntax: str, name: str, patient: str) -> None:
    elements = {0x00080005: "ISO_IR 192", 0x00080052: "STUDY", 0x00100010: name, 0x00100020: patient, 0x0020000D: ""}
    found = read_identifier(encode_elements(elements, syntax), syntax)
    assert found.level == "STUDY"
    assert found.keys == {0x00100010: name, 0x00100020: patient, 0x0020000D: ""}


@given(
    SYNTAXES,
    st.lists(st.tuples(st.just("1.2.840.10008.5.1.4.1.1.2"), st.from_regex(r"1\.2\.[1-9]{1,9}", fullmatch=True))),
)
def test_commitment_requests_are_read_as_pydicom_writes_and_reads_them(
    syntax: str, items: list[tuple[str, str]]
) -> None:
    sequence: list[dict[int, Value]] = [
        {REFERENCED_CLASS: sop_class, REFERENCED_INSTANCE: uid} for sop_class, uid in items
    ]
    failed: list[dict[int, Value]] = [{**item, FAILURE_REASON: 0x0112} for item in sequence]
    data = encode_elements({TRANSACTION: "1.2.3", REFERENCED_SEQUENCE: sequence, FAILED_SEQUENCE: failed}, syntax)
    read = read_commitment_request(data, syntax)
    assert (read.transaction, list(read.instances)) == ("1.2.3", items)
    dataset = read_dataset(BytesIO(data), syntax == IMPLICIT, True)
    assert [(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in dataset.ReferencedSOPSequence] == items
    assert [one.FailureReason for one in dataset.FailedSOPSequence] == [0x0112] * len(items)


@given(SYNTAXES, st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(syntax: str, data: bytes) -> None:
    for read in (read_identifier, read_commitment_request):
        try:
            read(data, syntax)
        except InvalidIdentifier:
            continue


@given(SYNTAXES, st.data())
def test_damaged_identifiers_are_read_or_refused(syntax: str, draw: st.DataObject) -> None:
    item = {REFERENCED_CLASS: "1.2", REFERENCED_INSTANCE: "1.2.3"}
    data = bytearray(
        encode_elements({0x00080052: "STUDY", TRANSACTION: "1.2", REFERENCED_SEQUENCE: [item] * 3}, syntax)
    )
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    for read in (read_identifier, read_commitment_request):
        try:
            read(bytes(data[: draw.draw(st.integers(0, len(data)))]), syntax)
        except InvalidIdentifier:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"".join(element(0x00100000 + n, "LO", "") for n in range(1, MAX_KEYS + 2)),
        nested(5000),
        struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFF0),
        element(0x00080052, "CS", "STUDY", length=1000),
    ],
)
def test_limits(data: bytes) -> None:
    with pytest.raises(InvalidIdentifier):
        read_identifier(data, EXPLICIT)


def test_sequences_and_private_keys_are_keys_without_a_value() -> None:
    private = element(0x00091001, "UN", "x")
    sequence = element(0x00400275, "SQ", b"\xfe\xff\x00\xe0\x00\x00\x00\x00")
    found = read_identifier(element(0x00080052, "CS", "series ") + private + sequence, EXPLICIT)
    assert found.level == "SERIES"
    assert found.keys[0x00400275] == ""
    assert 0x00091001 in found.keys
