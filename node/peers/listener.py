"""The accept loop: bounded handshakes that say who failed and why.

When ``limits.HALF_OPEN`` handshakes are under way, the oldest one of the address that has most is dropped for the new
one. So five hundred silent connections cost an attacker five hundred sockets and this node nothing: a real peer's
handshake takes milliseconds and is never the oldest.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from node.clock import Clock
from node.errors.setup import cannot_listen
from node.log import Logger
from node.metrics import Metrics
from node.model.trust import Address
from node.peers import limits
from node.peers.buckets import TokenBuckets

_OUT_OF_SOCKETS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_SECONDS = 0.2  # after the machine has run out of sockets
_LOG_BURST, _LOG_PER_SECOND = 20.0, 0.5  # lines about failed handshakes; the metric counts every one


@dataclass(eq=False, slots=True)
class _HalfOpen:
    address: str
    task: asyncio.Task[None] | None = None


class Listener:
    """Accepts, shakes hands, and hands each connection to ``protocol_factory(remote address)``."""

    def __init__(
        self,
        address: Address,
        context: ssl.SSLContext,
        protocol_factory: Callable[[str], asyncio.Protocol],
        *,
        clock: Clock,
        log: Logger,
        metrics: Metrics,
    ) -> None:
        self._wanted = address
        self._context = context
        self._protocol_factory = protocol_factory
        self._log = log
        self._metrics = metrics
        self._half_open: dict[_HalfOpen, None] = {}  # in the order they came
        self._failures = TokenBuckets(
            clock,
            burst=limits.FAILURES_BURST,
            per_second=limits.FAILURES_PER_SECOND,
            remembered=limits.ADDRESSES_REMEMBERED,
        )
        self._log_budget = TokenBuckets(clock, burst=_LOG_BURST, per_second=_LOG_PER_SECOND)
        self._unlogged = 0
        self._socket: socket.socket | None = None

    def bind(self) -> Address:
        """Take the port; returns where it really listens (port 0 has become one).

        Raises:
            PortInUse, AddressUnavailable: another program has it, or this machine has no such address.
        """
        host, port = self._wanted.host, self._wanted.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server(
                (host, port), family=family, backlog=limits.BACKLOG, dualstack_ipv6=host == "::"
            )
        except OSError as exc:
            raise cannot_listen(str(self._wanted), exc) from exc
        self._socket.setblocking(False)
        return Address(host, self._socket.getsockname()[1])

    def close(self) -> None:
        """Let go of the port."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def run(self) -> None:
        """Accept until cancelled; all handshakes end with it."""
        assert self._socket is not None
        async with asyncio.TaskGroup() as group:
            while True:
                accepted = await self._accept(self._socket)
                if accepted is not None:
                    self._start(group, *accepted)

    async def _accept(self, listening: socket.socket) -> tuple[socket.socket, str] | None:
        try:
            connection, name = await asyncio.get_running_loop().sock_accept(listening)
        except OSError as exc:
            if exc.errno in _OUT_OF_SOCKETS:
                self._log.error("no sockets left", component="peers", error=type(exc).__name__)
                await asyncio.sleep(_PAUSE_SECONDS)
            return None  # else: the connection was gone before it was accepted
        return connection, str(name[0])

    def _start(self, group: asyncio.TaskGroup, connection: socket.socket, address: str) -> None:
        if self._failures.left(address) < 1:
            connection.close()
            self._failed(address, "over_budget", spend=False)
            return
        if len(self._half_open) >= limits.HALF_OPEN:
            self._evict()
        entry = _HalfOpen(address)
        self._half_open[entry] = None
        entry.task = group.create_task(self._handshake(entry, connection))
        # Also of a task that is cancelled before it begins, and so never gets to close anything.
        entry.task.add_done_callback(lambda task: connection.close() if task.cancelled() else None)

    def _evict(self) -> None:
        crowd = Counter(entry.address for entry in self._half_open)
        worst, _ = crowd.most_common(1)[0]
        victim = next(entry for entry in self._half_open if entry.address == worst)
        del self._half_open[victim]
        assert victim.task is not None
        victim.task.cancel()
        self._failed(worst, "crowded_out", spend=False)

    async def _handshake(self, entry: _HalfOpen, connection: socket.socket) -> None:
        started = time.monotonic()
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(limits.HANDSHAKE_SECONDS + limits.SHUTDOWN_SECONDS):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: self._protocol_factory(entry.address),
                    connection,
                    ssl=cast("ssl.SSLContext", _Outspoken(self._context, connection)),
                    ssl_handshake_timeout=limits.HANDSHAKE_SECONDS,
                    ssl_shutdown_timeout=limits.SHUTDOWN_SECONDS,
                )
        except (OSError, TimeoutError) as exc:  # ssl.SSLError is an OSError
            reason = reason_of(exc)
            self._failed(entry.address, reason, spend=reason not in _FREE, seconds=time.monotonic() - started)
            connection.close()
        except Exception as exc:  # noqa: BLE001 - one odd connection must not end the accept loop for all
            self._log.error("handshake crashed", component="peers", error=type(exc).__name__)
            self._failed(entry.address, "crashed", spend=True)
            connection.close()
        else:
            self._metrics.handshakes.labels(outcome="ok").inc()
        finally:
            self._half_open.pop(entry, None)

    def _failed(self, address: str, reason: str, *, spend: bool, seconds: float = 0.0) -> None:
        self._metrics.handshakes.labels(outcome=reason).inc()
        if spend:
            self._failures.spend(address)
        if not self._log_budget.spend(""):
            self._unlogged += 1
            return
        self._log.warning(
            "handshake failed",
            component="peers",
            address=address,
            reason=reason,
            seconds=round(seconds, 3),
            count=self._unlogged + 1,
        )
        self._unlogged = 0


