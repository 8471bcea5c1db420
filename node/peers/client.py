"""Calling peers: one session each, pinned to that peer's certificate, over whichever of its addresses works."""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, overload

import msgspec
from aiohttp import (
    ClientConnectorError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
)

from node.crypto.identity import Identity
from node.crypto.tls import PAIRING_NAME, client_context, pairing_client_context
from node.errors.base import LeveretError
from node.errors.peers import (
    BodyTooLarge,
    PeerInterrupted,
    PeerProtocolViolation,
    PeerUnreachable,
)
from node.errors.trust import PeerNotTrusted
from node.log import Logger
from node.model.ids import PeerId
from node.model.trust import Address, TrustState
from node.peers import limits
from node.peers.frames import FrameReader
from node.peers.object_stream import ObjectStream, encode_request
from node.peers.ports import PeerDirectory
from node.peers.trouble import broken, refusal, unreachable
from node.peers.wire import JSON, OCTETS, BodyReader, decode

T = TypeVar("T")
Body = bytes | msgspec.Struct | None


class PeerClient:
    """Calls to one peer. Get it from ``PeerClients.get`` for each piece of work; do not keep it."""

    def __init__(self, peer: PeerId, session: ClientSession, context: ssl.SSLContext, directory: PeerDirectory) -> None:
        self.peer = peer
        self._session = session
        self._context = context
        self._directory = directory
        self._worked: Address | None = None  # the address that answered last
        self._answers: set[ClientResponse] = set()  # being read
        self._streams: set[ObjectStream] = set()  # being read

    @overload
    async def call(
        self, method: str, path: str, *, body: Body = None, max_bytes: int = ..., seconds: float = ...
    ) -> bytes: ...
    @overload
    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Body = None,
        response_type: type[T],
        max_bytes: int = ...,
        seconds: float = ...,
    ) -> T: ...
    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Body = None,
        response_type: type[T] | None = None,
        max_bytes: int = limits.MESSAGE_BYTES,
        seconds: float = limits.CALL_SECONDS,
    ) -> T | bytes:
        """Send a small request; the answer decoded as ``response_type`` (JSON), or its bytes.

        Raises:
            PeerUnreachable, PeerRefusesUs, PeerInterrupted, RemoteBusy: may work later (Retryable).
            RemoteRefusal: the peer answered with an error code. PeerNotTrusted: this node does not trust it any more.
            PeerProtocolViolation: the answer is not what the protocol says, or larger than ``max_bytes``.
        """
        try:
            async with asyncio.timeout(seconds), self.stream(method, path, body=body, max_bytes=max_bytes) as answer:
                data = await answer.rest()
        except TimeoutError as exc:
            raise PeerUnreachable("no answer in time") from exc
        except BodyTooLarge as exc:
            raise PeerProtocolViolation("the answer is too large") from exc
        if response_type is None:
            return data
        try:
            return decode(data, response_type)
        except LeveretError as exc:
            raise PeerProtocolViolation("the answer cannot be read") from exc

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: Body = None,
        max_bytes: int,
        head_seconds: float = limits.CALL_SECONDS,
    ) -> AsyncIterator[BodyReader]:
        """Send a request and read its answer as a stream of ``max_bytes`` at most; errors as ``call``.

        Leaving before the end closes the connection. ``head_seconds`` is how long the peer may take to begin.
        """
        response = await self._open(method, path, body, head_seconds)
        self._answers.add(response)
        try:
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise PeerProtocolViolation("the answer is encoded")
            if response.status >= 300:  # noqa: PLR2004 - RFC 9110: anything but success; redirects are not followed
                raise await _refusal(response)
            if (response.content_length or 0) > max_bytes:
                raise PeerProtocolViolation("the answer is too large")
            self._directory.saw(self.peer)
            reader = BodyReader(response.content, limit=max_bytes)
            yield reader
        except PeerInterrupted as error:
            if self._is_shut_out():
                raise PeerNotTrusted from error
            raise
        finally:
            self._answers.discard(response)
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    @asynccontextmanager
    async def objects(
        self, path: str, wanted: msgspec.Struct, reader: FrameReader, *, head_seconds: float
    ) -> AsyncIterator[ObjectStream]:
        """Ask for instances, on a connection of their own; errors as ``call`` and as those of ``ObjectStream``.

        ``head_seconds`` is how long the holder may take to begin. Leaving closes the connection.
        """
        addresses = self._addresses()
        stream, self._worked = await _dial(self._context, addresses, path, msgspec.json.encode(wanted), reader)
        self._streams.add(stream)
        try:
            if self._is_shut_out():  # during the handshake
                raise PeerNotTrusted
            await stream.begin(head_seconds)
            self._directory.saw(self.peer)
            yield stream
        except PeerInterrupted as error:
            if self._is_shut_out():
                raise PeerNotTrusted from error
            raise
        finally:
            self._streams.discard(stream)
            await stream.close()

    def interrupt(self) -> None:
        """Break every answer off that is being read; closing a session alone would leave its readers waiting."""
        for response in self._answers:
            response.close()
        for stream in self._streams:
            stream.abort()

    async def _open(self, method: str, path: str, body: Body, seconds: float) -> ClientResponse:
        addresses = self._addresses()
        response, self._worked = await request(self._session, addresses, method, path, body=body, seconds=seconds)
        return response

    def _addresses(self) -> list[Address]:
        """Where to try, the one that worked first; raises PeerNotTrusted."""
        if self._is_shut_out():
            raise PeerNotTrusted
        addresses = list(self._directory.addresses_of(self.peer))
        if self._worked in addresses:
            addresses.remove(self._worked)
            addresses.insert(0, self._worked)
        return addresses

    def _is_shut_out(self) -> bool:
        """What breaks because this node closed its connections on purpose is not the network's fault."""
        return self._directory.state_of(self.peer) is not TrustState.TRUSTED


