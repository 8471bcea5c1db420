"""Overlay planes (PS3.3 section C.9.2) of a frame, in a worker; not those in unused bits of the pixels (retired)."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.dicom.decode import MAX_PIXELS

GROUPS = range(0x6000, 0x6020, 2)  # sixteen planes at most (PS3.5 section 7.6)
_ROWS, _COLUMNS, _FRAMES, _ORIGIN, _FIRST_FRAME, _BITS, _DATA = 0x10, 0x11, 0x15, 0x50, 0x51, 0x100, 0x3000


def drawn(header: Dataset, number: int, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Which pixels of frame ``number`` (from 1) lie under a plane; None where there is no plane for it."""
    mask: NDArray[np.bool_] | None = None
    for group in GROUPS:
        plane = _plane(header, group, number)
        if plane is None:
            continue
        if mask is None:
            mask = np.zeros(shape, np.bool_)
        top, left = _origin(header, group)
        part = plane[max(0, -top) :, max(0, -left) :]
        under = mask[max(0, top) :, max(0, left) :]
        rows, columns = min(part.shape[0], under.shape[0]), min(part.shape[1], under.shape[1])
        under[:rows, :columns] |= part[:rows, :columns]
    return mask


def _plane(header: Dataset, group: int, number: int) -> NDArray[np.bool_] | None:
    rows, columns = _number(header, group, _ROWS), _number(header, group, _COLUMNS)
    size = rows * columns
    data = header[group, _DATA].value if (group, _DATA) in header else None
    index = number - max(1, _number(header, group, _FIRST_FRAME, 1))
    count = max(1, _number(header, group, _FRAMES, 1))
    if not isinstance(data, bytes) or not 0 < size <= MAX_PIXELS or _number(header, group, _BITS, 1) != 1:
        return None
    if (group, _FRAMES) not in header:
        index = 0  # of a single-frame image, or for every frame
    if not 0 <= index < count:
        return None
    first, skip = divmod(index * size, 8)
    bits = np.unpackbits(np.frombuffer(data[first : first + size // 8 + 2], np.uint8), bitorder="little")
    bits = bits[skip : skip + size]
    return bits.reshape(rows, columns).astype(np.bool_) if len(bits) == size else None


def _origin(header: Dataset, group: int) -> tuple[int, int]:
    """Row and column of the plane's first pixel, from 0; what is damaged counts as the corner."""
    try:
        top, left = (int(n) - 1 for n in header[group, _ORIGIN].value)
    except (KeyError, TypeError, ValueError):
        return 0, 0
    return top, left


def _number(header: Dataset, group: int, element: int, default: int = 0) -> int:
    try:
        return int(header[group, element].value)
    except (KeyError, TypeError, ValueError):
        return default
