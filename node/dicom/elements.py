"""A data set before its pixel data as a tree of elements, for metadata. In memory, with limits."""

import struct
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from node.dicom.structure import LONG_VRS, SHORT_VRS, UNDEFINED, Encoding, Unusual
from node.errors.dicom import HeaderTooLarge, Truncated

MAX_NODES = 200_000  # a tree takes some hundred bytes a node; metadata of real objects has a few thousand
MAX_DEPTH = 32

_ITEM, _ITEM_END, _SEQUENCE_END, _DELIMITER_GROUP = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFE
_HEADER_BYTES, _LONG_HEADER_BYTES = 8, 12


class _Head(NamedTuple):
    tag: int
    vr: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Node:
    """One element: where its value is, or the items of a sequence."""

    tag: int
    vr: str
    offset: int
    length: int
    items: "tuple[tuple[Node, ...], ...] | None"
    big: bool = False
    end: int = 0  # of the whole element


class VrDictionary:
    """VRs of standard elements for implicit encoding, from pydicom's dictionary (imported on first use)."""

    def __init__(self) -> None:
        from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary  # noqa: PLC0415  # 60 ms, implicit only
        from pydicom.datadict import mask_match  # noqa: PLC0415

        self._known = DicomDictionary
        self._repeaters = RepeatersDictionary
        self._mask_match = mask_match

    def vr(self, tag: int, length: int) -> str:
        """The VR, ambiguous ones decided by the usual meaning; UN for what is not in the dictionary."""
        if tag & 0xFFFF == 0:
            return "UL"
        if (tag >> 16) & 1:
            return "LO" if 0x0010 <= tag & 0xFFFF <= 0x00FF else "UN"  # noqa: PLR2004  # private creators (PS3.5 7.8.1)
        entry = self._known.get(tag)
        if entry is None:
            mask = self._mask_match(tag)
            entry = self._repeaters.get(mask) if mask else None
        vr = entry[0] if entry else "UN"
        if " or " not in vr:
            return vr if len(vr) == len("US") else "UN"
        if "OW" in vr:
            return "US" if vr.startswith("US") and length <= 2 else "OW"  # noqa: PLR2004  # one value is a number
        return "US"  # US or SS: the caller corrects it by Pixel Representation


class Dictionary(Protocol):
    """What says the VR of an element where the encoding does not."""

    def vr(self, tag: int, length: int) -> str:
        """The VR; UN if it is not known."""