class PeerClients:
    """All sessions of this node; an async context manager that closes them."""

    def __init__(self, *, identity: Identity, directory: PeerDirectory, log: Logger) -> None:
        self._identity = identity
        self._directory = directory
        self._log = log
        self._clients: dict[PeerId, tuple[PeerClient, ClientSession]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every session and wait for it."""
        for peer in list(self._clients):
            self._close(peer)
        await asyncio.gather(*self._closing)

    def get(self, peer: PeerId) -> PeerClient:
        """The client of a TRUSTED peer; raises PeerNotTrusted for any other."""
        if self._directory.state_of(peer) is not TrustState.TRUSTED:
            raise PeerNotTrusted(peer.short)
        if peer not in self._clients:
            context = client_context(self._identity, self._directory.certificate_of(peer))
            session = make_session(context)
            self._clients[peer] = (PeerClient(peer, session, context, self._directory), session)
        return self._clients[peer][0]

    def trust_changed(self, peer: PeerId, state: TrustState) -> None:
        """Close the session of a peer that is not trusted any more, and all that runs on it (``TrustListener``)."""
        if state is not TrustState.TRUSTED:
            self._close(peer)

    async def pair(self, certificate: bytes, addresses: Sequence[Address], body: bytes) -> bytes:
        """Send a join message in the pairing context of the node with ``certificate``; its answer's bytes.

        Raises as ``PeerClient.call``; PeerRefusesUs means that the node is there but has no invitation open.
        """
        session = make_session(pairing_client_context(certificate))
        try:
            async with asyncio.timeout(limits.CALL_SECONDS):
                response, _ = await request(
                    session,
                    addresses,
                    "POST",
                    "/peer/v1/pair",
                    body=body,
                    seconds=limits.CALL_SECONDS,
                    server_name=PAIRING_NAME,
                )
                async with response:
                    if response.status != 200:  # noqa: PLR2004 - HTTP OK
                        raise await _refusal(response)
                    return await BodyReader(response.content, limit=limits.PAIRING_BYTES).rest()
        except TimeoutError as exc:
            raise PeerUnreachable("no answer in time") from exc
        except BodyTooLarge as exc:
            raise PeerProtocolViolation("the answer is too large") from exc
        finally:
            await session.close()

    def _close(self, peer: PeerId) -> None:
        entry = self._clients.pop(peer, None)
        if entry is None:
            return
        entry[0].interrupt()
        # Closing aborts the TLS connections without ceremony (aiohttp's default from Python 3.11 on).
        task = asyncio.get_running_loop().create_task(entry[1].close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def make_session(context: ssl.SSLContext) -> ClientSession:
    """A session that trusts ``context`` alone: no proxies, cookies, redirects, decompression or system settings."""
    return ClientSession(
        connector=TCPConnector(
            ssl=context, limit=limits.CONNECTIONS_TO_PEER, keepalive_timeout=limits.CLIENT_KEEPALIVE_SECONDS
        ),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=limits.READ_BUFFER,
        max_line_size=limits.LINE_BYTES,
        max_field_size=limits.FIELD_BYTES,
        headers={"Accept-Encoding": "identity", "User-Agent": "leveret"},
        timeout=ClientTimeout(total=None, sock_connect=limits.CONNECT_SECONDS),
    )


async def request(
    session: ClientSession,
    addresses: Sequence[Address],
    method: str,
    path: str,
    *,
    body: Body,
    seconds: float,
    server_name: str | None = None,
) -> tuple[ClientResponse, Address]:
    """The response head from the first address that takes the connection, and that address.

    Once a request was sent it is never sent to another address: it may have had its effect.
    """
    headers, data = _encoded(body)
    trouble: LeveretError = PeerUnreachable("no address is known")
    for address in addresses:
        try:
            async with asyncio.timeout(seconds):
                response = await session.request(
                    method,
                    f"https://{address}{path}",
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                    server_hostname=server_name,
                )
        except (ClientConnectorError, ConnectionTimeoutError) as exc:  # before anything was sent
            trouble = unreachable(exc)
        except TimeoutError as exc:
            raise PeerUnreachable("no answer in time") from exc
        except Exception as exc:  # a peer chooses what aiohttp has to parse: whatever that raises ends here
            raise broken(exc) from exc
        else:
            return response, address
    raise trouble


def _encoded(body: Body) -> tuple[Mapping[str, str], bytes | io.BytesIO | None]:
    if body is None:
        return {}, None
    if isinstance(body, bytes):
        # aiohttp writes bytes in one go and a file in pieces
        return {"Content-Type": OCTETS}, body if len(body) <= limits.PIECE_BYTES else io.BytesIO(body)
    return {"Content-Type": JSON}, msgspec.json.encode(body)


async def _refusal(response: ClientResponse) -> LeveretError:
    """The error that an answer other than success stands for."""
    try:
        body = await BodyReader(response.content, limit=limits.PROBLEM_BYTES).rest()
    except LeveretError:
        response.close()
        body = b""
    return refusal(response.status, response.headers.get("Content-Type", ""), body)


async def _dial(
    context: ssl.SSLContext, addresses: Sequence[Address], path: str, body: bytes, reader: FrameReader
) -> tuple[ObjectStream, Address]:
    """An object stream on the first address that takes the connection, and that address; errors as ``request``."""
    trouble: LeveretError = PeerUnreachable("no address is known")
    for address in addresses:
        head = encode_request(str(address), path, body)
        try:
            async with asyncio.timeout(limits.CONNECT_SECONDS):
                _, stream = await asyncio.get_running_loop().create_connection(
                    partial(ObjectStream, head, reader), address.host, address.port, ssl=context
                )
        except (OSError, TimeoutError) as exc:  # ssl.SSLError is an OSError
            trouble = unreachable(exc)
        else:
            return stream, address
    raise trouble
