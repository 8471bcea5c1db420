"""Stored grey values to eight bits: modality LUT, VOI LUT, polarity (PS3.3 C.11, PS3.4 annex N). In a worker."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.dicom.decode import Image, Stored

Floats = NDArray[np.float64]
Window = tuple[float, float, str]  # centre, width, VOI LUT Function

LINEAR, LINEAR_EXACT, SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"
_TABLE_BITS = 16  # up to here each possible value is mapped once, and the image by a table
_WHITE = 255.0
_ROWS = 256
_MAX_LUT = 1 << 16
_NO_WIDTH = 1e-9  # of an image of one value


@dataclass(frozen=True, slots=True)
class _Lut:
    """A LUT of the header: entries from ``first`` on; input outside is the nearest entry's."""

    first: int
    bits: int
    entries: Floats

    def __call__(self, values: Floats) -> Floats:
        index = np.clip(values - self.first, 0, len(self.entries) - 1).astype(np.intp)
        return self.entries[index]


def to_grey(stored: Stored, header: Dataset, number: int, window: Window | None) -> NDArray[np.uint8]:
    """The picture: ``window`` if one is wanted, else the header's VOI LUT or window, else from darkest to brightest.

    Args:
        stored: the frame.
        header: the data set.
        number: of the frame, from 1: enhanced objects tell LUTs and windows frame by frame.
        window: in units after the modality LUT.
    """
    groups = _groups(header, number)
    values = stored.values
    if window is None and _voi_lut(groups) is None:
        window = _window(groups) or _whole_range(values, groups, header)
    mapping = _Mapping(groups, window, bool(header.get("PixelRepresentation", 0)), stored.photometric == "MONOCHROME1")
    if values.dtype.kind not in "iu" or stored.bits > _TABLE_BITS:
        return mapping(values.astype(np.float64))
    low = -(1 << (stored.bits - 1)) if values.dtype.kind == "i" else 0
    table = mapping(np.arange(low, low + (1 << stored.bits), dtype=np.float64))
    out = np.empty(values.shape, np.uint8)
    for first in range(0, len(values), _ROWS):  # indexes are eight bytes a pixel: never all at once
        out[first : first + _ROWS] = table[values[first : first + _ROWS].astype(np.intp) - low]
    return out


@dataclass(frozen=True, slots=True)
class _Mapping:
    """From stored values to grey; without a window by the VOI LUT."""

    groups: Sequence[Dataset]
    window: Window | None
    signed: bool
    inverse: bool

    def __call__(self, values: Floats) -> NDArray[np.uint8]:
        modality = _modality(values, self.groups, signed=self.signed)
        voi = _voi_lut(self.groups) if self.window is None else None
        if voi is not None:
            grey = voi(modality) * (_WHITE / ((1 << voi.bits) - 1))
        else:
            assert self.window is not None
            grey = _windowed(modality, self.window)
        if self.inverse:
            grey = _WHITE - grey
        return np.clip(np.rint(np.nan_to_num(grey)), 0, _WHITE).astype(np.uint8)


def _windowed(values: Floats, window: Window) -> Floats:
    """PS3.3 section C.11.2.1.2 and C.11.2.1.3, to 0 … 255."""
    center, width, function = window
    if function == SIGMOID:
        return _WHITE / (1 + np.exp(np.clip(-4 * (values - center) / width, -500, 500)))
    if function == LINEAR_EXACT:
        return np.clip((values - center) / width + 0.5, 0, 1) * _WHITE
    if width <= 1:
        return np.where(values > center - 0.5, _WHITE, 0.0)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * _WHITE


def _groups(header: Dataset, number: int) -> list[Dataset]:
    """Where to look for LUTs and windows: the frame's functional groups, the shared ones, the data set itself."""
    found: list[Dataset] = []
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for item in [*frames[number - 1 : number], *shared[:1]]:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            found += list(item.get(name) or [])[:1]
    return [*found, header]


def _modality(values: Floats, groups: Sequence[Dataset], *, signed: bool) -> Floats:
    for group in groups:
        lut = _lut(group, "ModalityLUTSequence", signed=signed)
        if lut is not None:
            return lut(values)
        slope, intercept = _number(group, "RescaleSlope"), _number(group, "RescaleIntercept")
        if slope is not None or intercept is not None:
            return values * (1.0 if slope is None else slope) + (intercept or 0.0)
    return values


def _voi_lut(groups: Sequence[Dataset]) -> _Lut | None:
    return next((lut for lut in (_lut(g, "VOILUTSequence", signed=True) for g in groups) if lut is not None), None)


def _window(groups: Sequence[Dataset]) -> Window | None:
    """The first window with a positive width (zero is what some devices write for none)."""
    for group in groups:
        center, width = _number(group, "WindowCenter"), _number(group, "WindowWidth")
        if center is not None and width is not None and width > 0:
            return center, width, str(group.get("VOILUTFunction", "") or LINEAR).upper()
    return None


def _whole_range(values: Image, groups: Sequence[Dataset], header: Dataset) -> Window:
    """From the darkest to the brightest value that is not padding (PS3.3 section C.7.5.1.1.2)."""
    padding = header.get("PixelPaddingValue")
    used = values[values != padding] if isinstance(padding, int) else values
    used = used if used.size else values
    stored = np.asarray((np.nanmin(used), np.nanmax(used)), np.float64)
    ends = _modality(stored, groups, signed=bool(header.get("PixelRepresentation", 0)))
    low, high = float(ends.min()), float(ends.max())
    return (low + high) / 2, max(high - low, _NO_WIDTH), LINEAR_EXACT


def _lut(group: Dataset, name: str, *, signed: bool) -> _Lut | None:
    items = group.get(name)
    if not items:
        return None
    count, first, bits = (int(n) for n in items[0].LUTDescriptor)
    data = items[0].LUTData
    if isinstance(data, bytes):
        wide = len(data) >= 2 * (count or _MAX_LUT)
        entries = np.frombuffer(data, "<u2" if wide else np.uint8).astype(np.float64)
    else:
        entries = np.atleast_1d(np.asarray(data, np.float64))
    if signed and first >= 1 << 15:
        first -= 1 << 16
    entries = entries[: count or _MAX_LUT]
    return _Lut(first, min(max(bits, 1), 16), entries) if entries.size else None


def _number(group: Dataset, keyword: str) -> float | None:
    """The first value of a DS; None where it is missing or no number."""
    value = group.get(keyword)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    try:
        number = float(value) if value is not None and value != "" else None
    except (TypeError, ValueError):
        return None
    return number if number is not None and np.isfinite(number) else None
