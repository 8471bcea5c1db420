"""The door for TLS: handshakes are bounded in number and time before anything of an association exists."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from node.errors.setup import cannot_listen

BACKLOG = 128
MAX_HANDSHAKES = 32  # under way at once; the oldest goes when one more comes, because a caller that means well is quick
HANDSHAKE_SECONDS = 10.0
_PAUSE_SECONDS = 0.5  # when the process has no sockets left


@dataclass(frozen=True, slots=True)
class TlsEndpoint:
    """Where to listen for TLS, and how."""

    host: str
    port: int
    context: ssl.SSLContext


class TlsDoor:
    """Accepts connections; each that ends its handshake gets a protocol of ``make``."""

    def __init__(self, endpoint: TlsEndpoint, make: Callable[[], asyncio.BaseProtocol]) -> None:
        self._endpoint = endpoint
        self._make = make
        self._half_open: dict[asyncio.Task[None], None] = {}  # oldest first
        self._socket: socket.socket | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it really listens on."""
        assert self._socket is not None, "the door is closed"
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def bind(self) -> None:
        """Take the port; raises PortInUse, AddressUnavailable."""
        host, port = self._endpoint.host, self._endpoint.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as exc:
            raise cannot_listen(f"{host}:{port}", exc) from exc
        self._socket.setblocking(False)

    def close(self) -> None:
        """Let go of the port; cancel :meth:`run` before."""
        if self._socket is not None:
            self._socket.close()

    async def run(self) -> None:
        """Accept until cancelled; all handshakes end with it."""
        assert self._socket is not None, "the door is closed"
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    connection, _ = await loop.sock_accept(self._socket)
                except OSError:  # it was gone already, or there are no sockets left
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                if len(self._half_open) >= MAX_HANDSHAKES:
                    next(iter(self._half_open)).cancel()
                task = group.create_task(self._open(connection))
                self._half_open[task] = None
                task.add_done_callback(self._half_open.pop)

    async def _open(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # ssl.SSLError and TimeoutError are some; asyncio has closed the connection
            await loop.connect_accepted_socket(
                self._make, connection, ssl=self._endpoint.context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
