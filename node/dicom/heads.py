"""pydicom for whatever the scan finds unusual: wrong VRs, implicit elements in explicit data sets and the like.

Runs in a worker process only, which has limits on time and memory: pydicom has none of its own. Only its structure is
used; values are decoded by ``scan.facts_of``.
"""

import io
import logging
import warnings
from dataclasses import dataclass

import pydicom.config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag

from node.dicom.inflate import InflatedSource
from node.dicom.scan import MAX_VALUE, WANTED, HeaderFacts, RawHeader, facts_of
from node.dicom.structure import LONG_VRS, PIXEL_DATA, UNDEFINED, Encoding, Source
from node.errors.dicom import HeaderTooLarge, InvalidHeader, Truncated

MAX_HEAD = 16 << 20  # bytes before the pixel data that pydicom is given


def quiet() -> None:
    """Keep pydicom from writing anything: its warnings quote values, which may be PHI. For worker processes."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True, slots=True)
class Head:
    """A data set before its pixel data, and where that begins; ``pixel_tag`` is 0 where there is none."""

    dataset: Dataset
    pixel_tag: int
    pixel_offset: int
    pixel_length: int
    big: bool

    def raw(self, tag: int) -> bytes:
        """The bytes of a top-level value; empty where there is none."""
        element: object = self.dataset.get_item(tag) if tag in self.dataset else None
        return element.value or b"" if isinstance(element, RawDataElement) else b""


class _PixelWatch:
    """Stops pydicom at the pixel data and keeps what it looked like."""

    def __init__(self) -> None:
        self.found = False
        self.tag = 0
        self.length = 0
        self.header_bytes = 0

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        self.found = tag in PIXEL_DATA
        self.tag = int(tag) if self.found else 0
        self.length = length
        self.header_bytes = 12 if vr is not None and vr.encode() in LONG_VRS else 8
        return self.found


def read_facts(source: Source, syntax: str, *, to_end: bool = True) -> HeaderFacts:
    """What :func:`node.dicom.scan.scan` returns, by way of pydicom; ``to_end`` as there.

    Raises:
        DicomRefused: truncated, beyond a limit, or not to be read at all.
    """
    encoding = Encoding.of(syntax)
    dataset, watch, end = _read(source, encoding)
    if watch.found and watch.length == UNDEFINED:
        if to_end:
            source.after_fragments(end)
    elif watch.found and not _inflated(source, encoding).reaches(end + watch.length):
        raise Truncated
    values: dict[int, bytes] = {}
    big = encoding.big
    for tag in WANTED:
        raw: object = dataset.get_item(tag) if tag in dataset else None
        if isinstance(raw, RawDataElement):
            if raw.length > MAX_VALUE:
                raise InvalidHeader(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is too long")
            values[tag] = raw.value or b""
            big = not raw.is_little_endian
    return facts_of(RawHeader(values, watch.found, big))


def read_head(source: Source, syntax: str) -> Head:
    """What stands before the pixel data, as pydicom reads it.

    Raises:
        DicomRefused: truncated, beyond a limit, or not to be read at all.
    """
    encoding = Encoding.of(syntax)
    dataset, watch, end = _read(source, encoding)
    return Head(dataset, watch.tag, end, watch.length, encoding.big)


def as_explicit_little(source: Source, syntax: str) -> bytes:
    """The data set before its pixel data, written anew in explicit little endian."""
    dataset, _, _ = _read(source, Encoding.of(syntax))
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    try:
        write_dataset(out, dataset)
    except Exception as exc:
        raise InvalidHeader("the data set cannot be read") from exc
    return out.getvalue()


def _inflated(source: Source, encoding: Encoding) -> Source:
    return InflatedSource(source) if encoding.deflated else source


def _read(source: Source, encoding: Encoding) -> tuple[Dataset, _PixelWatch, int]:
    data = _inflated(source, encoding).read(0, MAX_HEAD)
    stream, watch = io.BytesIO(data), _PixelWatch()
    try:
        dataset = read_dataset(stream, not encoding.explicit, not encoding.big, stop_when=watch)
    except RecursionError as exc:
        raise HeaderTooLarge("nesting") from exc
    except MemoryError:
        raise
    except Exception as exc:
        raise InvalidHeader("the data set cannot be read") from exc
    if len(data) == MAX_HEAD and not watch.found:
        raise HeaderTooLarge("length")
    for element in dataset._dict.values():  # noqa: SLF001  # the raw lengths, before conversion
        if (
            isinstance(element, RawDataElement)
            and element.length not in {0, UNDEFINED}
            and len(element.value or b"") < element.length
        ):
            raise Truncated
    return dataset, watch, stream.tell() + watch.header_bytes
