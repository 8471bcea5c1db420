"""A data set before its pixel data as a tree of elements, for metadata. In memory, with limits."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from node.dicom.structure import LONG_VRS, NO_VR, SHORT_VRS, UNDEFINED, Encoding, Unusual
from node.errors.dicom import HeaderTooLarge, Truncated

MAX_NODES = 200_000  # a tree takes some hundred bytes a node; metadata of real objects has a few thousand
MAX_DEPTH = 32

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


@dataclass(frozen=True, slots=True)
class Node:
    """One element: where its value is, or the items of a sequence."""

    tag: int
    vr: str
    offset: int
    length: int
    items: "tuple[tuple[Node, ...], ...] | None"
    big: bool = False


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


class TreeReader:
    """Reads ``data`` (a data set up to its pixel data) into nodes.

    Raises, from :meth:`read`:
        Unusual: not plainly in this encoding.
        Truncated: an element reaches past the end.
        HeaderTooLarge: too many elements, or nested too deeply.
    """

    def __init__(self, data: bytes, encoding: Encoding) -> None:
        self._data = data
        self._encoding = encoding
        self._count = 0
        self._dictionary: VrDictionary | None = None
        order = ">" if encoding.big else "<"
        self._tag_vr_length = struct.Struct(f"{order}HH2sH").unpack_from
        self._tag_length = struct.Struct(f"{order}HHI").unpack_from
        self._long = struct.Struct(f"{order}I").unpack_from

    def read(self) -> tuple[Node, ...]:
        """The top-level elements."""
        nodes, _ = self._dataset(0, len(self._data), self._encoding.explicit, 0, delimited=False)
        return nodes

    def _dataset(
        self, at: int, end: int, explicit: bool, depth: int, *, delimited: bool
    ) -> tuple[tuple[Node, ...], int]:  # noqa: FBT001
        nodes = []
        while at < end:
            if end - at < 8:  # noqa: PLR2004  # an element header
                if delimited or self._data[at:end].strip(b"\0 "):
                    raise Truncated
                return tuple(nodes), end
            tag, vr, offset, length = self._header(at, explicit)
            if tag == _ITEM_END and delimited:
                return tuple(nodes), at + 8
            if tag >> 16 == _ITEM >> 16:
                raise Unusual
            if tag == 0 and length == 0 and not delimited:
                return tuple(nodes), end  # padding
            node, at = self._element(tag, vr, offset, length, end, explicit, depth)
            nodes.append(node)
        if delimited:
            raise Truncated
        return tuple(nodes), at

    def _element(
        self,
        tag: int,
        vr: str,
        offset: int,
        length: int,
        end: int,
        explicit: bool,
        depth: int,  # noqa: FBT001
    ) -> tuple[Node, int]:
        self._count += 1
        if self._count > MAX_NODES:
            raise HeaderTooLarge("elements")
        if length != UNDEFINED and offset + length > end:
            raise Truncated
        if length == UNDEFINED and vr in {"OB", "OW"}:  # an encapsulated icon
            return Node(tag, vr, offset, length, None, self._encoding.big), self._after_fragments(offset, end)
        if vr == "SQ" or (length == UNDEFINED and vr == "UN"):
            inner = explicit and vr != "UN"
            stop = end if length == UNDEFINED else offset + length
            items, after = self._items(offset, stop, inner, depth + 1, delimited=length == UNDEFINED)
            return Node(tag, "SQ", offset, length, items, self._encoding.big), after
        return Node(tag, vr, offset, length, None, self._encoding.big), offset + length

    def _items(
        self,
        at: int,
        end: int,
        explicit: bool,
        depth: int,
        *,
        delimited: bool,  # noqa: FBT001
    ) -> tuple[tuple[tuple[Node, ...], ...], int]:
        if depth > MAX_DEPTH:
            raise HeaderTooLarge("nesting")
        items = []
        while at < end:
            if end - at < 8:  # noqa: PLR2004  # an item header
                raise Truncated
            group, element, length = self._tag_length(self._data, at)
            tag = group << 16 | element
            if tag == _SEQUENCE_END:
                return tuple(items), at + 8
            if tag != _ITEM:
                raise Unusual
            at += 8
            stop = end if length == UNDEFINED else at + length
            if stop > end:
                raise Truncated
            self._count += 1
            nodes, at = self._dataset(at, stop, explicit, depth, delimited=length == UNDEFINED)
            items.append(nodes)
        if delimited:
            raise Truncated
        return tuple(items), at

    def _after_fragments(self, at: int, end: int) -> int:
        while end - at >= 8:  # noqa: PLR2004  # an item header
            group, element, length = self._tag_length(self._data, at)
            at += 8
            if group << 16 | element == _SEQUENCE_END:
                return at
            if group << 16 | element != _ITEM:
                raise Unusual
            at += length
        raise Truncated

    def _header(self, at: int, explicit: bool) -> tuple[int, str, int, int]:  # noqa: FBT001
        group, element, vr, length = self._tag_vr_length(self._data, at)
        tag = group << 16 | element
        if not explicit or group == _ITEM >> 16:
            (length,) = self._long(self._data, at + 4)
            return tag, self._implicit_vr(tag, length), at + 8, length
        if vr in LONG_VRS:
            if at + 12 > len(self._data):
                raise Truncated
            (length,) = self._long(self._data, at + 8)
            return tag, vr.decode("ascii"), at + 12, length
        if vr not in SHORT_VRS and not (tag == 0 and vr == b"\0\0"):
            raise Unusual
        return tag, vr.decode("ascii"), at + 8, length

    def _implicit_vr(self, tag: int, length: int) -> str:
        if self._dictionary is None:
            self._dictionary = VrDictionary()
        return "SQ" if length == UNDEFINED and tag not in {_ITEM, _ITEM_END} else self._dictionary.vr(tag, length)
