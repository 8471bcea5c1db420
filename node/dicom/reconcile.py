"""The copy of an instance that leaves for a PACS: whom it belongs to, and in which encoding its elements stand.

In a worker process. A received study keeps its origin's identifiers here; the copy that a PACS gets carries the local
ones (IHE Import Reconciliation Workflow), and says so: what was replaced stands in Original Attributes Sequence
(0400,0561), the origin's Patient ID in Other Patient IDs Sequence (0010,1002). UIDs stay as they are, and so does every
other byte: the result is a list of splices, pieces of the data set to take out and bytes to put in their place.

Two things need more than that, and get the head written anew (``recode``): another transfer syntax, and a local name
that the data set's Specific Character Set cannot say. Then all of its text becomes UTF-8 (ISO_IR 192), so that one data
set never has two character sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from node.dicom.charset import character_sets, decode_text
from node.dicom.recode import CHARACTER_SET, UTF_8, element, header, item, recode
from node.dicom.structure import PIXEL_DATA, UNDEFINED, Cursor, Element, Encoding, Source, Unusual, spans
from node.errors.dicom import HeaderTooLarge, InvalidHeader

MAX_HEAD = 32 << 20  # bytes before the pixel data that are written anew; splices have no such limit
MAX_TAIL = 1 << 20  # bytes after it: padding and signatures
MAX_VALUE = 64 << 10  # bytes of one replaced value; names and ids have a few hundred
MAX_SEQUENCE = 4 << 20  # bytes of a sequence to which an item is added

SOP_INSTANCE, ACCESSION, ACCESSION_ISSUER = 0x00080018, 0x00080050, 0x00080051
NAME, PATIENT_ID, ISSUER, ISSUER_QUALIFIERS = 0x00100010, 0x00100020, 0x00100021, 0x00100024
ID_TYPE, BIRTH_DATE, SEX, OTHER_IDS = 0x00100022, 0x00100030, 0x00100040, 0x00101002
ORIGINAL, MODIFIED, MODIFIED_AT, MODIFIED_BY = 0x04000561, 0x04000550, 0x04000562, 0x04000563
SOURCE, REASON = 0x04000564, 0x04000565
COERCE = "COERCE"  # reason for the attribute modification (PS3.3 section C.12.1)
PHOTOMETRIC, PLANAR, LOSSY, LOSSY_METHOD = 0x00280004, 0x00280006, 0x00282110, 0x00282114
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
_VRS = {ACCESSION: "SH", NAME: "PN", PATIENT_ID: "LO", ISSUER: "LO", BIRTH_DATE: "DA", SEX: "CS"}
# Character sets in which a text of one value can simply be written; others need escape sequences.
_PLAIN = frozenset({"latin_1", "utf_8", "gb18030", "gbk", *(f"iso8859_{n}" for n in (2, 3, 4, 5, 6, 7, 8, 9, 11, 15))})
_SEQUENCE_END_BYTES = 8


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The local patient, whom the origin knows under another name. Empty: stays as it is, but for the id and issuer."""

    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str
    accession: str
    origin_id: str
    origin_issuer: str
    source: str  # of the previous values: who the origin is, in ASCII
    system: str  # that modifies them: this node, in ASCII
    at: str  # DT


class NativePixels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How decoded pixel data is described. ``lossy_method`` is set where the data set must say that it had loss."""

    length: int  # even
    vr: str
    photometric: str
    by_pixel: bool  # colours
    lossy_method: str


class Rewrite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker is to make of a data set; ``target`` empty: in its own encoding."""

    identity: Identity | None = None
    target: str = ""
    native: NativePixels | None = None


Splice = tuple[int, int, bytes]  # offset, bytes to take out, bytes to put in


