"""Command sets of DIMSE messages (PS3.7 section 6.3, annex E), as far as a Storage SCP needs them."""

import struct
from dataclasses import dataclass
from enum import IntEnum

from node.dicom.ul import ProtocolViolation

MAX_COMMAND_BYTES = 64 << 10  # real command sets have 100 to 200 bytes

_ELEMENT = struct.Struct("<HHI")
_GROUP_LENGTH, _SOP_CLASS, _FIELD, _MESSAGE_ID, _REPLY_TO = 0x0000, 0x0002, 0x0100, 0x0110, 0x0120
_DATASET_TYPE, _STATUS, _COMMENT, _SOP_INSTANCE = 0x0800, 0x0900, 0x0902, 0x1000
_NO_DATASET = 0x0101
_RESPONSE_BIT = 0x8000
_MAX_COMMENT = 64  # LO


class CommandField(IntEnum):
    """The requests that are served (PS3.7 table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


@dataclass(frozen=True, slots=True)
class Command:
    """A request. ``field`` may be one that is not served."""

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_dataset: bool


def decode_command(data: bytes) -> Command:
    """Read a command set (always implicit little endian).

    Raises:
        ProtocolViolation: it cannot be read, or is no request.
    """
    values: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if len(data) - at < _ELEMENT.size:
            raise ProtocolViolation("short command element")
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group != 0 or at + length > len(data):
            raise ProtocolViolation("command element")
        values[element] = data[at : at + length]
        at += length
    if _FIELD not in values or _MESSAGE_ID not in values or _number(values, _FIELD) & _RESPONSE_BIT:
        raise ProtocolViolation("not a request")
    return Command(
        _number(values, _FIELD),
        _number(values, _MESSAGE_ID),
        _text(values, _SOP_CLASS),
        _text(values, _SOP_INSTANCE),
        _number(values, _DATASET_TYPE) != _NO_DATASET,
    )


def encode_response(request: Command, status: int, comment: str = "") -> bytes:
    """The response to ``request``; ``comment`` becomes the Error Comment (0000,0902)."""
    elements = [
        _element(_SOP_CLASS, _padded(request.sop_class_uid, b"\0")),
        _element(_FIELD, struct.pack("<H", request.field | _RESPONSE_BIT)),
        _element(_REPLY_TO, struct.pack("<H", request.message_id)),
        _element(_DATASET_TYPE, struct.pack("<H", _NO_DATASET)),
        _element(_STATUS, struct.pack("<H", status)),
    ]
    if comment:
        elements.append(_element(_COMMENT, _padded(comment[:_MAX_COMMENT], b" ")))
    if request.sop_instance_uid:
        elements.append(_element(_SOP_INSTANCE, _padded(request.sop_instance_uid, b"\0")))
    body = b"".join(elements)
    return _element(_GROUP_LENGTH, struct.pack("<I", len(body))) + body


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def _padded(text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + pad if len(value) % 2 else value


def _number(values: dict[int, bytes], element: int) -> int:
    return int.from_bytes(values.get(element, b"")[:2], "little")


def _text(values: dict[int, bytes], element: int) -> str:
    return values.get(element, b"").decode("ascii", "replace").strip(" \0")
