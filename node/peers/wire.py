"""Reading and writing bodies with limits: the same for handlers (server) and calls (client).

Only time spent waiting for the peer counts against it; while this node writes to its disk, the clock stands still.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.client_exceptions import ClientError

from node.errors.base import LeveretError
from node.errors.peers import BodyTooLarge, BodyTooSlow, EncodingRefused, MalformedMessage, PeerInterrupted
from node.model.ids import PeerId
from node.peers import limits

T = TypeVar("T")

PEER: web.RequestKey[PeerId] = web.RequestKey("peer", PeerId)
JSON = "application/json"
PROBLEM = "application/problem+json"
OCTETS = "application/octet-stream"
JOSE = "application/jose"  # RFC 7515 section 9.2.1: compact serialisation


class Problem(msgspec.Struct, frozen=True):
    """What a refusal looks like on the wire (RFC 9457). The words are fixed by the code: no fact leaves the node."""

    code: str = "unknown"
    title: str = ""
    status: int = 0


class BodyReader:
    """A body as it arrives, counted. Use ``read``, or iterate over the pieces, which are of any size."""

    def __init__(self, stream: StreamReader, *, limit: int) -> None:
        """Allow ``limit`` bytes in all."""
        self._stream = stream
        self._limit = limit
        self._waited = 0.0
        self.received = 0

    async def read(self) -> bytes:
        """The next piece, as large as what has arrived; empty at the end.

        Raises:
            BodyTooLarge: over the limit. BodyTooSlow: stalled or dripping. PeerInterrupted: the connection broke.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(limits.READ_SECONDS):
                piece = await self._stream.readany()
        except TimeoutError as exc:
            raise BodyTooSlow from exc
        except (ClientError, ConnectionError, web.RequestPayloadError, OSError) as exc:
            raise PeerInterrupted from exc
        self._waited += time.monotonic() - started
        self.received += len(piece)
        if self.received > self._limit:
            raise BodyTooLarge
        over = self._waited - limits.GRACE_SECONDS
        if over > 0 and self.received < over * limits.LEAST_RATE:
            raise BodyTooSlow
        return piece

    async def rest(self) -> bytes:
        """All that is left."""
        return b"".join([piece async for piece in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece


class BodyWriter:
    """A streamed answer. Write pieces of ``limits.PIECE_BYTES`` where you can; the handler returns ``response``."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response
        self.sent = 0
        self._waited = 0.0

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``, waiting until the peer takes it.

        Raises:
            BodyTooSlow: the peer takes nothing, or hardly anything. PeerInterrupted: the connection broke.
        """
        view = memoryview(data)
        for start in range(0, len(view), limits.PIECE_BYTES):
            await self._write_piece(view[start : start + limits.PIECE_BYTES])

    async def _write_piece(self, piece: memoryview) -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(limits.WRITE_SECONDS):
                await self.response.write(piece)
        except TimeoutError as exc:
            raise BodyTooSlow from exc
        except ConnectionError as exc:
            raise PeerInterrupted from exc
        self._waited += time.monotonic() - started
        self.sent += len(piece)
        over = self._waited - limits.GRACE_SECONDS
        if over > 0 and self.sent < over * limits.LEAST_WRITE_RATE:
            raise BodyTooSlow


class LargeAnswers:
    """One large answer to a peer at a time: what it asks for and does not read is in memory once."""

    def __init__(self) -> None:
        self._turns: dict[PeerId, asyncio.Lock] = {}
        self._users: Counter[PeerId] = Counter()

    @asynccontextmanager
    async def turn(self, request: web.Request) -> AsyncIterator[None]:
        """Make the answer, and send it, inside."""
        peer = peer_of(request)
        lock = self._turns.setdefault(peer, asyncio.Lock())
        self._users[peer] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[peer] -= 1
            if not self._users[peer]:
                del self._users[peer], self._turns[peer]


def peer_of(request: web.Request) -> PeerId:
    """Who speaks: verified by the TLS handshake, and trusted when the request began."""
    return request[PEER]


def refuse_encoding(headers: Mapping[str, str]) -> None:
    """Bodies travel as they are: whoever inflates a stranger's bytes has no limit any more."""
    if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise EncodingRefused


def body_reader(request: web.Request, *, limit: int) -> BodyReader:
    """The request's body as a stream of ``limit`` bytes at most."""
    if (request.content_length or 0) > limit:
        raise BodyTooLarge
    return BodyReader(request.content, limit=limit)


async def read_body(request: web.Request, *, limit: int = limits.MESSAGE_BYTES) -> bytes:
    """The request's whole body."""
    return await body_reader(request, limit=limit).rest()


async def read_struct(request: web.Request, of: type[T], *, limit: int = limits.MESSAGE_BYTES) -> T:
    """The request's whole body as a msgspec type (JSON); declare it with ``forbid_unknown_fields``."""
    return decode(await read_body(request, limit=limit), of)


async def read_jws(request: web.Request, *, limit: int) -> str:
    """The request's whole body as a compact JWS, nothing of it verified; raises MalformedMessage."""
    body = await read_body(request, limit=limit)
    try:
        return body.decode("ascii")
    except UnicodeDecodeError as exc:
        raise MalformedMessage("a compact JWS is ASCII") from exc


def decode(data: bytes, of: type[T]) -> T:
    """A JSON message, strictly; raises MalformedMessage."""
    try:
        return msgspec.json.decode(data, type=of)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise MalformedMessage from exc


def json_reply(message: msgspec.Struct, *, status: int = 200) -> web.Response:
    """A small answer as JSON."""
    return web.Response(body=msgspec.json.encode(message), status=status, content_type=JSON)


def bytes_reply(data: bytes, *, status: int = 200, content_type: str = OCTETS) -> web.Response:
    """A small answer as it is."""
    return web.Response(body=data, status=status, content_type=content_type)


def jws_reply(token: str) -> web.Response:
    """A compact JWS."""
    return bytes_reply(token.encode("ascii"), content_type=JOSE)


def empty_reply() -> web.Response:
    """Done, nothing to say (204)."""
    return web.Response(status=204)


@asynccontextmanager
async def stream_reply(
    request: web.Request, *, length: int | None = None, content_type: str = OCTETS
) -> AsyncIterator[BodyWriter]:
    """Answer with a stream; ``length`` in bytes if it is known.

    An error that flies inside breaks the connection off, so that the peer never takes a torn body for a whole one. The
    handler returns ``writer.response`` afterwards.
    """
    response = web.StreamResponse()
    response.content_type = content_type
    if length is None and request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    elif length is not None:  # to HTTP/1.0 a body of unknown length ends with its connection (RFC 9112 section 6.3)
        response.content_length = length
    await response.prepare(request)
    try:
        yield BodyWriter(response)
        await response.write_eof()
    except ConnectionError as exc:
        _abort(request)
        raise PeerInterrupted from exc
    except BaseException:
        _abort(request)
        raise


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def problem_reply(error: LeveretError) -> web.Response:
    """A refusal: the code, its fixed words, its status; nothing about this node or a patient."""
    words = (type(error).__doc__ or "").split("\n", 1)[0]
    problem = Problem(code=error.code, title=words, status=error.status)
    return web.Response(body=msgspec.json.encode(problem), status=error.status, content_type=PROBLEM)
