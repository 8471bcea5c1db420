"""Command sets of DIMSE messages (PS3.7 sections 6.3, 9.3 and 10.3, annex E): implicit VR little endian."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from node.dicom.upper_layer.errors import RemoteProtocolError
from node.dicom.upper_layer.limits import MAX_COMMAND_BYTES, MAX_COMMAND_ELEMENTS

RESPONSE = 0x8000  # this bit of the Command Field is set in responses
NO_DATASET = 0x0101  # Command Data Set Type (0000,0800) of messages without one

_ELEMENT = struct.Struct("<HHI")
_MAX_COMMENT = 64  # Error Comment is an LO
_MOST = 0xFFFF  # what a US can say


class CommandField(IntEnum):
    """The requests that are known here (PS3.7 table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_ACTION_RQ = 0x0130
    C_CANCEL_RQ = 0x0FFF


class Tag(IntEnum):
    """Elements of group 0000 that are read or written here."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATASET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNING = 0x1023
    MOVE_ORIGINATOR_AE = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


# Where each request says its type of event or action, which its response repeats.
_TYPE_TAGS: Mapping[int, Tag] = {
    CommandField.N_EVENT_REPORT_RQ: Tag.EVENT_TYPE_ID,
    CommandField.N_ACTION_RQ: Tag.ACTION_TYPE_ID,
}
_WITH_PRIORITY = frozenset({
    CommandField.C_STORE_RQ, CommandField.C_FIND_RQ, CommandField.C_GET_RQ, CommandField.C_MOVE_RQ,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class MoveOriginator:
    """On whose behalf an instance is sent: the requestor of a C-MOVE, and its message."""

    ae_title: str
    message_id: int


@dataclass(frozen=True, slots=True)
class Request:
    """A request. ``command`` may be one that is not known here; ``message_id`` of a C-CANCEL is the one it cancels.

    The SOP class and instance are the affected ones, of an N-ACTION the requested ones.
    """

    command: int
    message_id: int
    has_dataset: bool
    sop_class_uid: str = field(default="", repr=False)
    sop_instance_uid: str = field(default="", repr=False)
    priority: int = 0
    type_id: int = 0  # of the event or action
    destination: str = ""  # Move Destination
    originator: MoveOriginator | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Sub-operations of a C-MOVE or C-GET."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a request, as its sender reads it."""

    command: int
    message_id: int
    status: int
    sop_class_uid: str = field(default="", repr=False)
    sop_instance_uid: str = field(default="", repr=False)
    comment: str = ""
    has_dataset: bool = False


Message: TypeAlias = Request | Response


def decode_message(data: bytes) -> Message:
    """Read a command set; raises RemoteProtocolError: it cannot be read, or lacks what every message has."""
    values = _elements(data)
    is_response = _number(values, Tag.COMMAND_FIELD) & RESPONSE
    return _response(values) if is_response else _request(values)


def decode_request(data: bytes) -> Request:
    """Read the command set of a request.

    Raises:
        RemoteProtocolError: it cannot be read, lacks what every request has, or is a response.
    """
    message = decode_message(data)
    if not isinstance(message, Request):
        raise RemoteProtocolError("response without request")
    return message


def _request(values: dict[int, bytes]) -> Request:
    command = _number(values, Tag.COMMAND_FIELD)
    # A C-CANCEL names the message it cancels and has no id of its own (PS3.7 table 9.3-10).
    id_tag = Tag.MESSAGE_ID_RESPONDED_TO if command == CommandField.C_CANCEL_RQ else Tag.MESSAGE_ID
    is_action = command == CommandField.N_ACTION_RQ
    type_tag = _TYPE_TAGS.get(command)
    return Request(
        command=command,
        message_id=_number(values, id_tag),
        has_dataset=_number(values, Tag.DATASET_TYPE) != NO_DATASET,
        sop_class_uid=_text(values, Tag.REQUESTED_SOP_CLASS_UID if is_action else Tag.AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=_text(values, Tag.REQUESTED_SOP_INSTANCE_UID if is_action else Tag.AFFECTED_SOP_INSTANCE_UID),
        priority=_number(values, Tag.PRIORITY) if Tag.PRIORITY in values else 0,
        type_id=_number(values, type_tag) if type_tag else 0,
        destination=_text(values, Tag.MOVE_DESTINATION),
        originator=_originator(values),
    )


def _originator(values: dict[int, bytes]) -> MoveOriginator | None:
    if not {Tag.MOVE_ORIGINATOR_AE, Tag.MOVE_ORIGINATOR_MESSAGE_ID} <= values.keys():
        return None
    return MoveOriginator(_text(values, Tag.MOVE_ORIGINATOR_AE), _number(values, Tag.MOVE_ORIGINATOR_MESSAGE_ID))


def encode_request(request: Request) -> bytes:
    """The command set of ``request``."""
    command = request.command
    is_action = command == CommandField.N_ACTION_RQ
    elements = {
        Tag.REQUESTED_SOP_CLASS_UID if is_action else Tag.AFFECTED_SOP_CLASS_UID: _uid(request.sop_class_uid),
        Tag.COMMAND_FIELD: _short(command),
        Tag.MESSAGE_ID: _short(request.message_id),
        Tag.DATASET_TYPE: _short(0 if request.has_dataset else NO_DATASET),
    }
    if command == CommandField.C_CANCEL_RQ:
        number = elements.pop(Tag.MESSAGE_ID)
        elements = {**elements, Tag.MESSAGE_ID_RESPONDED_TO: number}
        del elements[Tag.AFFECTED_SOP_CLASS_UID]
    if command in _WITH_PRIORITY:
        elements[Tag.PRIORITY] = _short(request.priority)
    if request.sop_instance_uid:
        tag = Tag.REQUESTED_SOP_INSTANCE_UID if is_action else Tag.AFFECTED_SOP_INSTANCE_UID
        elements[tag] = _uid(request.sop_instance_uid)
    if command in _TYPE_TAGS:
        elements[_TYPE_TAGS[command]] = _short(request.type_id)
    if request.destination:
        elements[Tag.MOVE_DESTINATION] = _padded(request.destination, b" ")
    if request.originator is not None:
        elements[Tag.MOVE_ORIGINATOR_AE] = _padded(request.originator.ae_title, b" ")
        elements[Tag.MOVE_ORIGINATOR_MESSAGE_ID] = _short(request.originator.message_id)
    return _encode(elements)


def decode_response(data: bytes) -> Response:
    """Read the command set of a response.

    Raises:
        RemoteProtocolError: it cannot be read, or is a request.
    """
    message = decode_message(data)
    if not isinstance(message, Response):
        raise RemoteProtocolError("request instead of a response")
    return message


def _response(values: dict[int, bytes]) -> Response:
    return Response(
        command=_number(values, Tag.COMMAND_FIELD) & ~RESPONSE,
        message_id=_number(values, Tag.MESSAGE_ID_RESPONDED_TO),
        status=_number(values, Tag.STATUS),
        sop_class_uid=_text(values, Tag.AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=_text(values, Tag.AFFECTED_SOP_INSTANCE_UID),
        comment=_text(values, Tag.ERROR_COMMENT),
        has_dataset=_number(values, Tag.DATASET_TYPE) != NO_DATASET,
    )


def encode_response(
    request: Request, status: int, comment: str = "", *, has_dataset: bool = False, counts: Counts | None = None
) -> bytes:
    """The response to ``request``; ``comment`` becomes its Error Comment and is cut to what fits.

    Args:
        request: what is answered.
        status: see PS3.7 annex C and the service's own.
        comment: a stable word.
        has_dataset: whether an identifier follows.
        counts: of sub-operations; ``remaining`` is left out of final responses (PS3.7 section 9.1.4.1.7).
    """
    elements = {
        Tag.AFFECTED_SOP_CLASS_UID: _uid(request.sop_class_uid),
        Tag.COMMAND_FIELD: _short(request.command | RESPONSE),
        Tag.MESSAGE_ID_RESPONDED_TO: _short(request.message_id),
        Tag.DATASET_TYPE: _short(0 if has_dataset else NO_DATASET),
        Tag.STATUS: _short(status),
    }
    if comment:
        elements[Tag.ERROR_COMMENT] = _padded(comment[:_MAX_COMMENT], b" ")
    if request.sop_instance_uid:
        elements[Tag.AFFECTED_SOP_INSTANCE_UID] = _uid(request.sop_instance_uid)
    if request.command in _TYPE_TAGS:
        elements[_TYPE_TAGS[request.command]] = _short(request.type_id)
    if counts is not None:
        if counts.remaining:
            elements[Tag.REMAINING] = _short(min(counts.remaining, _MOST))
        elements[Tag.COMPLETED] = _short(min(counts.completed, _MOST))
        elements[Tag.FAILED] = _short(min(counts.failed, _MOST))
        elements[Tag.WARNING] = _short(min(counts.warning, _MOST))
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


def _uid(text: str) -> bytes:
    return _padded(text, b"\0")


def _short(number: int) -> bytes:
    return number.to_bytes(2, "little")


def _padded(text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + pad if len(value) % 2 else value


def _encode(elements: dict[Tag, bytes]) -> bytes:
    body = b"".join(_ELEMENT.pack(0, tag, len(elements[tag])) + elements[tag] for tag in sorted(elements))
    return _ELEMENT.pack(0, Tag.GROUP_LENGTH, 4) + struct.pack("<I", len(body)) + body
