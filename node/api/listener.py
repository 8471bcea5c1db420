"""The accept loop of the local API: TLS handshakes and answers that are not read are bounded in number and time.

aiohttp's own sites know no limit for either. A connection that has not finished its handshake is dropped when others
wait, the oldest of the address that has most of them first; what a client does not read is held for it for a while
that grows with its size, and no longer.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from node.api.problem import problem_response
from node.clock import Clock
from node.errors.access import InvalidInput
from node.errors.base import LeveretError
from node.errors.setup import cannot_listen
from node.log import Logger
from node.model.origin import is_loopback
from node.model.trust import Address

KEEPALIVE_SECONDS = 30.0  # from the handshake or the last answer to a complete request head: ends header drips too
HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 2.0  # closing alert of TLS
LINGER_SECONDS = 2.0  # what is left of a body that no handler wanted
HALF_OPEN = 64  # handshakes at once
CONNECTIONS = 1024  # in all; a browser opens six
CONNECTIONS_PER_ADDRESS = 256  # a terminal server or a NAT stands for dozens of people; loopback has no such limit
READ_BUFFER = 2**18  # bytes buffered of a body (at most twice that), of strangers too; at 64 KiB uploads stop and go
LINE_BYTES = 8190  # request line: QIDO queries are long
FIELD_BYTES = 8190
FIELDS = 64
UNREAD_SECONDS = 60.0  # what waits to be read may wait so long,
UNREAD_RATE = 16 * 1024  # and a second more for so many bytes
SWEEP_SECONDS = 2.0
_BACKLOG = 256
_OUT_OF_SOCKETS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_SECONDS = 0.2  # after the machine has run out of sockets


@dataclass(eq=False, slots=True)
class _Connection:
    address: str
    task: asyncio.Task[None] | None = None  # its handshake
    transport: asyncio.Transport | None = None
    unread: int = 0  # bytes that wait to be read by the client, the most since `unread_since`
    unread_since: float = field(default=0.0)  # monotonic: when there first were any


class Listener:
    """Accepts connections and hands them to aiohttp."""

    def __init__(
        self, listening: socket.socket, tls: Callable[[], ssl.SSLContext] | None, clock: Clock, log: Logger
    ) -> None:
        """``tls`` is asked for the context of each connection; None: plain HTTP."""
        self._socket = listening
        self._tls = tls
        self._clock = clock
        self._log = log
        self._half_open: dict[_Connection, None] = {}  # in the order they came
        self._live: dict[_Connection, None] = {}
        self._crowd: Counter[str] = Counter()  # connections by address
        self._silent = silent_logger()

    async def run(self, runner: web.AppRunner) -> None:
        """Accept until cancelled; all handshakes end with it."""
        assert runner.server is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep())
            while True:
                accepted = await self._accept()
                if accepted is not None:
                    self._start(group, runner.server, *accepted)

    def abort_all(self) -> None:
        """Cut off what is left."""
        for connection in self._live:
            if connection.transport is not None:
                connection.transport.abort()

    async def _accept(self) -> tuple[socket.socket, str] | None:
        try:
            connection, name = await asyncio.get_running_loop().sock_accept(self._socket)
        except OSError as exc:
            if exc.errno in _OUT_OF_SOCKETS:
                self._log.error("no sockets left", component="api", error=type(exc).__name__)
                await asyncio.sleep(_PAUSE_SECONDS)
            return None  # else: the connection was gone before it was accepted
        return connection, str(name[0])

    def _start(self, group: asyncio.TaskGroup, server: web.Server, accepted: socket.socket, address: str) -> None:
        most = CONNECTIONS if is_loopback(address) else CONNECTIONS_PER_ADDRESS
        if len(self._live) >= CONNECTIONS or self._crowd[address] >= most:
            self._log.warning("too many connections", component="api", limit=most)
            accepted.close()
            return
        if len(self._half_open) >= HALF_OPEN:
            self._evict()
        connection = _Connection(address)
        self._live[connection] = self._half_open[connection] = None
        self._crowd[address] += 1
        connection.task = group.create_task(self._open(connection, server, accepted))
        connection.task.add_done_callback(lambda _task: self._opened(connection, accepted))

    def _evict(self) -> None:
        crowd = Counter(one.address for one in self._half_open)
        worst, _ = crowd.most_common(1)[0]
        victim = next(one for one in self._half_open if one.address == worst)
        del self._half_open[victim]
        assert victim.task is not None
        victim.task.cancel()

    async def _open(self, connection: _Connection, server: web.Server, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {}
        if self._tls is not None:
            options = {
                "ssl": self._tls(),
                "ssl_handshake_timeout": HANDSHAKE_SECONDS,
                "ssl_shutdown_timeout": SHUTDOWN_SECONDS,
            }
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(HANDSHAKE_SECONDS + SHUTDOWN_SECONDS):
                await loop.connect_accepted_socket(lambda: self._protocol(connection, server), accepted, **options)
        except (OSError, TimeoutError) as exc:  # ssl.SSLError is an OSError; half of them are browsers that ask first
            self._log.debug("handshake failed", component="api", error=type(exc).__name__)

    def _opened(self, connection: _Connection, accepted: socket.socket) -> None:
        """Its handshake is over, one way or the other; a task that is cancelled at once never began."""
        self._half_open.pop(connection, None)
        if connection.transport is None:
            accepted.close()
            self._leave(connection)

    def _protocol(self, connection: _Connection, server: web.Server) -> asyncio.Protocol:
        http = _Http(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # turns it off, as aiohttp's runner does
            logger=self._silent,  # aiohttp would print parts of requests
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGER_SECONDS,
            max_line_size=LINE_BYTES,
            max_field_size=FIELD_BYTES,
            max_headers=FIELDS,
            read_bufsize=READ_BUFFER,
            auto_decompress=False,
        )
        return _Gate(connection, http, self._leave)

    def _leave(self, connection: _Connection) -> None:
        if connection in self._live:
            del self._live[connection]
            self._crowd[connection.address] -= 1
            if not self._crowd[connection.address]:
                del self._crowd[connection.address]

    async def _sweep(self) -> None:
        """Cut off who does not read what was asked for."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._clock.monotonic()
            for connection in list(self._live):
                if connection.transport is not None and self._is_stuck(connection, connection.transport, now):
                    self._log.info("connection cut off: nothing is read", component="api", bytes=connection.unread)
                    connection.transport.abort()

    @staticmethod
    def _is_stuck(connection: _Connection, transport: asyncio.Transport, now: float) -> bool:
        unread = transport.get_write_buffer_size()
        if not unread:
            connection.unread = 0
            return False
        if not connection.unread:
            connection.unread_since = now
        connection.unread = max(connection.unread, unread)
        return now - connection.unread_since > UNREAD_SECONDS + connection.unread / UNREAD_RATE


