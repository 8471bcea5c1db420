"""Protocol data units (PS3.8 section 9.3): bytes to values and back. Strict: a length that does not fit is refused.

P-DATA-TF is not decoded here but in ``framing``, piece by piece as it arrives: it may be longer than memory.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from node.dicom.upper_layer.codes import AbortReason, AbortSource, ItemType, PduType
from node.dicom.upper_layer.errors import LocalProtocolError, RemoteProtocolError
from node.dicom.upper_layer.items import (
    UserInformation,
    decode_uid,
    decode_user_information,
    encode_user_information,
    item,
    walk,
)
from node.dicom.upper_layer.limits import (
    MAX_CONTEXTS,
    MAX_TRANSFER_SYNTAXES,
    MIN_PEER_MAX_LENGTH,
    PDV_HEADER_BYTES,
    SHORT_PDU_BYTES,
)

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # the only one there is (PS3.7 section A.2.1)
PROTOCOL_VERSION = 0x0001  # bit 0: version 1
IS_COMMAND, IS_LAST = 0x01, 0x02  # message control header (PS3.8 section E.2)

_HEADER = struct.Struct(">BBI")
_PDV_HEADER = struct.Struct(">IBB")  # length of what follows it, presentation context id, message control header
_FIXED = struct.Struct(">HH16s16s32s")  # protocol version, reserved, called and calling AE title, reserved
_TITLES = slice(4, _FIXED.size)
_TITLE_BYTES = 16
_ITEMS_OF_ASSOCIATE = MAX_CONTEXTS + 2  # application context, presentation contexts, user information


@dataclass(frozen=True, slots=True)
class Titles:
    """Called and calling AE title and the reserved bytes after them, which an answer repeats as they are."""

    raw: bytes = field(repr=False)

    @classmethod
    def of(cls, called: str, calling: str) -> Self:
        """The field for two titles of at most 16 characters."""
        return cls(b"".join(title.encode("ascii").ljust(_TITLE_BYTES) for title in (called, calling)) + bytes(32))

    @property
    def called(self) -> str:
        """The called AE title without padding."""
        return _title(self.raw[:_TITLE_BYTES])

    @property
    def calling(self) -> str:
        """The calling AE title without padding."""
        return _title(self.raw[_TITLE_BYTES : 2 * _TITLE_BYTES])


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as the requestor proposes it."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextAnswer:
    """What became of it (``ContextResult``); the transfer syntax counts if it was accepted."""

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class AssociateRq:
    """A-ASSOCIATE-RQ (section 9.3.2)."""

    titles: Titles
    contexts: tuple[ProposedContext, ...]
    user: UserInformation
    application_context: str = APPLICATION_CONTEXT
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class AssociateAc:
    """A-ASSOCIATE-AC (section 9.3.3)."""

    titles: Titles
    contexts: tuple[ContextAnswer, ...]
    user: UserInformation
    application_context: str = APPLICATION_CONTEXT


@dataclass(frozen=True, slots=True)
class AssociateRj:
    """A-ASSOCIATE-RJ (section 9.3.4)."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class ReleaseRq:
    """A-RELEASE-RQ (section 9.3.6)."""


@dataclass(frozen=True, slots=True)
class ReleaseRp:
    """A-RELEASE-RP (section 9.3.7)."""


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT (section 9.3.8). Numbers of other editions are kept as they are."""

    source: int = AbortSource.SERVICE_USER
    reason: int = AbortReason.NOT_SPECIFIED


ControlPdu: TypeAlias = AssociateRq | AssociateAc | AssociateRj | ReleaseRq | ReleaseRp | Abort


def encode(pdu: ControlPdu) -> bytes:
    """The PDU's bytes."""
    match pdu:
        case AssociateRq():
            return _frame(PduType.ASSOCIATE_RQ, _encode_request(pdu))
        case AssociateAc():
            return _frame(PduType.ASSOCIATE_AC, _encode_accept(pdu))
        case AssociateRj(result, source, reason):
            return _frame(PduType.ASSOCIATE_RJ, bytes((0, result, source, reason)))
        case ReleaseRq():
            return _frame(PduType.RELEASE_RQ, bytes(SHORT_PDU_BYTES))
        case ReleaseRp():
            return _frame(PduType.RELEASE_RP, bytes(SHORT_PDU_BYTES))
        case Abort(source, reason):
            return _frame(PduType.ABORT, bytes((0, 0, source, reason)))


