"""One association on asyncio: drives the machine, gathers data sets, has them stored or operated on, answers.

Everything that bytes cause happens at once in ``buffer_updated``; only storing and the operations of other services are
tasks. While a complete data set is being stored nothing more is read from the peer, so a fast sender cannot run ahead
of the disk; during an operation reading goes on, because its caller may cancel it.
"""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.dicom.received import ReceivedInstance, Status
from node.dicom.upper_layer.codes import Rejection
from node.dicom.upper_layer.command import CommandField, Request, Response, encode_response
from node.dicom.upper_layer.dialogue import Dialogue
from node.dicom.upper_layer.errors import RemoteProtocolError
from node.dicom.upper_layer.framing import Piece
from node.dicom.upper_layer.incoming import Incoming, begin
from node.dicom.upper_layer.intake import LOOK_BYTES, MIN_HEAD_BYTES, Buffer, Stream
from node.dicom.upper_layer.machine import Aborted, Acceptor, AssociateRequested, MachineEvent, ReleaseRequested
from node.dicom.upper_layer.messages import MessageReader, MessageReceived
from node.dicom.upper_layer.negotiation import AcceptedContext, negotiate
from node.dicom.upper_layer.operation import Caller, Operation
from node.dicom.upper_layer.pdu import APPLICATION_CONTEXT, AssociateRq
from node.dicom.upper_layer.service import Admission, Host, Outcome
from node.dicom.upper_layer.table import Indication, State
from node.dicom.upper_layer.watch import Watch

WRITE_BUFFER_BYTES = 64 * 1024  # answers that a peer has not read; beyond that it is not read from either

_ENDED_BY = {
    Indication.PEER_ABORT: "aborted by the peer",
    Indication.PROVIDER_ABORT: "protocol violation",
    Indication.CONNECTION_LOST: "connection lost",
}


