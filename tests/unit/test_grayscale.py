"""From stored values to grey: what PS3.3 section C.11 says, and what real headers do to it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.dicom.decode import Stored
from node.dicom.grayscale import to_grey


def grey(values: list[int] | NDArray[np.generic], header: Dataset, *, bits: int = 12, **how: object) -> list[int]:
    array = np.asarray(values)
    array = array if array.dtype != np.int64 else array.astype("<i2" if header.get("PixelRepresentation") else "<u2")
    stored = Stored(array.reshape(1, -1), str(how.get("photometric", "MONOCHROME2")), bits)
    window = how.get("window")
    return [int(v) for v in to_grey(stored, header, int(str(how.get("number", 1))), window)[0]]  # type: ignore[arg-type]


def header(**values: object) -> Dataset:
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def lut(first: int, bits: int, data: list[int]) -> Dataset:
    return header(LUTDescriptor=[len(data), first, bits], LUTData=np.asarray(data, "<u2").tobytes())


def test_without_any_word_the_whole_range_is_shown() -> None:
    assert grey([100, 200, 300], header()) == [0, 128, 255]
    assert grey([100, 200, 300], header(), photometric="MONOCHROME1") == [255, 128, 0]
    assert grey([7, 7], header()) == [128, 128]
    padded = header(PixelPaddingValue=0)
    padded["PixelPaddingValue"].VR = "US"
    assert grey([0, 100, 200], padded) == [0, 0, 255]


def test_a_window_of_the_header() -> None:
    assert grey([0, 1000, 1100, 2000], header(WindowCenter=1050, WindowWidth=101)) == [0, 1, 255, 255]
    rescaled = header(WindowCenter="50", WindowWidth="101", RescaleSlope="1", RescaleIntercept="-1000")
    assert grey([0, 1000, 1100, 2000], rescaled) == [0, 1, 255, 255]
    assert grey([0, 1, 2], header(WindowCenter=[1.5, 9], WindowWidth=[1, 9])) == [0, 0, 255]
    assert grey([100, 300], header(WindowCenter=0, WindowWidth=0)) == [0, 255], "no window at all"
    assert grey([0, 4095], header(WindowCenter=2048, WindowWidth=4096, VOILUTFunction="SIGMOID")) == [30, 225]
    assert grey([0, 50, 100], header(WindowCenter=50, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")) == [0, 128, 255]


def test_a_window_that_is_asked_for_goes_first() -> None:
    both = header(WindowCenter=9, WindowWidth=9, VOILUTSequence=[lut(0, 8, [0, 255])])
    assert grey([0, 50, 100], both, window=(50.0, 100.0, "LINEAR_EXACT")) == [0, 128, 255]


def test_luts() -> None:
    assert grey([0, 9, 10, 11, 12], header(VOILUTSequence=[lut(10, 8, [0, 51, 255])])) == [0, 0, 0, 51, 255]
    modality = header(ModalityLUTSequence=[lut(0, 16, [1000, 500, 0])], WindowCenter=500, WindowWidth=1000)
    modality.VOILUTFunction = "LINEAR_EXACT"
    assert grey([0, 1, 2, 3], modality) == [255, 128, 0, 0]


def test_signed_values() -> None:
    signed = header(PixelRepresentation=1, WindowCenter=0, WindowWidth=200, VOILUTFunction="LINEAR_EXACT")
    assert grey([-100, 0, 100], signed) == [0, 128, 255]
    assert grey([-2048, 2047], header(PixelRepresentation=1)) == [0, 255]


def test_enhanced_objects_tell_it_frame_by_frame() -> None:
    def frame(center: float) -> Dataset:
        window = header(WindowCenter=center, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")
        return header(FrameVOILUTSequence=[window])

    shared = header(PixelValueTransformationSequence=[header(RescaleSlope=2, RescaleIntercept=-100)])
    enhanced = header(SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=[frame(50), frame(150)])
    assert grey([50, 75, 100, 125], enhanced, number=1) == [0, 128, 255, 255]
    assert grey([50, 75, 100, 125], enhanced, number=2) == [0, 0, 0, 128]
    assert len(grey([50], enhanced, number=3)) == 1, "fewer items than frames"


@pytest.mark.parametrize("kind", ["<u4", "<i4", "<f4", "<f8"])
def test_wide_values_are_mapped_one_by_one(kind: str) -> None:
    assert grey(np.asarray([0, 50_000, 100_000], kind), header(), bits=32) == [0, 128, 255]


def test_numbers_that_are_none() -> None:
    assert grey(np.asarray([0, np.nan, 10], "<f4"), header(), bits=32) == [0, 0, 255]
    assert grey([0, 10], header(RescaleSlope=None, RescaleIntercept="")) == [0, 255]
