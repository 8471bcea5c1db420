"""Small data sets of queries, retrievals and storage commitment: read with limits, written in UTF-8.

What a caller sends is untrusted: a bounded number of elements and of nesting, no value copied that is not asked for,
and a dictionary of the elements that mean something here; what is not among them is opaque.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from node.dicom.charset import character_sets, decode_text
from node.dicom.elements import Node, TreeReader
from node.dicom.jsonmodel import DicomJson
from node.dicom.structure import LONG_VRS, Encoding, Unusual
from node.dicom.upper_layer.negotiation import EXPLICIT_LITTLE_ENDIAN
from node.errors.dicom import HeaderTooLarge, Truncated
from node.errors.dimse import InvalidIdentifier

MAX_KEYS = 1000  # elements of an identifier; real ones have some dozens
MAX_ITEMS = 250_000  # elements of a request for storage commitment: three an instance

CHARACTER_SET, LEVEL, RETRIEVE_AE, AVAILABILITY = 0x00080005, 0x00080052, 0x00080054, 0x00080056
FAILED_INSTANCES = 0x00080058
REFERENCED_CLASS, REFERENCED_INSTANCE = 0x00081150, 0x00081155
TRANSACTION, FAILURE_REASON, FAILED_SEQUENCE, REFERENCED_SEQUENCE = 0x00081195, 0x00081197, 0x00081198, 0x00081199

# VRs of what may be asked for: implicit encodings do not say them.
_VRS: Mapping[int, str] = {
    CHARACTER_SET: "CS", LEVEL: "CS", RETRIEVE_AE: "AE", AVAILABILITY: "CS", FAILED_INSTANCES: "UI",
    REFERENCED_CLASS: "UI", REFERENCED_INSTANCE: "UI", TRANSACTION: "UI", FAILURE_REASON: "US",
    FAILED_SEQUENCE: "SQ", REFERENCED_SEQUENCE: "SQ",
    0x00080016: "UI", 0x00080018: "UI", 0x00080020: "DA", 0x00080021: "DA", 0x00080030: "TM", 0x00080031: "TM",
    0x00080050: "SH", 0x00080060: "CS", 0x00080061: "CS", 0x00080090: "PN", 0x00081030: "LO", 0x0008103E: "LO",
    0x00083002: "UI", 0x00100010: "PN", 0x00100020: "LO", 0x00100021: "LO", 0x00100030: "DA", 0x00100040: "CS",
    0x00180015: "CS", 0x0020000D: "UI", 0x0020000E: "UI", 0x00200010: "SH", 0x00200011: "IS", 0x00200013: "IS",
    0x00201200: "IS", 0x00201202: "IS", 0x00201204: "IS", 0x00201206: "IS", 0x00201208: "IS", 0x00201209: "IS",
    0x00280008: "IS", 0x00280010: "US", 0x00280011: "US", 0x00280100: "US",
}  # fmt: skip
_CONTROL = frozenset({CHARACTER_SET, LEVEL, RETRIEVE_AE, AVAILABILITY})
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_ITEM = 0xFFFEE000

Value: TypeAlias = "str | int | Sequence[Mapping[int, Value]]"  # text (values joined by a backslash), US, or a sequence


@dataclass(frozen=True, slots=True)
class Identifier:
    """What is asked for. ``keys``: by tag the text that is to match, empty for universal matching; no sequences."""

    level: str
    keys: Mapping[int, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """A transaction, and the (SOP class, SOP instance) pairs whose keeping is to be confirmed."""

    transaction: str
    instances: Sequence[tuple[str, str]] = field(repr=False)


class _Dictionary:
    """``elements.Dictionary`` of what is known here."""

    def vr(self, tag: int, length: int) -> str:  # noqa: ARG002 - a dictionary may need the length
        return _VRS.get(tag, "UN")


def read_identifier(data: bytes, syntax: str) -> Identifier:
    """Read the identifier of a C-FIND, C-MOVE or C-GET; raises InvalidIdentifier."""
    reader = _Reader(data, syntax, MAX_KEYS)
    keys = {node.tag: "" if node.items is not None else reader.text(node) for node in reader.nodes if node.tag & 0xFFFF}
    level = keys.get(LEVEL, "").upper()
    return Identifier(level, {tag: text for tag, text in keys.items() if tag not in _CONTROL})


def read_commitment_request(data: bytes, syntax: str) -> CommitmentRequest:
    """Read the action information of a request for storage commitment; raises InvalidIdentifier."""
    reader = _Reader(data, syntax, MAX_ITEMS)
    transaction, found = "", []
    for node in reader.nodes:
        if node.tag == TRANSACTION:
            transaction = reader.text(node)
        elif node.tag == REFERENCED_SEQUENCE:
            for item in node.items or ():
                values = {one.tag: reader.text(one) for one in item if one.items is None}
                found.append((values.get(REFERENCED_CLASS, ""), values.get(REFERENCED_INSTANCE, "")))
    return CommitmentRequest(transaction, found)


class _Reader:
    def __init__(self, data: bytes, syntax: str, most: int) -> None:
        self._data = data
        encoding = Encoding(explicit=syntax == EXPLICIT_LITTLE_ENDIAN, big=False)
        try:
            self.nodes = TreeReader(data, encoding, max_nodes=most, dictionary=_Dictionary()).read()
        except (Unusual, Truncated, HeaderTooLarge, struct.error) as exc:
            raise InvalidIdentifier from exc
        raw = next((self._raw(node) for node in self.nodes if node.tag == CHARACTER_SET), b"")
        self._codecs = character_sets(raw)

    def text(self, node: Node) -> str:
        return decode_text(self._raw(node), self._codecs)

    def _raw(self, node: Node) -> bytes:
        return self._data[node.offset : node.offset + node.length]


def encode_elements(elements: Mapping[int, Value], syntax: str) -> bytes:
    """A data set of elements of this module's dictionary, text in UTF-8."""
    is_explicit = syntax == EXPLICIT_LITTLE_ENDIAN
    return b"".join(_element(tag, elements[tag], is_explicit=is_explicit) for tag in sorted(elements))


