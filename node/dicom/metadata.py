"""A data set's metadata in the DICOM JSON model (PS3.18 annex F), by a worker process.

Text is decoded once and told in UTF-8: Specific Character Set is always ISO_IR 192. What a viewer would trip over is
left out: a VOI window without a positive width. Group lengths are left out as annex F.2 asks.
"""

import base64
import json
import math
import struct
from collections.abc import Callable
from typing import Any

from node.dicom.charset import character_sets, decode
from node.dicom.elements import Node, TreeReader
from node.dicom.heads import as_explicit_little
from node.dicom.inflate import InflatedSource
from node.dicom.structure import (
    EXPLICIT_LITTLE,
    PIXEL_DATA,
    UNDEFINED,
    Cursor,
    Element,
    Encoding,
    Source,
    Unusual,
    walk,
)
from node.errors.dicom import HeaderTooLarge, InvalidHeader, NoSuchElement, Truncated

MAX_METADATA = 16 << 20  # bytes of a data set before its pixel data
MAX_INLINE = 1024  # bytes of a binary value that is sent inline instead of by URI
MAX_PATH = 256  # characters of a bulk data path

_NOT_METADATA = frozenset({0x0000, 0x0002})  # command and file meta groups, which some data sets carry along
_CHARACTER_SET, _PIXEL_REPRESENTATION = 0x00080005, 0x00280103
_WINDOW_CENTER, _WINDOW_WIDTH, _WINDOW_EXPLANATION = 0x00281050, 0x00281051, 0x00281055
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_SINGLE_TEXT = frozenset({"LT", "ST", "UT", "UR"})  # a backslash is a character there
_ENCODED_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_WORD_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_SIGNED_OR_UNSIGNED = frozenset({  # the commonest of US or SS, where implicit encoding does not say which
    0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280120, 0x00280121,
})  # fmt: skip

Json = dict[str, dict[str, Any]]


