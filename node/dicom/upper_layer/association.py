"""One association on asyncio: drives the machine, gathers data sets, has them stored, answers.

Everything that bytes cause happens at once in ``buffer_updated``; only storing is a task. While a complete data set is
being stored nothing more is read from the peer, so a fast sender cannot run ahead of the disk.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.dicom.received import ReceivedInstance, Status
from node.dicom.upper_layer.codes import Rejection
from node.dicom.upper_layer.command import CommandField, Request, Response, encode_response
from node.dicom.upper_layer.errors import RemoteProtocolError
from node.dicom.upper_layer.framing import Piece
from node.dicom.upper_layer.intake import MIN_HEAD_BYTES, Budget, Buffer, Stream
from node.dicom.upper_layer.machine import Aborted, Acceptor, AssociateRequested, MachineEvent, ReleaseRequested
from node.dicom.upper_layer.messages import MessageReader, MessageReceived
from node.dicom.upper_layer.negotiation import AcceptedContext, negotiate
from node.dicom.upper_layer.pdu import APPLICATION_CONTEXT, AssociateRq
from node.dicom.upper_layer.table import Indication, State
from node.dicom.upper_layer.watch import Timing, Watch

WRITE_BUFFER_BYTES = 64 * 1024  # answers that a peer has not read; beyond that it is not read from either

_ENDED_BY = {
    Indication.PEER_ABORT: "aborted by the peer",
    Indication.PROVIDER_ABORT: "protocol violation",
    Indication.CONNECTION_LOST: "connection lost",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request is answered; ``comment`` is a stable word."""

    status: int
    comment: str = ""


class Service(Protocol):
    """What an association serves."""

    def admit(self, request: AssociateRq, address: str) -> Rejection | None:
        """Whether the caller may associate, and why not."""

    async def store(self, received: ReceivedInstance) -> Outcome:
        """Keep an instance; its memory is used again when this returns. Never raises."""

    async def store_stream(self, received: ReceivedInstance, rest: AsyncIterator[bytes]) -> Outcome:
        """Keep an instance that begins with ``received.dataset``, likewise."""

    @property
    def streams(self) -> bool:
        """Whether ``store_stream`` may be called."""


class Host(Protocol):
    """What an association needs of its listener."""

    service: Service
    budget: Budget
    timing: Timing
    spool_from: int
    max_pdu: int

    def joined(self, association: "Association") -> bool:
        """A connection is there; whether it may stay."""

    def left(self, association: "Association") -> None:
        """It is gone."""

    def has_room(self) -> bool:
        """Whether one more association may be established."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task of the listener's."""

    def failed(self, error: Exception) -> None:
        """A defect of this node ends one association."""


class _Incoming:
    """A C-STORE request whose data set is arriving."""

    def __init__(self, context_id: int, request: Request) -> None:
        self.context_id = context_id
        self.request = request
        self.size = 0
        self.is_complete = False
        self.stream: Stream | None = None
        self.outcome: Outcome | None = None  # known before the end: the rest is dropped


