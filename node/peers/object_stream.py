"""One request for instances and the stream that answers it, received into place (docs/protocol/transfer.md).

Images come faster than a general HTTP client passes them on: it would copy every byte three times. So this one speaks
the little of HTTP/1.0 that an object stream needs, on a connection of its own: one POST, one head, and frames,
which asyncio's TLS decrypts straight into the memory in which they are handed over; then the end of the connection. It
reads no more pieces than were allowed, so a slow disk slows the network down.
"""

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import Mapping

from node.errors.base import LeveretError
from node.errors.peers import BodyTooSlow, PeerInterrupted, PeerProtocolViolation
from node.errors.sharing import FrameError
from node.peers import limits
from node.peers.frames import EndFrame, Frame, FrameReader, StopFrame
from node.peers.trouble import broken, refusal
from node.peers.wire import JSON

MAX_HEAD_BYTES = 8192
_CLOSE_SECONDS = 1.0  # the holder has said its last frame; how long it may take to hang up
_OK = 200

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([2-5][0-9][0-9])(?: [^\r\n]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*")  # RFC 9112 section 5
_END_OF_HEAD = b"\r\n\r\n"


def encode_request(host: str, path: str, body: bytes) -> bytes:
    """The POST."""
    lines = (
        f"POST {path} HTTP/1.0", f"Host: {host}", "User-Agent: leveret", "Accept-Encoding: identity",
        f"Content-Type: {JSON}", f"Content-Length: {len(body)}",
    )  # fmt: skip
    return "\r\n".join(lines).encode("ascii") + _END_OF_HEAD + body


def decode_head(head: bytes) -> tuple[int, Mapping[str, str]]:
    """Status and fields (names in lower case) of an answer, from its head without the empty line.

    Raises:
        PeerProtocolViolation: no such head, a field twice, or a body in an encoding.
    """
    first, *rest = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    fields = [_FIELD.fullmatch(line) for line in rest]
    if status is None or None in fields or len(fields) > limits.FIELDS:
        raise PeerProtocolViolation("no head of an answer")
    pairs = {m[1].decode("ascii").lower(): m[2].decode("latin-1") for m in fields if m is not None}
    if len(pairs) < len(fields):
        raise PeerProtocolViolation("a field twice")
    if "transfer-encoding" in pairs or pairs.get("content-encoding", "identity").lower() != "identity":
        raise PeerProtocolViolation("the answer is encoded")
    return int(status[1]), pairs


class ObjectStream(asyncio.BufferedProtocol):
    """The connection of one object stream: ``begin``, then ``allow`` and ``take`` in turn."""

    def __init__(self, request: bytes, reader: FrameReader) -> None:
        self.received = 0  # bytes of frames
        self._request = request
        self._reader = reader
        self._transport: asyncio.Transport | None = None
        self._head = bytearray(MAX_HEAD_BYTES)
        self._head_bytes = 0
        self._status = 0  # until the head is here
        self._fields: Mapping[str, str] = {}
        self._refused = bytearray()  # the body of a refusal
        self._allowed = 0  # pieces that may still be read
        self._frames: deque[Frame] = deque()
        self._failure: LeveretError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waited = 0.0
        self._closed = asyncio.Event()

    async def begin(self, seconds: float) -> None:
        """Wait for the answer's head, ``seconds`` at most.

        Raises:
            RemoteRefusal, RemoteBusy, PeerRefusesUs: the holder refuses. PeerInterrupted: it does not answer.
            PeerProtocolViolation: this is no answer.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self._status or (self._status != _OK and not self._is_refusal_whole()):
                    await self._until_changed()
        except TimeoutError as exc:
            raise PeerInterrupted("no answer in time") from exc
        if self._status != _OK:
            raise refusal(self._status, self._fields.get("content-type", ""), bytes(self._refused))

    def allow(self, pieces: int) -> None:
        """Read so many more pieces."""
        self._allowed += pieces
        if self._transport is not None and not self._must_wait():
            self._transport.resume_reading()

    async def take(self) -> Frame:
        """The next frame or piece of one.

        Raises:
            FrameError: what came was not asked for. BodyTooSlow: stalled or dripping. PeerInterrupted: cut off.
        """
        while not self._frames:
            started, before = time.monotonic(), self.received
            try:
                async with asyncio.timeout(limits.READ_SECONDS):
                    await self._until_changed()
            except TimeoutError as exc:
                if self.received == before:
                    raise BodyTooSlow from exc
            self._waited += time.monotonic() - started
            over = self._waited - limits.GRACE_SECONDS
            if over > 0 and self.received < over * limits.LEAST_RATE:
                raise BodyTooSlow
        return self._frames.popleft()

    async def finish(self) -> None:
        """After the last frame: let the holder hang up; raises FrameError if it says more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._closed.wait()
        if isinstance(self._failure, FrameError):
            raise self._failure

    async def close(self) -> None:
        """Hang up."""
        self.abort()
        await self._closed.wait()

    def abort(self) -> None:
        """Cut the connection off; whoever waits for it hears PeerInterrupted."""
        if self._transport is not None:
            self._transport.abort()

    async def _until_changed(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _is_refusal_whole(self) -> bool:
        length = self._fields.get("content-length", "")
        whole = int(length) if length.isdecimal() and len(length) <= len(str(limits.PROBLEM_BYTES)) else None
        return self._closed.is_set() or len(self._refused) >= (limits.PROBLEM_BYTES if whole is None else whole)

    def _must_wait(self) -> bool:
        return self._allowed <= 0 and self._reader.is_before_piece

    # asyncio.BufferedProtocol: nothing here may raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done: ask."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        del sizehint
        if self._status == _OK:
            return self._reader.buffer()
        return memoryview(self._head)[self._head_bytes :]

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        try:
            if self._status == _OK:
                self._take_frames(nbytes)
            else:
                self._take_head(nbytes)
        except LeveretError as exc:
            self._fail(exc)
            self.abort()
        if self._transport is not None and self._must_wait():
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """The transport closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._closed.set()
        self._fail(PeerInterrupted("the connection ended") if exc is None else broken(exc))

    def _take_head(self, count: int) -> None:
        if self._status:
            self._refused += self._head[: min(count, limits.PROBLEM_BYTES - len(self._refused))]
            self._wake()
            return
        self._head_bytes += count
        end = self._head.find(_END_OF_HEAD, 0, self._head_bytes)
        if end < 0:
            if self._head_bytes == MAX_HEAD_BYTES:
                raise PeerProtocolViolation("a head of that length")
            return
        self._status, self._fields = decode_head(bytes(self._head[:end]))
        behind, self._head_bytes = bytes(self._head[end + len(_END_OF_HEAD) : self._head_bytes]), 0
        self._wake()
        if self._status != _OK:
            self._refused += behind
            return
        while behind:
            place = self._reader.buffer()
            taken = min(len(place), len(behind))
            place[:taken] = behind[:taken]
            self._take_frames(taken)
            behind = behind[taken:]

    def _take_frames(self, count: int) -> None:
        self.received += count
        frames = self._reader.filled(count)
        if frames:
            self._allowed -= sum(not isinstance(frame, EndFrame | StopFrame) for frame in frames)
            self._frames += frames
            self._wake()

    def _fail(self, failure: LeveretError) -> None:
        self._failure = self._failure or failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