def decode(kind: PduType, body: memoryview) -> ControlPdu:
    """Read a PDU after its header; any type but P-DATA-TF.

    Raises:
        RemoteProtocolError: it is not well-formed.
    """
    match kind:
        case PduType.ASSOCIATE_RQ:
            return _decode_request(body)
        case PduType.ASSOCIATE_AC:
            return _decode_accept(body)
        case PduType.P_DATA_TF:
            raise LocalProtocolError("P-DATA-TF is decoded in pieces")
    if len(body) != SHORT_PDU_BYTES:
        raise RemoteProtocolError("pdu length")
    match kind:
        case PduType.ASSOCIATE_RJ:
            return AssociateRj(*body[1:])
        case PduType.RELEASE_RQ:
            return ReleaseRq()
        case PduType.RELEASE_RP:
            return ReleaseRp()
        case PduType.ABORT:
            return Abort(*body[2:])


def encode_data(context_id: int, message: bytes, *, is_command: bool, max_length: int) -> bytes:
    """A whole command or data set as P-DATA-TF PDUs that its receiver takes.

    Args:
        context_id: the presentation context.
        message: what to send.
        is_command: a command set, else a data set.
        max_length: the receiver's maximum length; 0 for any.
    """
    if max_length and max_length < MIN_PEER_MAX_LENGTH:
        raise LocalProtocolError("no room for a fragment")
    room = fragment_room(max_length) or max(len(message), 1)
    out = []
    for at in range(0, max(len(message), 1), room):
        piece = message[at : at + room]
        is_last = at + room >= len(message)
        out.append(data_header(context_id, len(piece), is_command=is_command, is_last=is_last))
        out.append(piece)
    return b"".join(out)


def fragment_room(max_length: int) -> int:
    """Bytes of a fragment that fit into a P-DATA-TF of ``max_length``, an even number; 0 for any."""
    return (max_length - PDV_HEADER_BYTES) & ~1 if max_length else 0


def data_header(context_id: int, length: int, *, is_command: bool, is_last: bool) -> bytes:
    """What stands before the ``length`` bytes of a fragment: the headers of a P-DATA-TF and of its one PDV."""
    control = (IS_COMMAND if is_command else 0) | (IS_LAST if is_last else 0)
    head = _HEADER.pack(PduType.P_DATA_TF, 0, PDV_HEADER_BYTES + length)
    return head + _PDV_HEADER.pack(length + 2, context_id, control)


def _frame(kind: PduType, body: bytes) -> bytes:
    return _HEADER.pack(kind, 0, len(body)) + body


def _title(raw: bytes) -> str:
    return raw.decode("ascii", "replace").strip(" \0")


def _encode_request(pdu: AssociateRq) -> bytes:
    parts = [struct.pack(">HH", pdu.version, 0), pdu.titles.raw]
    parts.append(item(ItemType.APPLICATION_CONTEXT, pdu.application_context.encode("ascii")))
    for context in pdu.contexts:
        content = bytes((context.context_id, 0, 0, 0))
        content += item(ItemType.ABSTRACT_SYNTAX, context.abstract_syntax.encode("ascii"))
        content += b"".join(item(ItemType.TRANSFER_SYNTAX, uid.encode("ascii")) for uid in context.transfer_syntaxes)
        parts.append(item(ItemType.PRESENTATION_CONTEXT_RQ, content))
    parts.append(item(ItemType.USER_INFORMATION, encode_user_information(pdu.user)))
    return b"".join(parts)