class TreeReader:
    """Reads ``data`` (a data set up to its pixel data) into nodes. ``dictionary``: the standard's, unless given.

    Raises, from :meth:`read`:
        Unusual: not plainly in this encoding.
        Truncated: an element reaches past the end.
        HeaderTooLarge: too many elements, or nested too deeply.
    """

    def __init__(
        self, data: bytes, encoding: Encoding, *, max_nodes: int = MAX_NODES, dictionary: Dictionary | None = None
    ) -> None:
        self._data = data
        self._max_nodes = max_nodes
        self._encoding = encoding
        self._count = 0
        self._dictionary = dictionary
        order = ">" if encoding.big else "<"
        self._tag_vr_length = struct.Struct(f"{order}HH2sH").unpack_from
        self._tag_length = struct.Struct(f"{order}HHI").unpack_from
        self._long = struct.Struct(f"{order}I").unpack_from

    def read(self) -> tuple[Node, ...]:
        """The top-level elements."""
        nodes, _ = self._dataset(0, len(self._data), self._encoding, 0, delimited=False)
        return nodes

    def _dataset(
        self, at: int, end: int, encoding: Encoding, depth: int, *, delimited: bool
    ) -> tuple[tuple[Node, ...], int]:
        nodes: list[Node] = []
        while at < end:
            if end - at < _HEADER_BYTES:
                if delimited or self._data[at:end].strip(b"\0 "):
                    raise Truncated
                return tuple(nodes), end
            head = self._header(at, encoding)
            if head.tag == _ITEM_END and delimited:
                return tuple(nodes), at + _HEADER_BYTES
            if head.tag >> 16 == _DELIMITER_GROUP:
                raise Unusual
            if head.tag == 0 and head.length == 0 and not delimited:
                return tuple(nodes), end  # padding
            node, at = self._element(head, end, encoding, depth)
            nodes.append(node)
        if delimited:
            raise Truncated
        return tuple(nodes), at

    def _element(self, head: _Head, end: int, encoding: Encoding, depth: int) -> tuple[Node, int]:
        self._count += 1
        if self._count > self._max_nodes:
            raise HeaderTooLarge("elements")
        is_delimited = head.length == UNDEFINED
        after = end if is_delimited else head.offset + head.length
        if after > end:
            raise Truncated
        vr, items = head.vr, None
        if is_delimited and vr in {"OB", "OW"}:  # an encapsulated icon
            after = self._after_fragments(head.offset, end)
        elif vr == "SQ" or (is_delimited and vr == "UN"):
            inner = encoding if vr == "SQ" else Encoding(explicit=False, big=encoding.big)
            items, after = self._items(head.offset, after, inner, depth + 1, delimited=is_delimited)
            vr = "SQ"
        elif is_delimited:
            raise Unusual
        elif vr == "UN" and not encoding.big:
            vr, items = self._known(head, after, depth)
        return Node(head.tag, vr, head.offset, head.length, items, self._encoding.big, after), after

    def _known(self, head: _Head, end: int, depth: int) -> "tuple[str, tuple[tuple[Node, ...], ...] | None]":
        """What some converter did not know: by the dictionary; UN is implicit little endian inside."""
        vr = self._implicit_vr(head.tag, head.length)
        if vr != "SQ":
            return vr, None
        try:
            inner = Encoding(explicit=False, big=False)
            return vr, self._items(head.offset, end, inner, depth + 1, delimited=False)[0]
        except (Unusual, Truncated):
            return "UN", None

    def _items(
        self, at: int, end: int, encoding: Encoding, depth: int, *, delimited: bool
    ) -> tuple[tuple[tuple[Node, ...], ...], int]:
        if depth > MAX_DEPTH:
            raise HeaderTooLarge("nesting")
        items: list[tuple[Node, ...]] = []
        while at < end:
            if end - at < _HEADER_BYTES:
                raise Truncated
            group, element, length = self._tag_length(self._data, at)
            tag = group << 16 | element
            at += _HEADER_BYTES
            if tag == _SEQUENCE_END:
                return tuple(items), at
            if tag != _ITEM:
                raise Unusual
            stop = end if length == UNDEFINED else at + length
            if stop > end:
                raise Truncated
            self._count += 1
            nodes, at = self._dataset(at, stop, encoding, depth, delimited=length == UNDEFINED)
            items.append(nodes)
        if delimited:
            raise Truncated
        return tuple(items), at

    def _after_fragments(self, at: int, end: int) -> int:
        while end - at >= _HEADER_BYTES:
            group, element, length = self._tag_length(self._data, at)
            at += _HEADER_BYTES
            if group << 16 | element == _SEQUENCE_END:
                return at
            if group << 16 | element != _ITEM:
                raise Unusual
            at += length
        raise Truncated

    def _header(self, at: int, encoding: Encoding) -> _Head:
        group, element, vr, length = self._tag_vr_length(self._data, at)
        tag = group << 16 | element
        if not encoding.explicit or group == _DELIMITER_GROUP:
            (length,) = self._long(self._data, at + 4)
            return _Head(tag, self._implicit_vr(tag, length), at + _HEADER_BYTES, length)
        if vr in LONG_VRS:
            if at + _LONG_HEADER_BYTES > len(self._data):
                raise Truncated
            (length,) = self._long(self._data, at + _HEADER_BYTES)
            return _Head(tag, vr.decode("ascii"), at + _LONG_HEADER_BYTES, length)
        if vr not in SHORT_VRS and not (tag == 0 and vr == b"\0\0"):
            raise Unusual
        return _Head(tag, vr.decode("ascii"), at + _HEADER_BYTES, length)

    def _implicit_vr(self, tag: int, length: int) -> str:
        if tag >> 16 == _DELIMITER_GROUP:
            return ""
        if length == UNDEFINED:
            return "SQ"
        if self._dictionary is None:
            self._dictionary = VrDictionary()
        return self._dictionary.vr(tag, length)
