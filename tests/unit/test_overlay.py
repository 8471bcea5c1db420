"""Overlay planes: whose pixels they cover, wherever they lie, and nothing of what is damaged."""

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from support.zoo import zoo

from node.dicom.overlay import drawn

SHAPE = (4, 5)


def plane(bits: np.ndarray, *, origin: tuple[int, int] = (1, 1), group: int = 0x6000, **frames: int) -> Dataset:
    """A data set with one plane; ``bits`` is frames by rows by columns."""
    ds = Dataset()
    ds.add_new((group, 0x10), "US", bits.shape[-2])
    ds.add_new((group, 0x11), "US", bits.shape[-1])
    ds.add_new((group, 0x40), "CS", "G")
    ds.add_new((group, 0x50), "SS", list(origin))
    ds.add_new((group, 0x100), "US", 1)
    if frames:
        ds.add_new((group, 0x15), "IS", frames["count"])
        ds.add_new((group, 0x51), "US", frames["first"])
    ds.add_new((group, 0x3000), "OW", np.packbits(bits.ravel(), bitorder="little").tobytes())
    return ds


def test_no_plane() -> None:
    assert drawn(Dataset(), 1, SHAPE) is None


@pytest.mark.parametrize("origin", [(1, 1), (2, 3), (-1, 0), (0, -3), (4, 5), (100, 100), (-100, 1)])
def test_where_it_lies(origin: tuple[int, int]) -> None:
    bits = np.arange(12).reshape(3, 4) % 3 == 0
    expected = np.zeros(SHAPE, bool)
    for row in range(3):
        for column in range(4):
            at = (origin[0] - 1 + row, origin[1] - 1 + column)
            if bits[row, column] and 0 <= at[0] < SHAPE[0] and 0 <= at[1] < SHAPE[1]:
                expected[at] = True
    mask = drawn(plane(bits, origin=origin), 1, SHAPE)
    assert mask is not None
    assert np.array_equal(mask, expected)


def test_which_frames_it_is_for() -> None:
    """Two planes for the frames 3 and 4, not at a byte's border."""
    bits = np.random.default_rng(1).integers(0, 2, (2, *SHAPE)).astype(bool)
    ds = plane(bits, count=2, first=3)
    for number, expected in ((3, bits[0]), (4, bits[1])):
        mask = drawn(ds, number, SHAPE)
        assert mask is not None
        assert np.array_equal(mask, expected)
    assert drawn(ds, 2, SHAPE) is None
    assert drawn(ds, 5, SHAPE) is None


def test_several_planes_together() -> None:
    ds = plane(np.eye(4, dtype=bool))
    ds.update(plane(np.eye(4, dtype=bool)[::-1], group=0x601E))
    mask = drawn(ds, 1, (4, 4))
    assert mask is not None
    assert mask.sum() == 8


@pytest.mark.parametrize("name", ["examples_overlay.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm"])
def test_agrees_with_pydicom(name: str) -> None:
    ds = pydicom.dcmread(next(path for path in zoo() if path.name == name))
    mask = drawn(ds, 1, (ds.Rows, ds.Columns))
    assert mask is not None
    assert mask.any()
    assert np.array_equal(mask, ds.overlay_array(0x6000).astype(bool))


@given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=60), st.integers(-40000, 40000))
def test_damaged_planes_are_left_out(rows: int, columns: int, data: bytes, origin: int) -> None:
    ds = plane(np.ones((2, 2), bool), origin=(max(-32768, min(origin, 32767)), 1), count=origin % 7, first=1)
    ds[0x60000010].value, ds[0x60000011].value, ds[0x60003000].value = rows, columns, data
    mask = drawn(ds, 1, SHAPE)
    assert mask is None or mask.shape == SHAPE
