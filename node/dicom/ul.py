"""The DICOM upper layer's protocol data units (PS3.8 section 9.3): bytes in, values out. No sockets, no clock."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"  # the only one there is (PS3.7 section A.2.1)
HEADER_BYTES = 6
MAX_ASSOCIATE_BYTES = 1 << 20  # 128 presentation contexts with every transfer syntax there is take a third of that
MAX_CONTEXTS = 128  # odd ids of one byte (PS3.8 section 9.3.2.2)

_TITLES = struct.Struct(">HH16s16s32s")  # protocol version, reserved, called AE title, calling AE title, reserved
_APPLICATION, _CONTEXT_RQ, _CONTEXT_AC, _ABSTRACT, _TRANSFER, _USER = 0x10, 0x20, 0x21, 0x30, 0x40, 0x50
_MAX_LENGTH, _IMPLEMENTATION_UID, _IMPLEMENTATION_NAME = 0x51, 0x52, 0x55
_IS_COMMAND, _IS_LAST = 1, 2  # message control header (PS3.8 section E.2)
_PDV_HEADER = struct.Struct(">IBB")  # length of what follows it, presentation context id, message control header


class ProtocolViolation(Exception):
    """The peer does not keep to PS3.8."""


class PduType(IntEnum):
    """The first byte of a PDU."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class Rejection(IntEnum):
    """Why an association is refused: result, source and reason (PS3.8 section 9.3.4), a byte each."""

    APPLICATION_CONTEXT = 0x010102
    CALLING_AE_TITLE = 0x010103
    LOCAL_LIMIT = 0x020302


class ContextResult(IntEnum):
    """What becomes of a proposed presentation context (PS3.8 table 9-18)."""

    ACCEPTED = 0
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """A proposed presentation context."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ. ``max_length``: the longest P-DATA-TF variable field the peer takes; 0 for no limit."""

    called_ae: str
    calling_ae: str
    contexts: tuple[PresentationContext, ...]
    max_length: int
    has_dicom_context: bool
    titles: bytes = field(repr=False)  # the two titles and the reserved bytes, which the answer must echo


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The answer to one presentation context."""

    context_id: int
    result: ContextResult
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Pdv:
    """A presentation data value: a fragment of a command or of a data set."""

    context_id: int
    is_command: bool
    is_last: bool
    fragment: memoryview


def decode_associate_rq(body: memoryview) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ after its header.

    Raises:
        ProtocolViolation: it is not one.
    """
    if len(body) < _TITLES.size:
        raise ProtocolViolation("short A-ASSOCIATE-RQ")
    _, _, called, calling, _ = _TITLES.unpack_from(body)
    contexts: list[PresentationContext] = []
    max_length, has_dicom_context = 0, False
    for kind, item in _items(body[_TITLES.size :]):
        if kind == _APPLICATION:
            has_dicom_context = bytes(item).rstrip(b"\0 ") == APPLICATION_CONTEXT
        elif kind == _CONTEXT_RQ:
            contexts.append(_decode_context(item))
        elif kind == _USER:
            for sub_kind, sub_item in _items(item):
                if sub_kind == _MAX_LENGTH and len(sub_item) == 4:  # noqa: PLR2004  # PS3.8 table D.1-1
                    max_length = int.from_bytes(sub_item, "big")
    if not 1 <= len(contexts) <= MAX_CONTEXTS or len({c.context_id for c in contexts}) < len(contexts):
        raise ProtocolViolation("presentation contexts")
    titles = bytes(body[4 : _TITLES.size])
    return AssociateRequest(_title(called), _title(calling), tuple(contexts), max_length, has_dicom_context, titles)


def encode_associate_ac(
    request: AssociateRequest, contexts: Sequence[Negotiated], max_length: int, implementation: tuple[str, str]
) -> bytes:
    """Accept ``request``; ``implementation`` is this one's class UID and version name."""
    items = [_item(_APPLICATION, APPLICATION_CONTEXT)]
    for context in contexts:
        head = struct.pack(">BBBB", context.context_id, 0, context.result, 0)
        items.append(_item(_CONTEXT_AC, head + _item(_TRANSFER, context.transfer_syntax.encode("ascii"))))
    class_uid, version = implementation
    user = (
        _item(_MAX_LENGTH, struct.pack(">I", max_length))
        + _item(_IMPLEMENTATION_UID, class_uid.encode("ascii"))
        + _item(_IMPLEMENTATION_NAME, version.encode("ascii"))
    )
    return _pdu(PduType.ASSOCIATE_AC, struct.pack(">HH", 1, 0) + request.titles + b"".join(items) + _item(_USER, user))


def encode_associate_rj(why: Rejection) -> bytes:
    """Refuse an association."""
    return _pdu(PduType.ASSOCIATE_RJ, why.to_bytes(4, "big"))


def encode_release_rp() -> bytes:
    """Agree to end the association."""
    return _pdu(PduType.RELEASE_RP, bytes(4))


def encode_abort() -> bytes:
    """End the association at once, as the service provider, giving no reason."""
    return _pdu(PduType.ABORT, b"\0\0\2\0")


def decode_pdvs(body: memoryview) -> Iterator[Pdv]:
    """The presentation data values of a P-DATA-TF, without copying.

    Raises:
        ProtocolViolation: lengths that do not fit.
    """
    at, size = 0, len(body)
    while at < size:
        if size - at < _PDV_HEADER.size:
            raise ProtocolViolation("short PDV")
        length, context_id, control = _PDV_HEADER.unpack_from(body, at)
        end = at + 4 + length
        if length < 2 or end > size:  # noqa: PLR2004  # context id and control header are counted
            raise ProtocolViolation("PDV length")
        yield Pdv(context_id, bool(control & _IS_COMMAND), bool(control & _IS_LAST), body[at + _PDV_HEADER.size : end])
        at = end


def encode_command(context_id: int, command: bytes, max_length: int) -> bytes:
    """A command set in as many P-DATA-TF as the peer's ``max_length`` makes necessary."""
    room = max(max_length - _PDV_HEADER.size, 2) if max_length else len(command)
    pieces = [command[i : i + room] for i in range(0, len(command), room)]
    out = []
    for number, piece in enumerate(pieces, 1):
        control = _IS_COMMAND | (_IS_LAST if number == len(pieces) else 0)
        out.append(_pdu(PduType.P_DATA_TF, _PDV_HEADER.pack(len(piece) + 2, context_id, control) + piece))
    return b"".join(out)


def _decode_context(item: memoryview) -> PresentationContext:
    if len(item) < 4:  # noqa: PLR2004  # id and three reserved bytes
        raise ProtocolViolation("short presentation context")
    abstract, transfers = "", []
    for kind, value in _items(item[4:]):
        if kind == _ABSTRACT:
            abstract = _uid(value)
        elif kind == _TRANSFER:
            transfers.append(_uid(value))
    return PresentationContext(item[0], abstract, tuple(transfers))


def _items(body: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(body):
        if len(body) - at < 4:  # noqa: PLR2004  # type, reserved, length
            raise ProtocolViolation("short item")
        end = at + 4 + int.from_bytes(body[at + 2 : at + 4], "big")
        if end > len(body):
            raise ProtocolViolation("item length")
        yield body[at], body[at + 4 : end]
        at = end


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _pdu(kind: PduType, body: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(body)) + body


def _title(raw: bytes) -> str:
    return raw.decode("ascii", "replace").strip(" \0")


def _uid(value: memoryview) -> str:
    return bytes(value).decode("ascii", "replace").strip(" \0")
