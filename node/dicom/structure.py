"""The structure of a data set (PS3.5 section 7), walked without keeping values: where each element lies, and no more.

The walk checks what can be checked without decoding: lengths stay inside the data set, sequences close, counts and
nesting stay below limits no real object comes near. Anything that is not plainly one of the three encodings raises
:class:`Unusual`, and the caller lets pydicom have a look.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from node.errors.dicom import HeaderTooLarge, Truncated
from node.model.ids import TransferSyntaxUID

IMPLICIT_LITTLE = TransferSyntaxUID("1.2.840.10008.1.2")
EXPLICIT_LITTLE = TransferSyntaxUID("1.2.840.10008.1.2.1")
EXPLICIT_BIG = TransferSyntaxUID("1.2.840.10008.1.2.2")
_DEFLATED = frozenset(
    {
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
        "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
    }
)

MAX_TOP_LEVEL = 1 << 16  # elements outside sequences; real objects have hundreds
MAX_ELEMENTS = 2_000_000  # with those inside sequences; RT structure sets and enhanced multi-frame reach some 100,000
MAX_NESTING = 64  # structured reports nest about 20 deep
MAX_WALKED = 256 << 20  # bytes looked at in one walk; values are skipped, not read
WINDOW = 16 << 10  # holds the whole header of most images

UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009})  # and Float, Double Float Pixel Data
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITER_GROUP = 0xFFFE
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_MAY_BE_UNDEFINED = frozenset((b"SQ", b"UN", b"OB", b"OW"))
NO_VR = b""
_FRAGMENT = struct.Struct("<HHI").unpack


class Unusual(Exception):
    """Not plainly in the encoding that was declared."""


class Source(Protocol):
    """The bytes of a data set. Offsets are in the data set, inflated where it is deflated."""

    @property
    def one_way(self) -> bool:
        """Whether it is inflated as it goes: then the walk ends at the pixel data."""

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer only at the end."""

    def reaches(self, end: int) -> bool:
        """Whether the data set has at least ``end`` bytes."""

    def after_fragments(self, offset: int) -> int | None:
        """Where encapsulated pixel data, whose first item is at ``offset``, ends; None where that is not looked for.

        Raises:
            Truncated: it does not end.
        """


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written. Compressed and unknown transfer syntaxes are explicit little endian (PS3.5 A.4)."""

    explicit: bool
    big: bool
    deflated: bool = False

    @classmethod
    def of(cls, syntax: str) -> "Encoding":
        """The encoding of a transfer syntax."""
        return cls(explicit=syntax != IMPLICIT_LITTLE, big=syntax == EXPLICIT_BIG, deflated=syntax in _DEFLATED)


class Element(NamedTuple):  # made for every element of every image: cheaper to make than a dataclass
    """A top-level element: ``offset`` and ``length`` of its value; ``length`` is UNDEFINED for delimited ones."""

    tag: int
    vr: bytes  # NO_VR in implicit encoding
    offset: int
    length: int
    start: int  # of the element itself


class Cursor:
    """Buffered access to a source: one window that moves forward, and a budget."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._buffer = b""
        self._base = 0
        self._walked = 0

    def window(self, offset: int, length: int) -> tuple[bytes, int]:
        """A buffer and the index in it where ``length`` bytes from ``offset`` stand.

        Raises:
            Truncated: the data set ends before.
        """
        index = offset - self._base
        if index < 0 or index + length > len(self._buffer):
            self._fill(offset, length)
            index = 0
        return self._buffer, index

    def bytes(self, offset: int, length: int) -> bytes:
        """Exactly these bytes."""
        buffer, index = self.window(offset, length)
        return buffer[index : index + length]

    def _fill(self, offset: int, length: int) -> None:
        wanted = max(length, WINDOW)
        self._walked += wanted
        if self._walked > MAX_WALKED:
            raise HeaderTooLarge("length")
        self._buffer, self._base = self.source.read(offset, wanted), offset
        if len(self._buffer) < length:
            raise Truncated


def walk(cursor: Cursor, encoding: Encoding, *, most: int = MAX_ELEMENTS) -> Iterator[Element]:
    """The top-level elements in the order they stand in. Zeros after the last one are padding.

    ``most``: elements in all, those in sequences included.

    Raises:
        Truncated: an element reaches past the end of the data set.
        HeaderTooLarge: a limit above is exceeded.
        Unusual: this is not in ``encoding``.
    """
    walker = _Walker(cursor, encoding, most)
    element = walker.element(0)
    for _ in range(min(MAX_TOP_LEVEL, most)):
        if element is None:
            return
        yield element
        after = walker.after(element)
        element = None if after is None else walker.element(after)
    raise HeaderTooLarge("elements")


def spans(cursor: Cursor, encoding: Encoding) -> Iterator[tuple[Element, int | None]]:
    """As :func:`walk`, each element with where it ends; None where that is not looked for. Goes on after pixel data."""
    walker = _Walker(cursor, encoding)
    element = walker.element(0)
    for _ in range(MAX_TOP_LEVEL):
        if element is None:
            return
        after = walker.after(element)
        yield element, after
        element = None if after is None else walker.element(after)
    raise HeaderTooLarge("elements")