def metadata(source: Source, syntax: str, bulk_data_uri: str) -> bytes:
    """One JSON object in UTF-8.

    Raises:
        DicomRefused: truncated, beyond a limit, or not to be read at all.
    """
    data, nodes, pixels = _tree(source, syntax)
    writer = _Writer(data, bulk_data_uri)
    result = writer.dataset(nodes, ("ascii",), "")
    result["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    if pixels is not None:
        vr = pixels.vr.decode() if pixels.vr else "OW"
        result[_name(pixels.tag)] = {"vr": vr, "BulkDataURI": f"{bulk_data_uri}/{_name(pixels.tag)}"}
    return json.dumps(dict(sorted(result.items())), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def tree(source: Source, syntax: str) -> tuple[bytes, tuple[Node, ...]]:
    """The elements before the pixel data, and the bytes in which their values lie. Raises as :func:`metadata`."""
    data, nodes, _ = _tree(source, syntax)
    return data, nodes


def locate(source: Source, syntax: str, path: str) -> tuple[int, int, str]:
    """Offset, length and VR of the value that a bulk data path names.

    Raises:
        NoSuchElement: there is none, or it is not in one piece in the stored bytes.
    """
    if Encoding.of(syntax).deflated:
        raise NoSuchElement
    steps = _steps(path)
    try:
        pixels, end = _head(source, Encoding.of(syntax))
        if pixels is not None and steps == [pixels.tag]:
            return _one_piece(pixels.offset, pixels.length, pixels.vr.decode() or "OW")
        nodes = TreeReader(source.read(0, end), Encoding.of(syntax)).read()
    except Unusual as exc:
        raise NoSuchElement from exc
    node = _find(nodes, steps)
    return _one_piece(node.offset, node.length, node.vr)


def value(source: Source, syntax: str, path: str) -> bytes:
    """The value itself, where :func:`locate` finds no place for it in the stored bytes; in little endian.

    Raises:
        NoSuchElement: there is none, or it is encapsulated pixel data.
        otherwise DicomRefused: beyond a limit, or not to be read at all.
    """
    steps = _steps(path)
    data, nodes, pixels = _tree(source, syntax)
    if pixels is not None and steps == [pixels.tag]:
        plain = InflatedSource(source) if Encoding.of(syntax).deflated else source
        offset, length, _ = _one_piece(pixels.offset, pixels.length, "")
        return plain.read(offset, length)
    node = _find(nodes, steps)
    offset, length, vr = _one_piece(node.offset, node.length, node.vr)
    return (
        _swapped(data[offset : offset + length], _WORD_BYTES[vr])
        if node.big and vr in _WORD_BYTES
        else data[offset : offset + length]
    )


def _steps(path: str) -> list[int]:
    """A bulk data path: tags and, between them, indexes of items."""
    if len(path) > MAX_PATH:
        raise NoSuchElement
    try:
        return [int(step, 16 if index % 2 == 0 else 10) for index, step in enumerate(path.split("/"))]
    except ValueError as exc:
        raise NoSuchElement from exc


def _one_piece(offset: int, length: int, vr: str) -> tuple[int, int, str]:
    if length == UNDEFINED:
        raise NoSuchElement
    return offset, length, vr


def _find(nodes: tuple[Node, ...], steps: list[int]) -> Node:
    node = next((n for n in nodes if n.tag == steps[0]), None)
    if node is None:
        raise NoSuchElement
    if len(steps) == 1:
        return node
    if node.items is None or len(steps) == 2 or not 0 <= steps[1] < len(node.items):  # noqa: PLR2004  # ends at an item
        raise NoSuchElement
    return _find(node.items[steps[1]], steps[2:])


def _tree(source: Source, syntax: str) -> tuple[bytes, tuple[Node, ...], Element | None]:
    encoding = Encoding.of(syntax)
    plain = InflatedSource(source) if encoding.deflated else source
    pixels = None
    try:
        pixels, end = _head(plain, encoding)
        data = plain.read(0, end)
        return data, TreeReader(data, encoding).read(), pixels
    except Unusual:
        data = as_explicit_little(source, syntax)
    try:
        return data, TreeReader(data, Encoding.of(EXPLICIT_LITTLE)).read(), pixels
    except (Unusual, Truncated) as exc:
        raise InvalidHeader("the data set cannot be read") from exc


def _head(source: Source, encoding: Encoding) -> tuple[Element | None, int]:
    """The pixel data element, if there is one, and where the elements before it end."""
    end = 0
    for element in walk(Cursor(source), encoding):
        if element.tag in PIXEL_DATA:
            end = element.start
            break
        end = element.offset + element.length if element.length != UNDEFINED else element.offset
    else:
        element = None
        end = _size(source, end)
    if end > MAX_METADATA:
        raise HeaderTooLarge("length")
    return element, end


def _size(source: Source, at_least: int) -> int:
    """The data set's size, found by asking: a source knows only whether it reaches."""
    low, high = at_least, MAX_METADATA + 1
    if source.reaches(high):
        return high
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if source.reaches(middle) else (low, middle)
    return low


class _Writer:
    """Elements as JSON values."""

    def __init__(self, data: bytes, bulk_data_uri: str) -> None:
        self._data = data
        self._uri = bulk_data_uri
        self._signed = False

    def dataset(self, nodes: tuple[Node, ...], codecs: tuple[str, ...], path: str) -> Json:
        """The elements of one data set or item; a Specific Character Set in it holds from there on down."""
        by_tag = {node.tag: node for node in nodes}
        if _CHARACTER_SET in by_tag:
            codecs = character_sets(self._bytes(by_tag[_CHARACTER_SET]))
        if _PIXEL_REPRESENTATION in by_tag:
            self._signed = self._bytes(by_tag[_PIXEL_REPRESENTATION]).strip(b"\0") != b""
        result = {
            _name(tag): self._element(node, codecs, path)
            for tag, node in by_tag.items()
            if tag & 0xFFFF and tag >> 16 not in _NOT_METADATA
        }
        if not _has_valid_window(result):
            for tag in (_WINDOW_CENTER, _WINDOW_WIDTH, _WINDOW_EXPLANATION):
                result.pop(_name(tag), None)
        if path and _CHARACTER_SET in by_tag:
            result[_name(_CHARACTER_SET)] = {"vr": "CS", "Value": ["ISO_IR 192"]}
        return result

    def _element(self, node: Node, codecs: tuple[str, ...], path: str) -> dict[str, Any]:
        here = f"{path}/{_name(node.tag)}" if path else _name(node.tag)
        if node.items is not None:
            items = [self.dataset(item, codecs, f"{here}/{index}") for index, item in enumerate(node.items)]
            return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        vr = "SS" if node.vr == "US" and self._signed and node.tag in _SIGNED_OR_UNSIGNED else node.vr
        if vr in _BINARY:
            return self._binary(node, here)
        values = self._values(vr, self._bytes(node), codecs, big=node.big)
        return {"vr": vr, "Value": values} if any(value is not None for value in values) else {"vr": vr}

    def _binary(self, node: Node, here: str) -> dict[str, Any]:
        if node.length == 0:
            return {"vr": node.vr}
        if node.length == UNDEFINED or node.length > MAX_INLINE:
            return {"vr": node.vr, "BulkDataURI": f"{self._uri}/{here}"}
        value = self._bytes(node)
        if node.big and node.vr in _WORD_BYTES:
            value = _swapped(value, _WORD_BYTES[node.vr])
        return {"vr": node.vr, "InlineBinary": base64.b64encode(value).decode("ascii")}

    def _values(self, vr: str, raw: bytes, codecs: tuple[str, ...], *, big: bool) -> list[Any]:
        order = ">" if big else "<"
        if vr in _NUMBERS:
            item = struct.Struct(order + _NUMBERS[vr])
            whole = raw[: len(raw) // item.size * item.size]
            return [_finite(number) for (number,) in item.iter_unpack(whole)]
        if vr == "AT":
            pairs = struct.iter_unpack(order + "HH", raw[: len(raw) // 4 * 4])
            return [f"{group:04X}{element:04X}" for group, element in pairs]
        text = decode_lines(raw.rstrip(b"\0"), codecs if vr in _ENCODED_TEXT else ("ascii",))
        if vr in _SINGLE_TEXT:
            return [text.rstrip() or None]
        convert = _CONVERT.get(vr, _plain)
        return [convert(part) for part in text.split("\\")]

    def _bytes(self, node: Node) -> bytes:
        return self._data[node.offset : node.offset + node.length] if node.length != UNDEFINED else b""


def decode_lines(raw: bytes, codecs: tuple[str, ...]) -> str:
    """Text with its line breaks and tabs kept (PS3.5 section 6.1.3 allows them in LT, ST and UT)."""
    if b"\n" not in raw and b"\r" not in raw and b"\t" not in raw:
        return decode(raw, codecs)
    return "\n".join(
        "\t".join(decode(cell, codecs) for cell in line.split(b"\t"))
        for line in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    )


def _finite(number: float) -> Any:
    if isinstance(number, float) and not math.isfinite(number):  # PS3.18 section F.2.4 has them as strings
        return "NaN" if math.isnan(number) else "inf" if number > 0 else "-inf"
    return number


def _decimal(part: str) -> Any:
    text = part.strip(" \0")
    try:
        return _finite(float(text)) if text else None
    except ValueError:
        return text  # DS and IS may be strings (PS3.18 table F.2.3-1)


def _integer(part: str) -> Any:
    text = part.strip(" \0")
    digits = text.removeprefix("-").removeprefix("+")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else text or None  # noqa: PLR2004


def _plain(part: str) -> Any:
    return part.strip() or None


def _person(part: str) -> Any:
    names = ("Alphabetic", "Ideographic", "Phonetic")
    groups = {name: group.strip() for name, group in zip(names, part.split("="), strict=False) if group.strip()}
    return groups or None


_CONVERT: dict[str, Callable[[str], Any]] = {"DS": _decimal, "IS": _integer, "PN": _person}


def _has_valid_window(result: Json) -> bool:
    widths = result.get(_name(_WINDOW_WIDTH), {}).get("Value", [])
    centers = result.get(_name(_WINDOW_CENTER), {}).get("Value", [])
    numbers = [w for w in widths if isinstance(w, int | float) and w > 0]
    return len(numbers) == len(widths) == len(centers)


def _swapped(value: bytes, size: int) -> bytes:
    return b"".join(value[i : i + size][::-1] for i in range(0, len(value), size))


def _name(tag: int) -> str:
    return f"{tag:08X}"