def _encode_accept(pdu: AssociateAc) -> bytes:
    parts = [struct.pack(">HH", PROTOCOL_VERSION, 0), pdu.titles.raw]
    parts.append(item(ItemType.APPLICATION_CONTEXT, pdu.application_context.encode("ascii")))
    for context in pdu.contexts:
        content = bytes((context.context_id, 0, context.result, 0))
        content += item(ItemType.TRANSFER_SYNTAX, context.transfer_syntax.encode("ascii"))
        parts.append(item(ItemType.PRESENTATION_CONTEXT_AC, content))
    parts.append(item(ItemType.USER_INFORMATION, encode_user_information(pdu.user)))
    return b"".join(parts)


@dataclass(slots=True)
class _Associate:
    """What A-ASSOCIATE-RQ and -AC have in common, read."""

    version: int
    titles: Titles
    application_context: str
    contexts: list[memoryview]
    user: UserInformation


def _decode_associate(body: memoryview, context_type: ItemType) -> _Associate:
    if len(body) < _FIXED.size:
        raise RemoteProtocolError("pdu length")
    application: str | None = None
    user: UserInformation | None = None
    contexts: list[memoryview] = []
    for kind, content in walk(body[_FIXED.size :], _ITEMS_OF_ASSOCIATE):
        if kind == ItemType.APPLICATION_CONTEXT and application is None:
            application = decode_uid(content)
        elif kind == context_type:
            contexts.append(content)
        elif kind == ItemType.USER_INFORMATION and user is None:
            user = decode_user_information(content)
        else:
            raise RemoteProtocolError("unexpected item", AbortReason.UNRECOGNISED_PARAMETER)
    if application is None or user is None or not 1 <= len(contexts) <= MAX_CONTEXTS:
        raise RemoteProtocolError("missing item")
    version = int.from_bytes(body[:2], "big")
    return _Associate(version, Titles(bytes(body[_TITLES])), application, contexts, user)


def _decode_request(body: memoryview) -> AssociateRq:
    read = _decode_associate(body, ItemType.PRESENTATION_CONTEXT_RQ)
    contexts = tuple(map(_decode_proposed, read.contexts))
    if len({context.context_id for context in contexts}) < len(contexts):
        raise RemoteProtocolError("repeated presentation context")
    return AssociateRq(read.titles, contexts, read.user, read.application_context, read.version)


def _decode_accept(body: memoryview) -> AssociateAc:
    read = _decode_associate(body, ItemType.PRESENTATION_CONTEXT_AC)
    contexts = tuple(map(_decode_answer, read.contexts))
    return AssociateAc(read.titles, contexts, read.user, read.application_context)


def _context_items(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    if len(content) < 4 or content[0] % 2 == 0:  # noqa: PLR2004 - id, and three bytes reserved or result
        raise RemoteProtocolError("presentation context")
    return walk(content[4:], 1 + MAX_TRANSFER_SYNTAXES)


def _decode_proposed(content: memoryview) -> ProposedContext:
    abstract: str | None = None
    transfer: list[str] = []
    for kind, value in _context_items(content):
        if kind == ItemType.ABSTRACT_SYNTAX and abstract is None:
            abstract = decode_uid(value)
        elif kind == ItemType.TRANSFER_SYNTAX:
            transfer.append(decode_uid(value))
        else:
            raise RemoteProtocolError("unexpected item", AbortReason.UNRECOGNISED_PARAMETER)
    if abstract is None:
        raise RemoteProtocolError("no abstract syntax")
    return ProposedContext(content[0], abstract, tuple(transfer))


def _decode_answer(content: memoryview) -> ContextAnswer:
    transfer = ""
    for kind, value in _context_items(content):
        if kind == ItemType.TRANSFER_SYNTAX:
            transfer = decode_uid(value)
    return ContextAnswer(content[0], content[2], transfer)
