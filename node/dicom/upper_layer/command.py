"""Command sets of C-STORE and C-ECHO messages (PS3.7 sections 6.3 and 9.3, annex E): implicit VR little endian."""

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from node.dicom.upper_layer.errors import RemoteProtocolError
from node.dicom.upper_layer.limits import MAX_COMMAND_BYTES, MAX_COMMAND_ELEMENTS

RESPONSE = 0x8000  # this bit of the Command Field is set in responses
NO_DATASET = 0x0101  # Command Data Set Type (0000,0800) of messages without one

_ELEMENT = struct.Struct("<HHI")
_MAX_COMMENT = 64  # Error Comment is an LO


class CommandField(IntEnum):
    """The requests that are known here (PS3.7 table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


class Tag(IntEnum):
    """Elements of group 0000 that are read or written here."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_RESPONDED_TO = 0x0120
    PRIORITY = 0x0700
    DATASET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000


@dataclass(frozen=True, slots=True)
class Request:
    """A request. ``command`` may be one that is not known here."""

    command: int
    message_id: int
    has_dataset: bool
    sop_class_uid: str = field(default="", repr=False)
    sop_instance_uid: str = field(default="", repr=False)
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a request, as its sender reads it."""

    command: int
    message_id: int
    status: int
    sop_class_uid: str = field(default="", repr=False)
    sop_instance_uid: str = field(default="", repr=False)
    comment: str = ""


def decode_request(data: bytes) -> Request:
    """Read the command set of a request.

    Raises:
        RemoteProtocolError: it cannot be read, lacks what every request has, or is a response.
    """
    values = _elements(data)
    command = _number(values, Tag.COMMAND_FIELD)
    if command & RESPONSE:
        raise RemoteProtocolError("response without request")
    return Request(
        command=command,
        # A C-CANCEL names the message it cancels and has no id of its own (PS3.7 table 9.3-10).
        message_id=0 if command == CommandField.C_CANCEL_RQ else _number(values, Tag.MESSAGE_ID),
        has_dataset=_number(values, Tag.DATASET_TYPE) != NO_DATASET,
        sop_class_uid=_text(values, Tag.AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=_text(values, Tag.AFFECTED_SOP_INSTANCE_UID),
        priority=_number(values, Tag.PRIORITY) if Tag.PRIORITY in values else 0,
    )


def encode_request(request: Request) -> bytes:
    """The command set of ``request``."""
    elements = {
        Tag.AFFECTED_SOP_CLASS_UID: _padded(request.sop_class_uid, b"\0"),
        Tag.COMMAND_FIELD: _short(request.command),
        Tag.MESSAGE_ID: _short(request.message_id),
        Tag.PRIORITY: _short(request.priority),
        Tag.DATASET_TYPE: _short(0 if request.has_dataset else NO_DATASET),
    }
    if request.sop_instance_uid:
        elements[Tag.AFFECTED_SOP_INSTANCE_UID] = _padded(request.sop_instance_uid, b"\0")
    return _encode(elements)


def decode_response(data: bytes) -> Response:
    """Read the command set of a response.

    Raises:
        RemoteProtocolError: it cannot be read, or is a request.
    """
    values = _elements(data)
    command = _number(values, Tag.COMMAND_FIELD)
    if not command & RESPONSE:
        raise RemoteProtocolError("request instead of a response")
    return Response(
        command=command & ~RESPONSE,
        message_id=_number(values, Tag.MESSAGE_ID_RESPONDED_TO),
        status=_number(values, Tag.STATUS),
        sop_class_uid=_text(values, Tag.AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=_text(values, Tag.AFFECTED_SOP_INSTANCE_UID),
        comment=_text(values, Tag.ERROR_COMMENT),
    )


def encode_response(request: Request, status: int, comment: str = "") -> bytes:
    """The response to ``request``; ``comment`` becomes its Error Comment and is cut to what fits."""
    elements = {
        Tag.AFFECTED_SOP_CLASS_UID: _padded(request.sop_class_uid, b"\0"),
        Tag.COMMAND_FIELD: _short(request.command | RESPONSE),
        Tag.MESSAGE_ID_RESPONDED_TO: _short(request.message_id),
        Tag.DATASET_TYPE: _short(NO_DATASET),
        Tag.STATUS: _short(status),
    }
    if comment:
        elements[Tag.ERROR_COMMENT] = _padded(comment[:_MAX_COMMENT], b" ")
    if request.sop_instance_uid:
        elements[Tag.AFFECTED_SOP_INSTANCE_UID] = _padded(request.sop_instance_uid, b"\0")
    return _encode(elements)


def _elements(data: bytes) -> dict[int, bytes]:
    """Values by element number; ascending order, as every data set has it (PS3.5 section 7.1)."""
    if len(data) > MAX_COMMAND_BYTES:
        raise RemoteProtocolError("command length")
    values: dict[int, bytes] = {}
    at, previous = 0, -1
    while at < len(data):
        if len(data) - at < _ELEMENT.size or len(values) == MAX_COMMAND_ELEMENTS:
            raise RemoteProtocolError("command element")
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group != 0 or element <= previous or at + length > len(data):
            raise RemoteProtocolError("command element")
        values[element] = data[at : at + length]
        previous = element
        at += length
    return values


def _number(values: dict[int, bytes], tag: Tag) -> int:
    value = values.get(tag)
    if value is None or len(value) != 2:  # noqa: PLR2004 - US
        raise RemoteProtocolError("command element")
    return int.from_bytes(value, "little")


def _text(values: dict[int, bytes], tag: Tag) -> str:
    return values.get(tag, b"").decode("ascii", "replace").strip(" \0")


def _short(number: int) -> bytes:
    return number.to_bytes(2, "little")


def _padded(text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + pad if len(value) % 2 else value


def _encode(elements: dict[Tag, bytes]) -> bytes:
    body = b"".join(_ELEMENT.pack(0, tag, len(elements[tag])) + elements[tag] for tag in sorted(elements))
    return _ELEMENT.pack(0, Tag.GROUP_LENGTH, 4) + struct.pack("<I", len(body)) + body