class Rewritten(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """How the copy differs: splices in their order, and where the pixels' value lies that stays between them."""

    splices: tuple[Splice, ...]
    pixels: tuple[int, int] | None  # offset and end; with the delimiter where it is encapsulated


def rewrite(source: Source, syntax: str, argument: str) -> bytes:
    """The :class:`Rewritten` that ``argument``, a :class:`Rewrite`, asks for. ``source`` is not deflated.

    Raises:
        DicomRefused: the data set is damaged, beyond a limit, or has no plain structure.
    """
    wanted = msgspec.json.decode(argument, type=Rewrite)
    head = _Head.read(source, syntax)
    target = Encoding.of(wanted.target) if wanted.target else head.encoding
    identity = wanted.identity
    to_utf8 = identity is not None and not _fits(identity, head)
    if not to_utf8 and target == head.encoding and wanted.native is None:
        edits = {} if identity is None else _identity_edits(identity, head)
        return msgspec.msgpack.encode(Rewritten(tuple(_splices(head, edits)), head.pixels))
    return msgspec.msgpack.encode(_anew(head, wanted, target, to_utf8=to_utf8))


@dataclass(frozen=True, slots=True)
class _Head:
    """The top-level elements of a data set with their ends, as it really is encoded."""

    cursor: Cursor
    encoding: Encoding
    elements: tuple[tuple[Element, int], ...]
    pixels: tuple[int, int] | None
    pixel_tag: int
    end: int  # of the elements before the pixels
    tail: int  # where what follows the pixels begins; the size where nothing does

    @classmethod
    def read(cls, source: Source, syntax: str) -> "_Head":
        declared = Encoding.of(syntax)
        plain = replace(declared, deflated=False)
        for encoding in (plain, replace(plain, explicit=not plain.explicit)):
            try:
                return cls._read(Cursor(source), encoding)
            except Unusual:
                continue
        raise InvalidHeader("the data set has no plain structure")

    @classmethod
    def _read(cls, cursor: Cursor, encoding: Encoding) -> "_Head":
        found: list[tuple[Element, int]] = []
        pixels: tuple[int, int] | None = None
        pixel_tag = end = tail = 0
        for one, after in spans(cursor, encoding):
            if after is None:
                raise InvalidHeader("the pixel data does not end")
            tail = after
            if one.tag in PIXEL_DATA and pixels is None:
                pixels, pixel_tag = (one.offset, after), one.tag
                end = one.start
            elif pixels is None:
                end = after
            found.append((one, after))
        if not any(one.tag == SOP_INSTANCE for one, _ in found):
            raise Unusual
        return cls(cursor, encoding, tuple(found), pixels, pixel_tag, end, tail)

    def first(self, tag: int) -> tuple[Element, int] | None:
        return next((pair for pair in self.elements if pair[0].tag == tag), None)

    def count(self, tag: int) -> int:
        return sum(one.tag == tag for one, _ in self.elements)

    def value(self, tag: int) -> bytes | None:
        """The first value under a tag, padding included; None where there is none."""
        pair = self.first(tag)
        if pair is None:
            return None
        one, end = pair
        if one.length != UNDEFINED and one.length > MAX_VALUE:
            raise HeaderTooLarge("a patient's value")
        return self.bytes(one.offset, end)

    def whole(self, tag: int) -> bytes | None:
        """The first element under a tag as it stands; None where there is none."""
        pair = self.first(tag)
        if pair is not None and pair[1] - pair[0].start > MAX_VALUE:
            raise HeaderTooLarge("a patient's value")
        return None if pair is None else self.bytes(pair[0].start, pair[1])

    def items(self, tag: int) -> bytes:
        """The items of a sequence as they stand."""
        pair = self.first(tag)
        if pair is None:
            return b""
        one, end = pair
        stop = end - _SEQUENCE_END_BYTES if one.length == UNDEFINED else end
        if stop - one.offset > MAX_SEQUENCE:
            raise HeaderTooLarge("length")
        return self.bytes(one.offset, stop)

    def is_plain_sequence(self, tag: int) -> bool:
        pair = self.first(tag)
        return pair is None or not self.encoding.explicit or pair[0].vr == b"SQ"

    @property
    def codecs(self) -> tuple[str, ...]:
        return character_sets(self.value(CHARACTER_SET) or b"")

    def bytes(self, start: int, end: int) -> bytes:
        return self.cursor.bytes(start, end - start) if end > start else b""


def _fits(identity: Identity, head: _Head) -> bool:
    """Whether the local texts can be said in the data set's character set, and its sequences be added to."""
    texts = (identity.patient_id, identity.issuer, identity.name, identity.accession, identity.origin_issuer)
    codecs = head.codecs
    return all(_encoded(text, codecs) is not None for text in texts) and all(
        head.is_plain_sequence(tag) for tag in (ORIGINAL, OTHER_IDS)
    )


def _encoded(text: str, codecs: tuple[str, ...]) -> bytes | None:
    """``text`` in the first of the character sets; None if that takes escape sequences, or cannot be."""
    if text.isascii():
        return text.encode("ascii")
    if not codecs or codecs[0] not in _PLAIN:
        return None
    try:
        return text.encode(codecs[0])
    except UnicodeEncodeError:
        return None


def _identity_edits(identity: Identity, head: _Head) -> dict[int, bytes | None]:
    """New elements by tag; None takes one out. Nothing, if the data set says all that already."""
    codecs = head.codecs
    told = {
        ACCESSION: identity.accession,
        NAME: identity.name,
        BIRTH_DATE: identity.birth_date,
        SEX: identity.sex,
        PATIENT_ID: identity.patient_id,
        ISSUER: identity.issuer,
    }
    changed = {
        tag: _encoded(text, codecs) or b""
        for tag, text in told.items()
        if text and (head.count(tag) > 1 or decode_text(head.value(tag) or b"", codecs) != text)
    }
    if not changed:
        return {}
    edits: dict[int, bytes | None] = {
        tag: element(tag, _VRS[tag], value, head.encoding) for tag, value in changed.items()
    }
    for tag, owner in ((ISSUER_QUALIFIERS, {PATIENT_ID, ISSUER}), (ACCESSION_ISSUER, {ACCESSION})):
        if owner & changed.keys() and head.count(tag):
            edits[tag] = None  # it tells of the issuer that is replaced
    edits[ORIGINAL] = _with_item(head, ORIGINAL, _original(identity, head, sorted(edits)))
    if {PATIENT_ID, ISSUER} & changed.keys() and (identity.origin_id or head.value(PATIENT_ID)):
        edits[OTHER_IDS] = _with_item(head, OTHER_IDS, _other_id(identity, head))
    return edits


def _original(identity: Identity, head: _Head, tags: list[int]) -> bytes:
    """The item of Original Attributes Sequence: what stood there, byte for byte; nothing is an empty element."""
    encoding = head.encoding
    before = b"".join(head.whole(tag) or element(tag, _VRS[tag], b"", encoding) for tag in tags)
    return b"".join((
        element(MODIFIED, "SQ", item(before, encoding), encoding),
        element(MODIFIED_AT, "DT", identity.at.encode("ascii"), encoding),
        element(MODIFIED_BY, "LO", identity.system.encode("ascii"), encoding),
        element(SOURCE, "LO", identity.source.encode("ascii"), encoding),
        element(REASON, "CS", COERCE.encode("ascii"), encoding),
    ))  # fmt: skip


def _other_id(identity: Identity, head: _Head) -> bytes:
    """The item of Other Patient IDs Sequence: the origin's id, under the issuer that the index keeps it under."""
    codecs, encoding = head.codecs, head.encoding
    original = (head.value(PATIENT_ID) or b"").strip(b" \0") or (_encoded(identity.origin_id, codecs) or b"")
    issuer = (head.value(ISSUER) or b"").strip(b" \0") or (_encoded(identity.origin_issuer, codecs) or b"")
    return b"".join((
        element(PATIENT_ID, "LO", original, encoding),
        element(ISSUER, "LO", issuer, encoding),
        element(ID_TYPE, "CS", b"TEXT", encoding),
    ))  # fmt: skip


def _with_item(head: _Head, tag: int, content: bytes) -> bytes:
    return element(tag, "SQ", head.items(tag) + item(content, head.encoding), head.encoding)


def _splices(head: _Head, edits: Mapping[int, bytes | None]) -> list[Splice]:
    """Take out every element that is edited, wherever it stands, and put the new one where its tag belongs."""
    if not edits:
        return []
    groups = {tag >> 16 for tag in edits}
    found: list[tuple[int, int, int, bytes]] = []
    for one, end in head.elements:
        is_group_length = one.tag & 0xFFFF == 0 and one.tag >> 16 in groups and one.tag >> 16
        if one.tag in edits or is_group_length:
            found.append((one.start, 1, end - one.start, b""))
    for tag, new in sorted(edits.items()):
        if new is not None:
            later = (one.start for one, _ in head.elements if one.tag >= tag)
            found.append((min(next(later, head.end), head.end), 0, 0, new))
    found.sort(key=lambda one: one[:2])
    return [(offset, length, data) for offset, _, length, data in found]


def _anew(head: _Head, wanted: Rewrite, target: Encoding, *, to_utf8: bool) -> Rewritten:
    """The whole head in another encoding, and what stands behind the pixels too."""
    if head.end > MAX_HEAD:
        raise HeaderTooLarge("length")
    written = _recoded(head.bytes(0, head.end), head.encoding, target, to_utf8=to_utf8)
    if to_utf8 and head.value(CHARACTER_SET) is None:
        written = _spliced(written, target, {CHARACTER_SET: element(CHARACTER_SET, "CS", UTF_8, target)})
    if wanted.native is not None:
        written = _spliced(written, target, _pixel_edits(wanted.native, written, target))
    if wanted.identity is not None:
        whole = _head_of(written, target)
        written = _apply(written, _splices(whole, _identity_edits(wanted.identity, whole)))
    if head.pixels is None:
        return Rewritten(((0, head.end, written),), None)
    offset, end = head.pixels
    first = (0, offset, written + _pixel_header(head, wanted.native, target))
    named = frozenset(_VRS) if wanted.identity is not None else frozenset[int]()
    return Rewritten((first, *_tail(head, end, target, named, to_utf8=to_utf8)), head.pixels)


def _pixel_header(head: _Head, native: NativePixels | None, target: Encoding) -> bytes:
    if native is not None:
        return header(head.pixel_tag, native.vr, native.length, target)
    pair = head.first(head.pixel_tag)
    assert pair is not None, "there are pixels"
    usual = {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(head.pixel_tag, "OW")
    return header(head.pixel_tag, pair[0].vr.decode("ascii") or usual, pair[0].length, target)


def _tail(head: _Head, end: int, target: Encoding, named: frozenset[int], *, to_utf8: bool) -> list[Splice]:
    """What stands behind the pixels, without the ``named`` elements: whoever reads on would believe them."""
    if head.tail <= end:
        return []
    if head.tail - end > MAX_TAIL:
        raise HeaderTooLarge("length")
    data = head.bytes(end, head.tail)
    data = _recoded(data, head.encoding, target, to_utf8=to_utf8)
    out = [(one.start, after) for one, after in spans(Cursor(_Memory(data)), target) if one.tag in named]
    kept = _apply(data, [(start, (after or len(data)) - start, b"") for start, after in out])
    return [(end, head.tail - end, kept)]


def _pixel_edits(native: NativePixels, written: bytes, encoding: Encoding) -> dict[int, bytes | None]:
    head = _head_of(written, encoding)
    edits: dict[int, bytes | None] = {tag: None for tag in _OFFSET_TABLES if head.count(tag)}
    edits[PHOTOMETRIC] = element(PHOTOMETRIC, "CS", native.photometric.encode("ascii"), encoding)
    if native.by_pixel:
        edits[PLANAR] = element(PLANAR, "US", bytes(2), encoding)
    if native.lossy_method:
        edits[LOSSY] = element(LOSSY, "CS", b"01", encoding)
        if not (head.value(LOSSY_METHOD) or b"").strip():
            edits[LOSSY_METHOD] = element(LOSSY_METHOD, "CS", native.lossy_method.encode("ascii"), encoding)
    return edits


def _recoded(data: bytes, encoding: Encoding, target: Encoding, *, to_utf8: bool) -> bytes:
    try:
        return recode(data, encoding, target, to_utf8=to_utf8)
    except Unusual as exc:
        raise InvalidHeader("the data set has no plain structure") from exc


def _spliced(data: bytes, encoding: Encoding, edits: Mapping[int, bytes | None]) -> bytes:
    return _apply(data, _splices(_head_of(data, encoding), edits))


def _head_of(data: bytes, encoding: Encoding) -> _Head:
    try:
        return _Head._read(Cursor(_Memory(data)), encoding)  # noqa: SLF001 - what this module has just written
    except Unusual as exc:
        raise InvalidHeader("the data set has no plain structure") from exc


def _apply(data: bytes, splices: list[Splice]) -> bytes:
    pieces, at = [], 0
    for offset, length, new in splices:
        pieces += [data[at:offset], new]
        at = offset + length
    return b"".join((*pieces, data[at:]))


class _Memory:
    """Bytes as a Source; they hold no pixel data."""

    one_way = False

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def reaches(self, end: int) -> bool:
        return end <= len(self._data)

    def after_fragments(self, offset: int) -> int | None:  # noqa: ARG002  # part of Source
        return None
