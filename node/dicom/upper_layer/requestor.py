"""Calling another DICOM system: an association that this node asks for, on asyncio.

One request at a time. Data sets are sent as they come, piece by piece, at the pace at which the other side takes them.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.dicom.services import VERIFICATION
from node.dicom.upper_layer.codes import ContextResult
from node.dicom.upper_layer.command import CommandField, MoveOriginator, Request, Response, encode_request
from node.dicom.upper_layer.errors import RemoteProtocolError
from node.dicom.upper_layer.framing import Piece
from node.dicom.upper_layer.items import RoleSelection, UserInformation
from node.dicom.upper_layer.limits import DEFAULT_MAX_PDU
from node.dicom.upper_layer.machine import (
    Aborted,
    AssociateAccepted,
    AssociateRejected,
    MachineEvent,
    Released,
    ReleaseRequested,
    Requestor,
)
from node.dicom.upper_layer.messages import MessageReader
from node.dicom.upper_layer.pdu import AssociateAc, AssociateRj, AssociateRq, ProposedContext, Titles
from node.dicom.upper_layer.reasons import explain_rejection
from node.dicom.upper_layer.table import State
from node.errors import LeveretError
from node.errors.dimse import (
    AssociationBusy,
    AssociationLost,
    AssociationRejected,
    DicomTlsFailed,
    DicomUnreachable,
    NotAccepted,
)

Buffer = bytes | bytearray | memoryview

WRITE_BUFFER_BYTES = 1024 * 1024  # waiting for the other side to read; beyond that the sender waits
FRAGMENT_BYTES = 128 * 1024  # of a data set to a system that takes any: what dcmtk sends at most
_REJECTED_TRANSIENT = 2  # Result of an A-ASSOCIATE-RJ (PS3.8 table 9-21)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait, in seconds."""

    connect: float = 10.0  # for the transport connection, with TLS if asked for
    associate: float = 30.0  # for the answer to the A-ASSOCIATE-RQ
    response: float = 120.0  # for the answer to a request: storing may take its time
    stall: float = 60.0  # without one byte being taken
    release: float = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other system answered; ``comment`` is its own word and may say anything: not for logs."""

    status: int
    comment: str = ""


class Association:
    """An async context manager: associated while its block runs, released at its end, aborted if that raises.

    Args:
        host: name or IP address of the other system.
        port: its port.
        calling: this node's AE title.
        called: the other's.
        contexts: what to propose, at most 128, ids odd and unlike.
        roles: the role selections to propose (PS3.7 section D.3.3.4).
        tls: a context for a TLS connection; None for none.
        limits: how long to wait.

    Raises, on entering:
        DicomUnreachable, DicomTlsFailed: no connection.
        AssociationRejected, AssociationBusy: refused for good, or for now; the fact says why.
        AssociationLost: ended before it began.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        calling: str,
        called: str,
        contexts: Sequence[ProposedContext],
        roles: Sequence[RoleSelection] = (),
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._limits = limits or Limits()
        user = UserInformation(
            DEFAULT_MAX_PDU, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, roles=tuple(roles)
        )
        self._request = AssociateRq(Titles.of(called, calling), tuple(contexts), user)
        self._wire = _Wire()
        self._message_id = 0
        self._accepted: dict[int, tuple[str, str]] = {}
        self._answer: AssociateAc | None = None

    @property
    def accepted(self) -> Mapping[int, tuple[str, str]]:
        """The accepted presentation contexts: id to abstract and transfer syntax."""
        return self._accepted

    @property
    def answer(self) -> AssociateAc:
        """The A-ASSOCIATE-AC."""
        assert self._answer is not None, "not associated"
        return self._answer

    def context_of(self, abstract_syntax: str) -> int:
        """The first accepted context of an abstract syntax; raises NotAccepted."""
        for context_id, (abstract, _) in self._accepted.items():
            if abstract == abstract_syntax:
                return context_id
        raise NotAccepted

    async def __aenter__(self) -> Self:
        """Connect and associate."""
        await self._connect()
        try:
            answer = await self._wire.associate(self._request, self._limits.associate)
            if isinstance(answer, AssociateRj):
                kind = AssociationBusy if answer.result == _REJECTED_TRANSIENT else AssociationRejected
                raise kind(explain_rejection(answer))
        except BaseException:
            self._wire.abort()
            raise
        self._answer = answer
        proposed = {context.context_id: context.abstract_syntax for context in self._request.contexts}
        self._accepted.update(
            (one.context_id, (proposed[one.context_id], one.transfer_syntax))
            for one in answer.contexts
            if one.result == ContextResult.ACCEPTANCE and one.context_id in proposed
        )
        self._wire.reader = MessageReader(self._accepted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release, or abort if the block raised."""
        if error is not None:
            self._wire.abort()
        else:
            await self._wire.release(self._limits.release)

    async def echo(self) -> Reply:
        """C-ECHO; raises NotAccepted, AssociationLost."""
        return await self._ask(self.context_of(VERIFICATION), CommandField.C_ECHO_RQ, VERIFICATION)

    async def store(
        self,
        context_id: int,
        pieces: AsyncIterable[Buffer],
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        originator: MoveOriginator | None = None,
    ) -> Reply:
        """C-STORE of the data set that ``pieces`` are, in the transfer syntax of the context.

        A piece is read after the next one has been taken: its memory must not be used again.

        Raises:
            AssociationLost: no answer came; whether it was stored is not known.
            whatever ``pieces`` raises: the association is aborted, because the data set has begun and cannot end.
        """
        request = self._new(
            CommandField.C_STORE_RQ, sop_class_uid, sop_instance_uid, has_dataset=True, originator=originator
        )
        return await self._exchange(context_id, request, pieces)

    async def n_event_report(
        self, context_id: int, *, sop_class_uid: str, sop_instance_uid: str, event_type: int, dataset: bytes
    ) -> Reply:
        """N-EVENT-REPORT; raises AssociationLost."""
        field = CommandField.N_EVENT_REPORT_RQ
        return await self._ask(context_id, field, sop_class_uid, sop_instance_uid, type_id=event_type, dataset=dataset)

    async def n_action(
        self, context_id: int, *, sop_class_uid: str, sop_instance_uid: str, action_type: int, dataset: bytes
    ) -> Reply:
        """N-ACTION; raises AssociationLost."""
        field = CommandField.N_ACTION_RQ
        return await self._ask(context_id, field, sop_class_uid, sop_instance_uid, type_id=action_type, dataset=dataset)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        where = f"{self._host}:{self._port}"
        name = self._host if self._tls else None
        try:
            async with asyncio.timeout(self._limits.connect):
                await loop.create_connection(
                    lambda: self._wire, self._host, self._port, ssl=self._tls, server_hostname=name
                )
        except ssl.SSLError as exc:
            raise DicomTlsFailed(where) from exc
        except (OSError, UnicodeError) as exc:  # TimeoutError is one; a host name may be no name at all
            raise DicomUnreachable(where) from exc

    def _new(
        self,
        command: CommandField,
        sop_class: str,
        sop_instance: str = "",
        *,
        has_dataset: bool = False,
        type_id: int = 0,
        originator: MoveOriginator | None = None,
    ) -> Request:
        self._message_id = self._message_id % 0xFFFF + 1
        return Request(
            command, self._message_id, has_dataset, sop_class, sop_instance, type_id=type_id, originator=originator
        )

    async def _ask(
        self,
        context_id: int,
        command: CommandField,
        sop_class: str,
        sop_instance: str = "",
        *,
        type_id: int = 0,
        dataset: bytes | None = None,
    ) -> Reply:
        request = self._new(command, sop_class, sop_instance, has_dataset=dataset is not None, type_id=type_id)
        return await self._exchange(context_id, request, None if dataset is None else _once(dataset))

    async def _exchange(self, context_id: int, request: Request, dataset: AsyncIterable[Buffer] | None) -> Reply:
        """Send a request and wait for its response; whatever interrupts that costs the association."""
        try:
            reply = self._wire.begin(context_id, request)
            if dataset is not None:
                await self._wire.send(context_id, dataset, self._limits.stall)
            async with asyncio.timeout(self._limits.response):
                response = await reply
        except TimeoutError as exc:
            self._wire.abort()
            raise AssociationLost("no answer in time") from exc
        except BaseException:
            self._wire.abort()
            raise
        return Reply(response.status, response.comment)


async def _once(dataset: bytes) -> AsyncIterable[bytes]:
    yield dataset


class _Wire(asyncio.BufferedProtocol):
    """One machine over one transport, and who waits for what."""

    def __init__(self) -> None:
        self._machine = Requestor()
        self._transport: asyncio.Transport | None = None
        self._lost: LeveretError | None = None
        self._associated: asyncio.Future[AssociateAc | AssociateRj] | None = None
        self._reply: asyncio.Future[Response] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._released: asyncio.Future[None] | None = None
        self._closed = asyncio.Event()
        self._asked: Request | None = None
        self.reader = MessageReader(())

    # What the association does

    async def associate(self, request: AssociateRq, seconds: float) -> AssociateAc | AssociateRj:
        """Propose it and wait for the answer."""
        self._check()
        self._associated = asyncio.get_running_loop().create_future()
        self._machine.connected(request)
        self._flush()
        try:
            async with asyncio.timeout(seconds):
                return await self._associated
        except TimeoutError as exc:
            raise AssociationLost("no answer to the association request") from exc

    def begin(self, context_id: int, request: Request) -> "asyncio.Future[Response]":
        """Send a command set; what is returned gets the response."""
        self._check()
        assert self._asked is None, "one request at a time"
        self._asked = request
        self._reply = asyncio.get_running_loop().create_future()
        self._machine.send_command(context_id, encode_request(request))
        self._flush()
        return self._reply

    async def send(self, context_id: int, pieces: AsyncIterable[Buffer], stall: float) -> None:
        """Send a data set behind its command set."""
        room = self._machine.fragment_room or FRAGMENT_BYTES
        waiting: Buffer = b""  # kept back, because the last fragment must say that it is the last
        async for piece in pieces:
            if not len(piece):
                continue
            joined = bytes(waiting) + bytes(piece) if len(waiting) % 2 else None
            if joined is not None:  # fragments have even lengths, whatever the pieces have
                waiting = joined
                continue
            await self._write(context_id, waiting, room, stall, is_last=False)
            waiting = piece
        await self._write(context_id, waiting, room, stall, is_last=True)

    async def release(self, seconds: float) -> None:
        """Ask for the release and wait for it; then close, however that went."""
        if self._transport is None or self._machine.state is not State.ESTABLISHED:
            self.abort()
            return
        self._released = asyncio.get_running_loop().create_future()
        self._machine.ask_release()
        self._flush()
        try:
            async with asyncio.timeout(seconds):
                await self._released
                await self._closed.wait()
        except (TimeoutError, LeveretError):
            pass  # everything was answered before; how it ends changes nothing
        finally:
            self.abort()

    def abort(self) -> None:
        """End it at once, unless it has ended."""
        if self._transport is None:
            return
        if self._machine.state not in (State.IDLE, State.CLOSING):
            self._machine.abort()
            self._flush()
        self._transport.close()
        self._lose("aborted")

    async def _write(self, context_id: int, data: Buffer, room: int, stall: float, *, is_last: bool) -> None:
        if not len(data) and not is_last:
            return
        self._check()
        assert self._transport is not None
        view = memoryview(data)
        out: list[Buffer] = []
        for at in range(0, max(len(view), 1), room):
            fragment = view[at : at + room]
            ends = is_last and at + room >= len(view)
            out += (self._machine.dataset_pdu(context_id, len(fragment), is_last=ends), fragment)
        self._transport.write(b"".join(out))
        if self._writable is not None:
            async with asyncio.timeout(stall):
                await self._writable

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's own word
        return self._machine.space()

    def buffer_updated(self, nbytes: int) -> None:
        self._machine.filled(nbytes)
        while (event := self._machine.next_event()) is not None:
            self._handle(event)
        self._flush()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._machine.transport_closed()
        self._transport = None
        self._lose("refused the TLS connection" if isinstance(exc, ssl.SSLError) else "connection lost")
        self._closed.set()

    # What the peer says

    def _handle(self, event: MachineEvent) -> None:
        match event:
            case Piece():
                try:
                    self._take(event)
                except RemoteProtocolError as error:
                    self._machine.abort()
                    self._lose(error.what)
            case AssociateAccepted(answer) | AssociateRejected(answer):
                if self._associated is not None and not self._associated.done():
                    self._associated.set_result(answer)
            case ReleaseRequested():
                self._machine.release()
                if self._machine.state is not State.COLLIDED_ANSWERED:
                    self._lose("released by the other system")
            case Released():
                if self._released is not None and not self._released.done():
                    self._released.set_result(None)
            case Aborted(_, reason):
                self._lose(reason or "aborted by the other system")

    def _take(self, piece: Piece) -> None:
        part = self.reader.take(piece)
        if part is None or isinstance(part, Piece):  # data sets of responses say nothing that is needed here
            return
        response, asked = part.message, self._asked
        if not isinstance(response, Response):
            raise RemoteProtocolError("request by the acceptor")
        if asked is None or (response.command, response.message_id) != (asked.command, asked.message_id):
            raise RemoteProtocolError("response without request")
        self._asked = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(response)

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self._transport is None or self._transport.is_closing():
            raise AssociationLost

    def _flush(self) -> None:
        if self._transport is None:
            return
        data = self._machine.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)
        if self._machine.wants_close:
            self._transport.close()

    def _lose(self, reason: str) -> None:
        """Whoever waits is told that nothing will come."""
        self._lost = self._lost or AssociationLost(reason)
        for future in (self._associated, self._reply, self._writable, self._released):
            if future is not None and not future.done():
                future.set_exception(AssociationLost(reason))
                future.exception()  # whoever waits gets it; if nobody does, that is no news