class _Http(RequestHandler):
    """aiohttp's side of a connection, answering what is no HTTP in our words: its own repeat parts of the request."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to a request that cannot be read, after which the connection ends."""
        del request, exc, message
        error = InvalidInput("not a request") if status < web.HTTPInternalServerError.status_code else LeveretError()
        answer = problem_response(error)
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Server"] = "leveret"
        answer.force_close()
        return answer


class _Gate(asyncio.Protocol):
    """First protocol of each connection: remembers its transport, and passes everything on."""

    def __init__(self, connection: _Connection, http: RequestHandler, left: Callable[[_Connection], None]) -> None:
        self._connection = connection
        self._http = http
        self._left = left

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._connection.transport = transport
        self._http.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._http.data_received(data)

    def eof_received(self) -> None:
        self._http.eof_received()

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._connection.unread = 0  # next to nothing is left of it
        self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left(self._connection)
        self._http.connection_lost(exc)


def bind_tcp(listen: Address) -> socket.socket:
    """A listening socket.

    Raises:
        PortInUse, AddressUnavailable: somebody listens there, or the address is not this machine's.
    """
    host = "127.0.0.1" if listen.host == "localhost" else listen.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server(
            (host, listen.port), family=family, backlog=_BACKLOG, dualstack_ipv6=host == "::"
        )
    except OSError as exc:
        raise cannot_listen(str(listen), exc) from exc
    listening.setblocking(False)
    return listening


def silent_logger() -> logging.Logger:
    """For aiohttp, which would print parts of requests."""
    logger = logging.Logger("leveret.api")  # noqa: LOG001 - outside the global tree on purpose: nobody can turn it on
    logger.addHandler(logging.NullHandler())
    return logger