class _Outspoken:
    """The TLS context of one connection, saying what asyncio (Python 3.11) leaves unsaid.

    When a handshake fails, OpenSSL writes an alert that says why, and asyncio throws it away with the connection. A
    node that is not trusted (yet) could then not tell this from one that is down.
    """

    def __init__(self, context: ssl.SSLContext, connection: socket.socket) -> None:
        self._context = context
        self._connection = connection

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """As ``ssl.SSLContext.wrap_bio``; asyncio calls it once."""
        tls = self._context.wrap_bio(incoming, outgoing, *args, **kwargs)
        quiet = tls.do_handshake

        def do_handshake() -> None:
            try:
                quiet()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError:
                # Two dozen bytes: if they do not fit, they are not worth waiting for.
                with contextlib.suppress(OSError):
                    self._connection.send(outgoing.read())
                raise

        tls.do_handshake = do_handshake  # type: ignore[method-assign]  # of this one object
        return tls


# Failures that cost next to nothing spend no budget: a facility's whole network may share one address.
_FREE = frozenset({"timeout", "gone"})

_REASONS = (
    ("CERTIFICATE_VERIFY_FAILED", "untrusted_certificate"),
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "no_certificate"),
    ("UNSUPPORTED_PROTOCOL", "old_tls_version"),
    ("VERSION_TOO_LOW", "old_tls_version"),
    ("HTTP_REQUEST", "not_tls"),
    ("WRONG_VERSION_NUMBER", "not_tls"),
    ("PACKET_LENGTH", "not_tls"),
    ("RECORD", "not_tls"),
    ("ALERT", "refused_by_client"),
    ("CALLBACK_FAILED", "pairing_closed"),
)


def reason_of(error: OSError) -> str:
    """A stable word for why a handshake failed; OpenSSL's reason decides, never its text."""
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").upper().replace(" ", "_")
        return next((word for part, word in _REASONS if part in reason), "tls_error")
    if isinstance(error, TimeoutError | ConnectionAbortedError):  # the latter is how asyncio ends a slow handshake
        return "timeout"
    return "gone"