class Association(asyncio.BufferedProtocol):
    """The protocol of one transport connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._machine = Acceptor(max_pdu=host.max_pdu)
        self._buffer = Buffer(host.budget)
        self._contexts: dict[int, AcceptedContext] = {}
        self._reader = MessageReader(self._contexts)
        self._incoming: _Incoming | None = None
        self._transport: asyncio.Transport | None = None
        self._paused: set[str] = set()  # why nothing is read
        self._is_holding = False  # reading is paused, because bytes wait
        self._is_in_use = False  # somebody reads the buffer
        self._calling_ae = ""
        self.address = ""
        self.received = self.stored = self.stored_bytes = 0
        self.was_established = False
        self.reason = ""  # why it ended
        self.watch = Watch(host.timing)

    # What the listener asks

    @property
    def is_established(self) -> bool:
        """Whether it counts as an association."""
        return self._machine.state in (State.ESTABLISHED, State.AWAITING_RELEASE)

    @property
    def is_storing(self) -> bool:
        """Whether an instance is complete and being stored."""
        return self._incoming is not None and self._incoming.is_complete

    @property
    def timer(self) -> int:
        """The machine's ARTIM timer."""
        return self._machine.timer

    @property
    def is_waiting(self) -> bool:
        """Whether the next step is the peer's."""
        return self._paused <= {"writing"}

    @property
    def in_message(self) -> bool:
        """Whether something has begun and is not complete."""
        return self._reader.in_message or self._machine.in_pdu

    def end(self, reason: str) -> None:
        """Abort whatever there is."""
        self.reason = self.reason or reason
        if self._transport is None:
            return
        if self._machine.state in (State.ESTABLISHED, State.AWAITING_RELEASE, State.AWAITING_ANSWER):
            self._machine.abort()
            self._send()
        self._transport.close()

    def drop(self, reason: str) -> None:
        """Cut the connection without a word."""
        self.reason = self.reason or reason
        if self._transport is not None:
            self._transport.abort()

    def timer_expired(self) -> None:
        """The ARTIM timer ran out."""
        self.reason = self.reason or "timer expired"
        self._machine.timer_expired()
        self.drop(self.reason)

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        if peer is None or not self._host.joined(self):  # gone already, or too many
            transport.abort()
            return
        self.address = str(peer[0])
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002, D102
        return self._machine.space()

    def buffer_updated(self, nbytes: int) -> None:  # noqa: D102
        self.received += nbytes
        self._machine.filled(nbytes)
        self._go_on()

    def pause_writing(self) -> None:  # noqa: D102
        self._pause("writing")

    def resume_writing(self) -> None:  # noqa: D102
        self._resume("writing")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, D102
        event = self._machine.transport_closed()
        if event is not None:
            self._handle(event)
        self.reason = self.reason or ("connection lost" if self.was_established else "no association")
        self._abandon()
        self._transport = None
        if not self._is_in_use:
            self._buffer.free()
        self._host.left(self)

    # Bytes and events

    def _go_on(self) -> None:
        """Do whatever the received bytes say, as far as nothing is waited for; then read on, or do not."""
        try:
            while not self._paused:
                event = self._machine.next_event()
                if event is None:
                    break
                self._handle(event)
                self._send()  # each answer at once, so that one who does not read them is noticed
            self._send()  # what the machine says without an event, and after a pause
        except Exception as error:  # noqa: BLE001 - a defect costs this association, not the others
            self._host.failed(error)
            self.drop("internal error")
            return
        self._hold(bool(self._paused) and self._machine.in_pdu)

    def _hold(self, hold: bool) -> None:  # noqa: FBT001 - the one thing it is about
        """Stop reading while bytes wait that may not be looked at yet.

        Not before some do: most peers send nothing while they wait for an answer, and then their end is noticed.
        """
        if hold is self._is_holding or self._transport is None or self._transport.is_closing():
            return
        self._is_holding = hold
        if hold:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _pause(self, why: str) -> None:
        self._paused.add(why)

    def _resume(self, why: str) -> None:
        self._paused.discard(why)
        self._go_on()

    def _send(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        data = self._machine.data_to_send()
        if data:
            self._transport.write(data)
        if self._machine.wants_close:
            self._transport.abort()  # the peer has aborted: what it has not read it never will

    def _handle(self, event: MachineEvent) -> None:
        match event:
            case Piece():
                try:
                    self._take(event)
                except RemoteProtocolError as error:
                    self.reason = error.what
                    self._machine.abort()
                    self._abandon()
            case AssociateRequested(request):
                self._decide(request)
            case ReleaseRequested():
                self.reason = "released"
                self._machine.release()
                self._abandon()
            case Aborted(by, violation):
                self.reason = self.reason or violation or _ENDED_BY[by]
                self._abandon()

    def _decide(self, request: AssociateRq) -> None:
        if request.application_context != APPLICATION_CONTEXT:
            why: Rejection | None = Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED
        elif not self._host.has_room():
            why = Rejection.LOCAL_LIMIT_EXCEEDED
        else:
            why = self._host.service.admit(request, self.address)
        if why is not None:
            self.reason = why.name.lower().replace("_", " ")
            self._machine.reject(why)
            return
        own = (IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
        agreed = negotiate(request, max_pdu=self._host.max_pdu, implementation=own)
        self._contexts.update(agreed.contexts)
        self._calling_ae = request.titles.calling
        self.was_established = True
        self._machine.accept(agreed.answer)

    # Messages

    def _take(self, piece: Piece) -> None:
        part = self._reader.take(piece)
        if isinstance(part, MessageReceived):
            self._begin(part)
        elif part is not None:
            self._collect(part)

    def _begin(self, part: MessageReceived) -> None:
        request = part.message
        if isinstance(request, Response):
            raise RemoteProtocolError("response without request")
        self._incoming = _Incoming(part.context_id, request)
        if request.command == CommandField.C_ECHO_RQ:
            self._incoming.outcome = Outcome(Status.SUCCESS)
        elif request.command != CommandField.C_STORE_RQ:
            self._incoming.outcome = Outcome(Status.UNRECOGNIZED_OPERATION)
        elif not request.has_dataset:
            self._incoming.outcome = Outcome(Status.CANNOT_UNDERSTAND, "no data set")
        if not request.has_dataset:
            self._complete(self._incoming)

    def _collect(self, piece: Piece) -> None:
        incoming = self._incoming
        assert incoming is not None
        incoming.size += len(piece.data)
        if incoming.outcome is not None:
            pass  # known already: what comes is dropped
        elif incoming.stream is not None:
            self._stream(incoming.stream, piece)
        elif incoming.size > self._host.spool_from or not self._buffer.add(piece.data):
            self._overflow(incoming, piece)
        if piece.is_last:
            self._complete(incoming)

    def _overflow(self, incoming: _Incoming, piece: Piece) -> None:
        """There is no more memory for this one: go on as a stream, or refuse it."""
        if not self._host.service.streams or self._buffer.size < min(MIN_HEAD_BYTES, self._host.spool_from):
            incoming.outcome = Outcome(Status.OUT_OF_RESOURCES, "too large for this moment")
            self._buffer.clear()
            return
        incoming.stream = Stream(lambda: self._resume("stream"))
        self._stream(incoming.stream, piece)
        received = self._received(incoming)
        self._host.spawn(self._store(incoming, self._host.service.store_stream(received, incoming.stream)))

    def _stream(self, stream: Stream, piece: Piece) -> None:
        if piece.data:
            stream.add(bytes(piece.data))
        if piece.is_last:
            stream.end()
        elif stream.is_full:
            self._pause("stream")

    def _complete(self, incoming: _Incoming) -> None:
        """The whole message is there: store it unless that is under way or decided."""
        incoming.is_complete = True
        self._paused.discard("stream")
        if incoming.outcome is not None:
            self._answer(incoming, incoming.outcome)
            return
        self._pause("storing")
        if incoming.stream is None:
            self._host.spawn(self._store(incoming, self._host.service.store(self._received(incoming))))

    def _received(self, incoming: _Incoming) -> ReceivedInstance:
        request = incoming.request
        return ReceivedInstance(
            self._buffer.view(), self._contexts[incoming.context_id].transfer_syntax,
            request.sop_class_uid, request.sop_instance_uid, self._calling_ae, self.address,
        )  # fmt: skip

    async def _store(self, incoming: _Incoming, work: Coroutine[Any, Any, Outcome]) -> None:
        self._is_in_use = True
        try:
            incoming.outcome = await work
        finally:
            self._is_in_use = False
            self._buffer.clear()
            if self._transport is None:
                self._buffer.free()
        if incoming is not self._incoming:  # the association ended before the data set did
            return
        if incoming.is_complete:
            self._answer(incoming, incoming.outcome)
        self._paused -= {"storing", "stream"}
        self._go_on()

    def _answer(self, incoming: _Incoming, outcome: Outcome) -> None:
        self._incoming = None
        if outcome.status == Status.SUCCESS and incoming.request.command == CommandField.C_STORE_RQ:
            self.stored += 1
            self.stored_bytes += incoming.size
        if self.is_established and incoming.request.command != CommandField.C_CANCEL_RQ:  # that has no response
            response = encode_response(incoming.request, outcome.status, outcome.comment)
            self._machine.send_command(incoming.context_id, response)

    def _abandon(self) -> None:
        """What has not arrived completely will not."""
        incoming = self._incoming
        if incoming is None or incoming.is_complete:
            return
        if incoming.stream is not None:
            incoming.stream.fail()
        self._incoming = None
