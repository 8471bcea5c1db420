"""A data set before (or after) its pixel data, written anew in another encoding or with its text in UTF-8.

In a worker process. What is written is what stood there: values keep their bytes, but for the order of bytes in a word
where the byte order changes, for text where UTF-8 is asked for, and for the padding of odd lengths. What an explicit
encoding must name and an implicit one does not is taken from the dictionary; unknown elements stay UN. Group lengths
(retired) are left out.
"""

import struct

from node.dicom.charset import character_sets, decode_all
from node.dicom.elements import Node, TreeReader
from node.dicom.structure import LONG_VRS, UNDEFINED, Encoding
from node.errors.dicom import NotDecodable

CHARACTER_SET, PIXEL_REPRESENTATION = 0x00080005, 0x00280103
UTF_8 = b"ISO_IR 192"
_SEQUENCE, _ITEM, _SEQUENCE_END = "SQ", 0xFFFEE000, 0xFFFEE0DD
_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # what Specific Character Set is about (PS3.5 6.1.2.3)
_WORDS = {
    "AT": 2, "OW": 2, "SS": 2, "US": 2, "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4,
    "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8,
}  # fmt: skip
_BLANK_PADDED = _TEXTS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UR"}  # PS3.5 section 6.2
_MAX_SHORT = 0xFFFE  # bytes that a two-byte length can say and that are even
_SIGNED_OR_UNSIGNED = frozenset({  # US or SS by Pixel Representation, where implicit encoding does not say which
    0x00280104, 0x00280105, 0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280110, 0x00280111, 0x00280120,
    0x00280121, 0x00281101, 0x00281102, 0x00281103, 0x00283002,
})  # fmt: skip


def recode(data: bytes, source: Encoding, target: Encoding, *, to_utf8: bool, max_nodes: int = 2_000_000) -> bytes:
    """The elements in ``data`` in the encoding ``target``; ``to_utf8``: all text too, whatever set it was in.

    Text whose declared character set is a lie is read as the index reads it (``charset.decode``).

    Raises:
        Unusual: this is not in ``source``. Truncated, HeaderTooLarge: damaged, or beyond a limit.
        NotDecodable: it holds an encapsulated icon, which has no place in an implicit data set.
    """
    nodes = TreeReader(data, source, max_nodes=max_nodes).read()
    return _Recoder(data, source, target, to_utf8=to_utf8).dataset(nodes, ("ascii",), signed=False)


def header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """What stands before a value of ``length`` bytes."""
    order = ">" if encoding.big else "<"
    start = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if not encoding.explicit:
        return start + struct.pack(f"{order}I", length)
    if vr.encode() not in LONG_VRS and length > _MAX_SHORT:
        vr = "UN"  # PS3.5 section 6.2.2, note 1
    if vr.encode() in LONG_VRS:
        return start + vr.encode() + struct.pack(f"{order}HI", 0, length)
    return start + vr.encode() + struct.pack(f"{order}H", length)


def element(tag: int, vr: str, value: bytes, encoding: Encoding) -> bytes:
    """A whole element; a value of odd length is padded."""
    if len(value) % 2:
        value += b" " if vr in _BLANK_PADDED else b"\0"
    return header(tag, vr, len(value), encoding) + value


def item(content: bytes, encoding: Encoding) -> bytes:
    """An item of a sequence."""
    return struct.pack(">HHI" if encoding.big else "<HHI", _ITEM >> 16, _ITEM & 0xFFFF, len(content)) + content


class _Recoder:
    def __init__(self, data: bytes, source: Encoding, target: Encoding, *, to_utf8: bool) -> None:
        self._data = data
        self._source = source
        self._target = target
        self._to_utf8 = to_utf8

    def dataset(self, nodes: tuple[Node, ...], codecs: tuple[str, ...], *, signed: bool) -> bytes:
        """One level; ``codecs`` and ``signed`` are those of the level above, unless this one has its own."""
        for node in nodes:
            if node.tag == CHARACTER_SET:
                codecs = character_sets(self._raw(node))
            elif node.tag == PIXEL_REPRESENTATION:
                signed = any(self._raw(node)[:2])
        return b"".join(
            self._element(node, codecs, signed=signed) for node in nodes if node.tag & 0xFFFF or node.tag == 0
        )

    def _element(self, node: Node, codecs: tuple[str, ...], *, signed: bool) -> bytes:
        if node.items is not None:
            content = b"".join(item(self.dataset(nodes, codecs, signed=signed), self._target) for nodes in node.items)
            return element(node.tag, _SEQUENCE, content, self._target)
        if node.length == UNDEFINED:
            return self._encapsulated(node)
        vr = node.vr or "UN"
        if signed and vr == "US" and not self._source.explicit and node.tag in _SIGNED_OR_UNSIGNED:
            vr = "SS"
        return element(node.tag, vr, self._value(node, vr, codecs), self._target)

    def _value(self, node: Node, vr: str, codecs: tuple[str, ...]) -> bytes:
        raw = self._raw(node)
        if self._to_utf8 and node.tag == CHARACTER_SET:
            return UTF_8
        if self._to_utf8 and vr in _TEXTS and (b"\x1b" in raw or not raw.isascii()):
            text = decode_all(raw, codecs).encode()
            return text + b" " * (len(text) % 2)
        word = _WORDS.get(vr, 1)
        if self._source.big == self._target.big or word == 1 or len(raw) % word:
            return raw
        return b"".join(raw[at : at + word][::-1] for at in range(0, len(raw), word))

    def _encapsulated(self, node: Node) -> bytes:
        """An icon's fragments, which are little endian everywhere (PS3.5 section A.4)."""
        if not self._target.explicit or self._target.big:
            raise NotDecodable("an encapsulated icon")
        return header(node.tag, node.vr, UNDEFINED, self._target) + self._data[node.offset : node.end]

    def _raw(self, node: Node) -> bytes:
        return self._data[node.offset : node.offset + node.length]
