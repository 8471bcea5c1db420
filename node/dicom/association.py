"""One association, from the accepted connection to its end: the acceptor's side of PS3.8 section 9.2 in one task.

Everything waits with a time limit. Bytes of a data set are collected as they are received, within one memory budget for
all associations; an instance that does not fit is read to its end, dropped, and answered A700.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from node.dicom import ul
from node.dicom.dimse import MAX_COMMAND_BYTES, Command, CommandField, decode_command, encode_response
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.dicom.received import ReceivedInstance, Status, StoreSink, status_of
from node.dicom.services import VERIFICATION, is_storage
from node.dicom.ul import ContextResult, Negotiated, PduType, Pdv, PresentationContext, ProtocolViolation, Rejection
from node.errors import LeveretError
from node.errors.identifiers import InvalidUid
from node.log import Logger
from node.model.ids import TransferSyntaxUID, Uid

MAX_PDU = 1 << 20  # offered to peers: fewer, larger PDUs are cheaper for both sides
_SLACK = 64 << 10  # some toolkits count headers that the maximum length does not
MAX_IN_FLIGHT = 2 << 30  # bytes of data sets being received, all associations together
REQUEST_SECONDS = 10.0  # from connecting to the end of the A-ASSOCIATE-RQ (the ARTIM timer)
_FAIR_BYTES = 1 << 20  # a sender on a fast line lets the other tasks of the loop run after this


class PeerGone(Exception):
    """The connection ended or stalled."""


class MemoryBudget:
    """How much of all data sets in flight may be in memory."""

    def __init__(self, limit: int = MAX_IN_FLIGHT) -> None:
        self._left = limit

    def take(self, amount: int) -> bool:
        """Whether ``amount`` bytes more may be kept; if so they are taken."""
        if amount > self._left:
            return False
        self._left -= amount
        return True

    def give_back(self, amount: int) -> None:
        """What was taken is free again."""
        self._left += amount


class PduReader:
    """PDUs off a non-blocking socket, in one buffer: a PDU's body is valid until the next one is read."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._view = memoryview(bytearray(ul.HEADER_BYTES + MAX_PDU + _SLACK))
        self._start = self._end = 0
        self._since_yield = 0

    async def next(self, idle_seconds: float, pdu_seconds: float) -> tuple[int, memoryview]:
        """The next PDU's type and body.

        Args:
            idle_seconds: how long to wait for its first byte.
            pdu_seconds: how long to wait from then to its last one.

        Raises:
            PeerGone: the connection ended, or a wait did.
            ProtocolViolation: it is longer than allowed.
        """
        try:
            if self._start == self._end:
                await self._receive(idle_seconds)
            async with asyncio.timeout(pdu_seconds):
                await self._have(ul.HEADER_BYTES)
                kind = self._view[self._start]
                length = int.from_bytes(self._view[self._start + 2 : self._start + ul.HEADER_BYTES], "big")
                if length > (ul.MAX_ASSOCIATE_BYTES if kind == PduType.ASSOCIATE_RQ else MAX_PDU + _SLACK):
                    raise ProtocolViolation("PDU length")
                await self._have(ul.HEADER_BYTES + length)
        except (TimeoutError, OSError) as exc:
            raise PeerGone from exc
        body = self._view[self._start + ul.HEADER_BYTES : self._start + ul.HEADER_BYTES + length]
        self._start += ul.HEADER_BYTES + length
        return kind, body

    async def _have(self, count: int) -> None:
        while self._end - self._start < count:
            await self._receive(None)

    async def _receive(self, seconds: float | None) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start and len(self._view) - self._end < _SLACK:
            waiting = bytes(self._view[self._start : self._end])
            self._view[: len(waiting)] = waiting
            self._start, self._end = 0, len(waiting)
        room = self._view[self._end :]
        try:
            count = self._socket.recv_into(room)
        except (BlockingIOError, InterruptedError):
            async with asyncio.timeout(seconds):
                count = await self._loop.sock_recv_into(self._socket, room)
            self._since_yield = 0
        if not count:
            raise PeerGone
        self._end += count
        self._since_yield += count
        if self._since_yield > _FAIR_BYTES:
            self._since_yield = 0
            await asyncio.sleep(0)


@dataclass(slots=True)
class _Message:
    """A DIMSE message that is being received."""

    context_id: int
    command: bytearray
    request: Command | None = None
    dataset: bytearray | None = None  # None: there is none, or there was no room for it


