"""The requestor's machine over one transport, and who waits for what."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable

from node.dicom.upper_layer.command import Request, Response, encode_request
from node.dicom.upper_layer.errors import RemoteProtocolError
from node.dicom.upper_layer.framing import Piece
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
from node.dicom.upper_layer.outgoing import Buffer, send_dataset
from node.dicom.upper_layer.pdu import AssociateAc, AssociateRj, AssociateRq
from node.dicom.upper_layer.table import State
from node.errors import LeveretError
from node.errors.dimse import AssociationLost

WRITE_BUFFER_BYTES = 1024 * 1024  # waiting for the other side to read; beyond that the sender waits


class Wire(asyncio.BufferedProtocol):
    """The protocol of one transport connection that this node asked for."""

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
        transport = self._transport
        assert transport is not None

        def write(data: bytes) -> None:
            self._check()
            transport.write(data)

        async def drain() -> None:
            if self._writable is not None:
                async with asyncio.timeout(stall):
                    await self._writable

        self._check()
        await send_dataset(self._machine, context_id, pieces, write=write, drain=drain)

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

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102 - asyncio's own word
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002, D102 - asyncio's own word
        return self._machine.space()

    def buffer_updated(self, nbytes: int) -> None:  # noqa: D102 - asyncio's own word
        self._machine.filled(nbytes)
        while (event := self._machine.next_event()) is not None:
            self._handle(event)
        self._flush()

    def pause_writing(self) -> None:  # noqa: D102 - asyncio's own word
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:  # noqa: D102 - asyncio's own word
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102 - asyncio's own word
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