class _Walker:
    """Element headers and the way through delimited sequences."""

    def __init__(self, cursor: Cursor, encoding: Encoding, most: int = MAX_ELEMENTS) -> None:
        self._cursor = cursor
        self._encoding = encoding
        self._most = most
        self._steps = 0
        self._tag_vr_length = struct.Struct(">HH2sH" if encoding.big else "<HH2sH").unpack_from
        self._long = struct.Struct(">I" if encoding.big else "<I").unpack_from
        self._tag_length = struct.Struct(">HHI" if encoding.big else "<HHI").unpack_from

    def element(self, at: int) -> Element | None:
        """The top-level element at ``at``; None where there is nothing but padding."""
        if not self._cursor.source.reaches(at + 8):
            self._check_tail(at)
            return None
        tag, vr, offset, length = self.header(at, self._encoding)
        if tag == 0 and length == 0 and vr in {NO_VR, b"\0\0"}:
            return None  # an empty (0000,0000) has no use outside a command: this is padding
        if vr == NO_VR and at == 0 and self._looks_explicit(length):
            raise Unusual
        if tag >> 16 == _DELIMITER_GROUP or not (vr in SHORT_VRS or vr in LONG_VRS or vr == NO_VR):
            raise Unusual
        return Element(tag, vr, offset, length, at)

    def after(self, element: Element) -> int | None:
        """Where the element ends; None where the walk ends with it."""
        source = self._cursor.source
        is_pixels, is_delimited = element.tag in PIXEL_DATA, element.length == UNDEFINED
        end = element.offset + element.length
        if is_pixels and source.one_way:
            if not is_delimited and not source.reaches(end):
                raise Truncated
            return None
        if not is_delimited:
            if not source.reaches(end):
                self._past_the_end(element)
            return end
        return source.after_fragments(element.offset) if is_pixels else self.after_sequence(element.offset, element.vr)

    def header(self, at: int, encoding: Encoding) -> tuple[int, bytes, int, int]:
        """Tag, VR, offset and length of the value of the element at ``at``."""
        buffer, index = self._cursor.window(at, 8)
        if not encoding.explicit:
            group, element, length = self._tag_length(buffer, index)
            return group << 16 | element, NO_VR, at + 8, length
        group, element, vr, length = self._tag_vr_length(buffer, index)
        if vr in LONG_VRS:
            buffer, index = self._cursor.window(at, 12)
            (length,) = self._long(buffer, index + 8)
            if length == UNDEFINED and vr not in _MAY_BE_UNDEFINED:
                raise Unusual
            return group << 16 | element, vr, at + 12, length
        return group << 16 | element, vr, at + 8, length

    def after_sequence(self, at: int, vr: bytes) -> int:
        """Where a sequence of undefined length, whose first item is at ``at``, ends. Needs no recursion."""
        implicit = Encoding(explicit=False, big=self._encoding.big)
        inner = implicit if vr == b"UN" else self._encoding  # PS3.5 section 6.2.2, note 2
        stack: list[tuple[bool, Encoding]] = [(False, inner)]  # (inside an item?, its encoding)
        while stack:
            self._step(len(stack))
            in_item, encoding = stack[-1]
            buffer, index = self._cursor.window(at, 8)
            group, element, length = self._tag_length(buffer, index)
            tag = group << 16 | element
            if tag == (_ITEM_END if in_item else _SEQUENCE_END):
                stack.pop()
                at += 8
            elif not in_item and tag == _ITEM:
                at += 8
                if length == UNDEFINED:
                    stack.append((True, encoding))
                else:
                    at += length
            elif in_item and group != _DELIMITER_GROUP:
                at = self._inner_element(at, encoding, stack, implicit)
            else:
                raise Unusual
            if not self._cursor.source.reaches(at):
                raise Truncated
        return at

    def _inner_element(
        self, at: int, encoding: Encoding, stack: list[tuple[bool, Encoding]], implicit: Encoding
    ) -> int:
        _, vr, offset, length = self.header(at, encoding)
        if encoding.explicit and vr not in SHORT_VRS and vr not in LONG_VRS:
            raise Unusual
        if length != UNDEFINED:
            return offset + length
        stack.append((False, implicit if vr == b"UN" else encoding))
        return offset

    def _step(self, depth: int) -> None:
        self._steps += 1
        if self._steps > self._most:
            raise HeaderTooLarge("elements")
        if depth > 2 * MAX_NESTING:  # a sequence and its item are two levels of the stack
            raise HeaderTooLarge("nesting")

    def _past_the_end(self, element: Element) -> None:
        """Refuse a value that is not all there, unless the encoding is what is wrong."""
        raise Unusual if element.vr == NO_VR and self._looks_explicit(element.length) else Truncated

    def _looks_explicit(self, length: int) -> bool:
        """Whether an implicit length is really a VR and half a length: as a length it would be 16 MiB and more."""
        raw = length.to_bytes(4, "big" if self._encoding.big else "little")
        return raw[:2] in SHORT_VRS or raw[:2] in LONG_VRS

    def _check_tail(self, at: int) -> None:
        """Fewer than eight bytes are left: nothing, or padding."""
        tail = self._cursor.source.read(at, 8)
        if tail.strip(b"\0 "):
            raise Truncated


def skip_fragments(data: bytes | bytearray | memoryview, offset: int, most: int) -> tuple[int, bool]:
    """Follow at most ``most`` items of encapsulated pixel data; returns where that led, and whether the end was found.

    Encapsulated data is always little endian (PS3.5 section A.4).

    Raises:
        Truncated: an item or the delimiter is not all there.
    """
    size = len(data)
    for _ in range(most):
        if offset + 8 > size:
            raise Truncated
        head = bytes(data[offset : offset + 8])
        group, element, length = _FRAGMENT(head)
        offset += 8
        if group << 16 | element == _SEQUENCE_END:
            return offset, True
        if group << 16 | element != _ITEM:
            raise Truncated
        offset += length
    return offset, False