class Association:
    """One peer's association. ``admit`` decides about the request; ``run`` returns when it is over."""

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        sink: StoreSink,
        budget: MemoryBudget,
        *,
        admit: Callable[[str], Rejection | None],
        network_timeout: float,
        log: Logger,
    ) -> None:
        self._socket = sock
        self._address = address
        self._sink = sink
        self._budget = budget
        self._admit = admit
        self._timeout = network_timeout
        self._log = log
        self._reader = PduReader(sock)
        self._calling_ae = ""
        self._max_length = 0
        self._syntaxes: dict[int, TransferSyntaxUID] = {}
        self._taken = 0
        self._stored = self._bytes = 0
        self.is_storing = False
        self.closing = False  # set by the listener: end after the present instance

    async def run(self) -> None:
        """Serve until the peer releases or aborts, breaks the protocol, or stalls; never raises but when cancelled."""
        started = time.monotonic()
        reason = "aborted"
        try:
            if await self._establish():
                reason = await self._serve()
        except PeerGone:
            reason = "connection ended"
        except ProtocolViolation:
            reason = "protocol violation"
        finally:
            self._budget.give_back(self._taken)
            if reason in {"aborted", "protocol violation"}:
                with contextlib.suppress(OSError):
                    self._socket.send(ul.encode_abort())
            self._socket.close()
        seconds = round(time.monotonic() - started, 3)
        self._log.info(
            "association ended",
            component="dicom", reason=reason, count=self._stored, bytes=self._bytes, seconds=seconds,
        )  # fmt: skip

    async def _establish(self) -> bool:
        kind, body = await self._reader.next(REQUEST_SECONDS, REQUEST_SECONDS)
        if kind != PduType.ASSOCIATE_RQ:
            raise ProtocolViolation("no association")
        request = ul.decode_associate_rq(body)
        why = self._admit(request.calling_ae) if request.has_dicom_context else Rejection.APPLICATION_CONTEXT
        if why is not None:
            await self._send(ul.encode_associate_rj(why))
            self._log.warning("association rejected", component="dicom", reason=why.name.lower())
            await self._reader.next(REQUEST_SECONDS, REQUEST_SECONDS)  # the peer closes (PS3.8 section 9.2, Sta13)
            return False
        results = [_negotiate(context) for context in request.contexts]
        self._syntaxes = {
            result.context_id: TransferSyntaxUID(result.transfer_syntax)
            for result in results
            if result.result is ContextResult.ACCEPTED
        }
        self._calling_ae, self._max_length = request.calling_ae, request.max_length
        own = (IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
        await self._send(ul.encode_associate_ac(request, results, MAX_PDU, own))
        return True

    async def _serve(self) -> str:
        message: _Message | None = None
        while not self.closing:
            kind, body = await self._reader.next(self._timeout, self._timeout)
            if kind == PduType.P_DATA_TF:
                for pdv in ul.decode_pdvs(body):
                    message = await self._take(message, pdv)
            elif kind == PduType.RELEASE_RQ:
                await self._send(ul.encode_release_rp())
                return "released"
            elif kind == PduType.ABORT:
                return "aborted by the peer"
            else:
                raise ProtocolViolation("unexpected PDU")
        return "aborted"

    async def _take(self, message: _Message | None, pdv: Pdv) -> _Message | None:
        """Add a fragment; returns the message while it is incomplete."""
        if message is None:
            message = _Message(pdv.context_id, bytearray())
        if pdv.context_id != message.context_id or pdv.context_id not in self._syntaxes:
            raise ProtocolViolation("presentation context")
        if pdv.is_command is not (message.request is None):
            raise ProtocolViolation("fragments out of order")
        if message.request is None:
            message.command += pdv.fragment
            if len(message.command) > MAX_COMMAND_BYTES:
                raise ProtocolViolation("command length")
            if not pdv.is_last:
                return message
            message.request = decode_command(bytes(message.command))
            if message.request.has_dataset:
                message.dataset = bytearray()
                return message
        else:
            self._collect(message, pdv.fragment)
            if not pdv.is_last:
                return message
        await self._answer(message, message.request)
        return None

    def _collect(self, message: _Message, fragment: memoryview) -> None:
        if message.dataset is None:
            return
        if self._budget.take(len(fragment)):
            self._taken += len(fragment)
            message.dataset += fragment
        else:
            message.dataset = None
            self._free()

    def _free(self) -> None:
        self._budget.give_back(self._taken)
        self._taken = 0

    async def _answer(self, message: _Message, request: Command) -> None:
        status, comment = Status.UNRECOGNIZED_OPERATION, ""
        if request.field == CommandField.C_CANCEL_RQ:
            return  # nothing that could be cancelled is ever under way
        if request.field == CommandField.C_ECHO_RQ:
            status = Status.SUCCESS
        elif request.field == CommandField.C_STORE_RQ:
            status, comment = await self._store(message, request)
            self._free()
        await self._send(
            ul.encode_command(message.context_id, encode_response(request, status, comment), self._max_length)
        )

    async def _store(self, message: _Message, request: Command) -> tuple[Status, str]:
        if not request.has_dataset:
            return Status.CANNOT_UNDERSTAND, "no data set"
        if message.dataset is None:
            return Status.OUT_OF_RESOURCES, "too large for this moment"
        size = len(message.dataset)
        received = ReceivedInstance(
            memoryview(message.dataset).toreadonly(), self._syntaxes[message.context_id],
            request.sop_class_uid, request.sop_instance_uid, self._calling_ae, self._address,
        )  # fmt: skip
        self.is_storing = True
        try:
            await self._sink.store(received)
        except LeveretError as error:
            self._log.warning("instance refused", component="dicom", code=error.code)
            return status_of(error), error.code
        except Exception as error:  # noqa: BLE001  # a bug costs this instance, not the association
            self._log.error("instance failed", component="dicom", error=type(error).__name__)
            return Status.PROCESSING_FAILURE, LeveretError.code
        finally:
            self.is_storing = False
        self._stored += 1
        self._bytes += size
        return Status.SUCCESS, ""

    async def _send(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except (TimeoutError, OSError) as exc:
            raise PeerGone from exc


def _negotiate(context: PresentationContext) -> Negotiated:
    """Any storage class; of the proposed transfer syntaxes the first: the peer's own order, so it need not convert."""
    first = context.transfer_syntaxes[0] if context.transfer_syntaxes else ""
    if not _is_uid(first):
        return Negotiated(context.context_id, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, "")
    served = context.abstract_syntax == VERIFICATION or is_storage(context.abstract_syntax)
    if not served or not _is_uid(context.abstract_syntax):
        return Negotiated(context.context_id, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, first)
    return Negotiated(context.context_id, ContextResult.ACCEPTED, first)


def _is_uid(text: str) -> bool:
    try:
        Uid.parse(text)
    except InvalidUid:
        return False
    return True
