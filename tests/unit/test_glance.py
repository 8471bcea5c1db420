"""A glance says what a worker would say, or nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ct import CtStudy, dataset_of
from support.datasets import DEFLATED, EXPLICIT, IMPLICIT, JPEG, deflate, element, fragments, identity, implicit
from support.zoo import MemorySource, brain, datasets

from node.dicom.glance import GLANCE_BYTES, MAX_ELEMENTS, glance
from node.dicom.part10 import split_part10
from node.dicom.scan import header_of, scan
from node.model.ids import TransferSyntaxUID

CT = dataset_of(next(CtStudy(1).files()))
PIXELS = element(0x7FE00010, "OW", bytes(64))


def scanned(dataset: bytes, syntax: TransferSyntaxUID) -> object:
    return header_of(scan(MemorySource(dataset), syntax), syntax)


def test_says_what_the_scan_says_of_the_whole_zoo() -> None:
    seen = 0
    for path, dataset, syntax in datasets():
        found = glance(dataset, syntax)
        if found is not None and found.end == len(dataset):
            assert found.header == scanned(dataset, syntax), path
            seen += 1
    assert seen > 20


def test_usual_images_need_no_more() -> None:
    found = glance(CT[:GLANCE_BYTES], EXPLICIT)
    assert found is not None
    assert found.end == len(CT)
    padded, *usual = brain()  # zeros behind the pixels of the first one: a worker looks
    for slice_ in usual:
        part = split_part10(slice_)
        seen = glance(slice_[part.dataset_offset :], part.transfer_syntax)
        assert seen is not None
        assert seen.end == len(slice_) - part.dataset_offset
    part = split_part10(padded)
    seen = glance(padded[part.dataset_offset :], part.transfer_syntax)
    assert seen is not None
    assert seen.end < len(padded) - part.dataset_offset


@pytest.mark.parametrize(
    ("dataset", "syntax"),
    [
        (b"", EXPLICIT),
        (identity(), EXPLICIT),  # no pixels: its end is not told by them
        (deflate(identity() + PIXELS), DEFLATED),
        (identity() + fragments(b"", b"xy"), JPEG),
        (implicit(0x00080016, "1.2") + implicit(0x7FE00010, bytes(8)), IMPLICIT),  # three UIDs are missing
        (element(0x00080005, "CS", "ISO 2022 IR 6\\ISO 2022 IR 87") + identity() + PIXELS, EXPLICIT),
        (element(0x00080005, "CS", "GB18030 ") + identity() + PIXELS, EXPLICIT),
        (element(0x00080005, "CS", "ISO_IR 13") + identity() + PIXELS, EXPLICIT),
        (element(0x00080005, "CS", "ISO_IR 149") + identity() + PIXELS, EXPLICIT),
        (identity() + element(0x00200010, "SH", "\x1b$B0!") + PIXELS, EXPLICIT),  # nothing was declared
        (identity() + element(0x00290010, "OB", bytes(GLANCE_BYTES)) + PIXELS, EXPLICIT),
        (identity() + b"".join(element(0x00291000 + n, "LO", "") for n in range(MAX_ELEMENTS)) + PIXELS, EXPLICIT),
        (identity("1.2.x") + PIXELS, EXPLICIT),
        (element(0x00080018, "UI", b"1" * 5000) + identity() + PIXELS, EXPLICIT),
    ],
)
def test_the_rest_is_left_to_a_worker(dataset: bytes, syntax: TransferSyntaxUID) -> None:
    assert glance(dataset, syntax) is None


def test_what_is_in_sequences_counts() -> None:
    item = b"\xfe\xff\x00\xe0" + bytes(4)
    end = b"\xfe\xff\xdd\xe0" + bytes(4)

    def with_items(count: int) -> bytes:
        return identity() + element(0x00400275, "SQ", count * item + end, 0xFFFFFFFF) + PIXELS

    assert glance(with_items(MAX_ELEMENTS // 2), EXPLICIT) is not None
    assert glance(with_items(2 * MAX_ELEMENTS), EXPLICIT) is None


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(CT[:4096])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, 1200))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=6))
    return bytes(data) + CT[4096:]


@settings(max_examples=200, deadline=2000)
@given(damaged())
def test_never_raises_and_never_says_anything_else(dataset: bytes) -> None:
    found = glance(dataset, EXPLICIT)
    if found is not None and found.end == len(dataset):
        assert found.header == scanned(dataset, EXPLICIT)


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=400), st.sampled_from([EXPLICIT, IMPLICIT, DEFLATED]))
def test_never_raises_on_nonsense(dataset: bytes, syntax: TransferSyntaxUID) -> None:
    glance(dataset, syntax)
