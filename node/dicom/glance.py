"""The header of an ordinary image, read while its pixels still arrive, in the process that receives it.

Parsing belongs into worker processes, where a hostile data set costs nothing but one of them. What is read here is so
little that it can be bounded instead (docs/decisions/0006-glance.md): a copy of the first 32 KiB, at most a thousand
elements, the same walk and the same decoding as there, no multi-byte character sets, nothing inflated. Whatever does
not fit raises nothing and is no answer: then a worker looks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from node.dicom.charset import character_sets
from node.dicom.part10 import Buffer
from node.dicom.scan import CHARACTER_SET, MAX_VALUE, WANTED, RawHeader, facts_of, header_of
from node.dicom.structure import PIXEL_DATA, UNDEFINED, Cursor, Element, Encoding, Unusual, walk
from node.errors.dicom import DicomRefused
from node.model.ids import TransferSyntaxUID
from node.model.instance import InstanceHeader

GLANCE_BYTES = 32 * 1024  # holds the elements before the pixel data of nearly every image
_ESCAPE = b"\x1b"  # begins another character set (PS3.5 section 6.1.2.5), declared or not
_SIMPLE = frozenset({"ascii", "latin_1", "utf_8", *(f"iso8859_{part}" for part in (2, 3, 4, 5, 6, 7, 8, 9, 11, 15))})
MAX_ELEMENTS = 1000  # of them, those in sequences included: 2 ms at worst


@dataclass(frozen=True, slots=True)
class Glance:
    """``end``: bytes that the data set has if it ends with its pixel data; what has others needs a closer look."""

    header: InstanceHeader
    end: int


class _Beginning:
    """The first bytes of a data set as a ``structure.Source``; more there is not."""

    one_way = False

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer only at the end."""
        return self._data[offset : offset + length]

    def reaches(self, end: int) -> bool:
        """Whether there are ``end`` bytes."""
        return end <= len(self._data)

    def after_fragments(self, offset: int) -> int | None:  # noqa: ARG002 - the walk ends before
        """Not looked for."""
        return None


def glance(dataset: Buffer, syntax: TransferSyntaxUID) -> Glance | None:
    """Read the header from the beginning of a data set; None if that takes more than a glance. Never raises."""
    encoding = Encoding.of(syntax)
    if encoding.deflated:
        return None
    cursor = Cursor(_Beginning(bytes(memoryview(dataset)[:GLANCE_BYTES])))
    try:
        values, end = _look(cursor, walk(cursor, encoding, most=MAX_ELEMENTS))
        header = header_of(facts_of(RawHeader(values, has_pixels=True, big_endian=encoding.big)), syntax)
    except (DicomRefused, Unusual):
        return None
    return Glance(header, end)


def _look(cursor: Cursor, elements: Iterator[Element]) -> tuple[dict[int, bytes], int]:
    values: dict[int, bytes] = {}
    for element in elements:
        if element.tag in PIXEL_DATA:
            if element.length == UNDEFINED or not _is_simple(values):
                break
            return values, element.offset + element.length
        if element.tag in WANTED:
            if element.length > MAX_VALUE:
                break
            values[element.tag] = cursor.bytes(element.offset, element.length)
    raise Unusual


def _is_simple(values: Mapping[int, bytes]) -> bool:
    """Whether all text is in one set of single bytes, or in UTF-8: no codec with states is needed, whatever it says."""
    (first, *more) = character_sets(values.get(CHARACTER_SET, b""))
    return not more and first in _SIMPLE and not any(_ESCAPE in value for value in values.values())