def text_of(attribute: Mapping[str, object]) -> str:
    """An attribute of the DICOM JSON model as the text that it is in a data set."""
    values = attribute.get("Value", [])
    assert isinstance(values, list), "the model says so"
    return "\\".join(_person(value) if isinstance(value, dict) else str(value) for value in values)


def result_elements(result: DicomJson, tags: Iterable[int]) -> dict[int, Value]:
    """Those attributes of a result that are among ``tags``."""
    found: dict[int, Value] = {}
    for tag in tags:
        attribute = result.get(f"{tag:08X}")
        if attribute is not None and tag in _VRS:
            text = text_of(attribute)
            found[tag] = int(text) if _VRS[tag] == "US" and text else text
    return found


def _person(value: Mapping[str, str]) -> str:
    return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=")


def _element(tag: int, value: Value, *, is_explicit: bool) -> bytes:
    vr = _VRS[tag]
    if isinstance(value, int):
        raw = value.to_bytes(2, "little")
    elif isinstance(value, str):
        raw = value.encode("utf-8", "replace")
        raw += (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
    else:
        raw = b"".join(_item(item, is_explicit=is_explicit) for item in value)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if not is_explicit:
        return head + struct.pack("<I", len(raw)) + raw
    if vr.encode() in LONG_VRS:
        return head + vr.encode() + bytes(2) + struct.pack("<I", len(raw)) + raw
    return head + vr.encode() + struct.pack("<H", len(raw)) + raw


def _item(elements: Mapping[int, Value], *, is_explicit: bool) -> bytes:
    raw = b"".join(_element(tag, elements[tag], is_explicit=is_explicit) for tag in sorted(elements))
    return struct.pack("<HHI", _ITEM >> 16, _ITEM & 0xFFFF, len(raw)) + raw