class Association(asyncio.BufferedProtocol):
    """The protocol of one transport connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._machine = Acceptor(max_pdu=host.max_pdu)
        self._buffer = Buffer(host.budget)
        self._contexts: dict[int, AcceptedContext] = {}
        self._reader = MessageReader(self._contexts)
        self._incoming: Incoming | None = None
        self._transport: asyncio.Transport | None = None
        self._paused: set[str] = set()  # why nothing is read
        self._is_holding = False  # reading is paused, because bytes wait
        self._is_in_use = False  # somebody reads the buffer
        self._caller = Caller("", "")
        self._operation: Operation | None = None
        self._work: asyncio.Task[None] | None = None  # which answers it
        self._dialogue = Dialogue(self._machine, self._contexts, self._flow, self.end)
        self.address = ""
        self.received = self.moved = self.stored = self.stored_bytes = 0
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
        if self._paused:
            return self._paused == {"writing"}
        return self._operation is None or self._dialogue.is_asking

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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102 - asyncio's own word
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        if peer is None or not self._host.joined(self):  # gone already, or too many
            transport.abort()
            return
        self.address = str(peer[0])
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002, D102 - asyncio's own word
        return self._machine.space()

    def buffer_updated(self, nbytes: int) -> None:  # noqa: D102 - asyncio's own word
        self.received += nbytes
        self.moved += nbytes
        self._machine.filled(nbytes)
        self._go_on()

    def pause_writing(self) -> None:  # noqa: D102 - asyncio's own word
        self._dialogue.pause()
        self._pause("writing")

    def resume_writing(self) -> None:  # noqa: D102 - asyncio's own word
        self.moved += 1  # it reads
        self._dialogue.resume()
        self._resume("writing")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, D102 - asyncio's own word
        event = self._machine.transport_closed()
        if event is not None:
            self._handle(event)
        self.reason = self.reason or ("connection lost" if self.was_established else "no association")
        self._transport = None
        self._abandon()
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

    def _flow(self, data: bytes) -> bool:
        """Send what the machine says, then ``data``; False if the association has ended."""
        if not self.is_established or self._transport is None or self._transport.is_closing():
            return False
        self._send()
        if data:
            self._transport.write(data)
        return True

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
            why: Rejection | Admission = Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED
        elif not self._host.has_room():
            why = Rejection.LOCAL_LIMIT_EXCEEDED
        else:
            why = self._host.service.admit(request, self.address)
        if isinstance(why, Rejection):
            self.reason = why.name.lower().replace("_", " ")
            self._machine.reject(why)
            return
        own = (IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
        agreed = negotiate(request, max_pdu=self._host.max_pdu, implementation=own, admission=why)
        self._contexts.update(agreed.contexts)
        self._caller = Caller(request.titles.calling, self.address)
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
        message = part.message
        if isinstance(message, Response):
            self._dialogue.answered(message)
            self._incoming = Incoming.dropped(part.context_id) if message.has_dataset else None
            return
        if message.command == CommandField.C_CANCEL_RQ:
            self._cancel(message)
            return
        if self._operation is not None:
            raise RemoteProtocolError("request while another is answered")
        self._incoming = begin(part.context_id, message, self._contexts[part.context_id])
        if not message.has_dataset:
            self._complete(self._incoming)

    def _cancel(self, request: Request) -> None:
        if request.has_dataset:
            raise RemoteProtocolError("cancel with a data set")
        operation = self._operation
        if operation is not None and operation.request.message_id == request.message_id:
            operation.is_cancelled = True

    def _collect(self, piece: Piece) -> None:
        incoming = self._incoming
        assert incoming is not None
        incoming.size += len(piece.data)
        if incoming.outcome is not None:
            pass  # known already: what comes is dropped
        elif incoming.stream is not None:
            self._stream(incoming.stream, piece)
        elif incoming.size > (incoming.most or self._host.spool_from) or not self._buffer.add(piece.data):
            self._overflow(incoming, piece)
        elif incoming.size >= incoming.next_look and not incoming.most and not piece.is_last:
            self._look_ahead(incoming)
        if piece.is_last:
            self._complete(incoming)

    def _look_ahead(self, incoming: Incoming) -> None:
        """Let the time be used in which the rest arrives."""
        if incoming.arriving is None:
            incoming.arriving = self._host.service.begin(self._received(incoming))
            incoming.next_look = LOOK_BYTES if incoming.arriving is not None else self._host.spool_from
        if incoming.arriving is not None and incoming.size >= incoming.next_look:
            incoming.arriving.more(self._buffer.view())
            incoming.next_look += LOOK_BYTES

    def _overflow(self, incoming: Incoming, piece: Piece) -> None:
        """There is no more memory for this one: go on as a stream, or refuse it."""
        is_stored = incoming.most == 0
        if not (is_stored and self._host.service.streams) or self._buffer.size < min(
            MIN_HEAD_BYTES, self._host.spool_from
        ):
            incoming.outcome = Outcome(Status.OUT_OF_RESOURCES, "too large for this moment")
            self._buffer.clear()
            return
        incoming.arriving = None
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

    def _complete(self, incoming: Incoming) -> None:
        """The whole message is there: store it unless that is under way or decided."""
        incoming.is_complete = True
        self._paused.discard("stream")
        if incoming.outcome is not None:
            self._answer(incoming, incoming.outcome)
            return
        if incoming.most:
            self._start(incoming)
            return
        self._pause("storing")
        if incoming.stream is None:
            self._host.spawn(self._store(incoming, self._host.service.store(self._received(incoming))))

    def _start(self, incoming: Incoming) -> None:
        dataset = bytes(self._buffer.view())
        self._buffer.clear()
        self._incoming = None
        self._operation = Operation(self._dialogue, self._caller, incoming.context_id, incoming.request)
        self._work = self._host.spawn(self._operate(self._operation, dataset))

    async def _operate(self, operation: Operation, dataset: bytes) -> None:
        try:
            outcome = await self._host.service.operate(operation, dataset)
        except Exception as error:  # noqa: BLE001 - a defect costs this association, not the others
            self._host.failed(error)
            self.drop("internal error")
            return
        finally:
            self._operation = self._work = None
        if self.is_established:
            self._respond(operation.context_id, operation.request, outcome)
            self._go_on()

    def _received(self, incoming: Incoming) -> ReceivedInstance:
        request = incoming.request
        return ReceivedInstance(
            self._buffer.view(), self._contexts[incoming.context_id].transfer_syntax,
            request.sop_class_uid, request.sop_instance_uid, self._caller.ae_title, self.address, incoming.arriving,
        )  # fmt: skip

    async def _store(self, incoming: Incoming, work: Coroutine[Any, Any, Outcome]) -> None:
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

    def _answer(self, incoming: Incoming, outcome: Outcome) -> None:
        self._incoming = None
        if outcome.status == Status.SUCCESS and incoming.request.command == CommandField.C_STORE_RQ:
            self.stored += 1
            self.stored_bytes += incoming.size
        if self.is_established and not incoming.is_dropped:
            self._respond(incoming.context_id, incoming.request, outcome)

    def _respond(self, context_id: int, request: Request, outcome: Outcome) -> None:
        command = encode_response(
            request, outcome.status, outcome.comment, has_dataset=outcome.dataset is not None, counts=outcome.counts
        )
        self._machine.send_command(context_id, command)
        if outcome.dataset is not None:
            self._machine.send_data(context_id, outcome.dataset)

    def _abandon(self) -> None:
        """What has not arrived completely will not, and nobody waits for an answer any more."""
        if self._work is not None:
            self._work.cancel()
        self._dialogue.lose()
        incoming = self._incoming
        if incoming is None or incoming.is_complete:
            return
        if incoming.stream is not None:
            incoming.stream.fail()
        self._incoming = None
