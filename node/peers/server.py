"""The peer server: the guard in front of every handler, and the life of listener, aiohttp and registry together."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self

from aiohttp import web

from node.clock import Clock
from node.crypto.tls import ServerTls
from node.errors.base import LeveretError
from node.errors.peers import BodyTooLarge, MalformedMessage, NoSuchRoute, PeerInterrupted
from node.errors.trust import PeerNotTrusted
from node.log import Logger
from node.metrics import Metrics
from node.model.ids import PeerId
from node.model.trust import Address, TrustState
from node.peers import limits
from node.peers.connections import Connection, Connections
from node.peers.listener import Listener
from node.peers.ports import PeerDirectory
from node.peers.wire import PEER, problem_reply, refuse_encoding

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PAIR_PATH = "/peer/v1/pair"
_SWEEP_SECONDS = 1.0


class PeerServer:
    """Serves peers while its context is open. Register routes first.

    ``listen`` may name port 0; ``address`` says where it really listens.
    """

    def __init__(
        self,
        *,
        listen: Address,
        tls: ServerTls,
        directory: PeerDirectory,
        clock: Clock,
        log: Logger,
        metrics: Metrics,
    ) -> None:
        self._directory = directory
        self._log = log
        self.connections = Connections(directory, clock)
        self._listener = Listener(listen, tls.context, self._protocol, clock=clock, log=log, metrics=metrics)
        self._app = web.Application(middlewares=[self._guard], client_max_size=limits.MESSAGE_BYTES)
        self._app.on_response_prepare.append(_say_little)
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._address: Address | None = None

    @property
    def address(self) -> Address:
        """Where the server listens; only while it runs."""
        assert self._address is not None, "the server has not started"
        return self._address

    def add_routes(self, routes: Iterable[web.RouteDef]) -> None:
        """Register a vertical's handlers; before the server starts."""
        self._app.router.add_routes(routes)

    def trust_changed(self, peer: PeerId, state: TrustState) -> None:
        """End every live connection of a peer that is not trusted any more (``ports.TrustListener``)."""
        if state is not TrustState.TRUSTED:
            cut = self.connections.abort(peer)
            if cut:
                self._log.info("connections cut off", peer=peer.log, state=state.value, count=cut)

    async def __aenter__(self) -> Self:
        """Take the port and serve; raises PortInUse."""
        self._address = self._listener.bind()
        try:
            self._runner = web.AppRunner(
                self._app,
                handle_signals=False,
                access_log=None,
                logger=_silent_logger(),  # aiohttp would print what a peer sent
                handler_cancellation=True,  # a handler does not outlive its connection
                keepalive_timeout=limits.KEEPALIVE_SECONDS,
                lingering_time=limits.LINGER_SECONDS,
                max_line_size=limits.LINE_BYTES,
                max_field_size=limits.FIELD_BYTES,
                max_headers=limits.FIELDS,
                read_bufsize=limits.READ_BUFFER,
                auto_decompress=False,
                shutdown_timeout=limits.STOP_SECONDS,
            )
            await self._runner.setup()
        except BaseException:
            self._listener.close()
            raise
        for work in (self._listener.run(), self._sweep()):
            task = asyncio.get_running_loop().create_task(work)
            task.add_done_callback(self._ended)
            self._tasks.append(task)
        self._log.info("listening to peers", address=str(self._address))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop accepting, give running answers a moment, cut off the rest."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.connections.abort_all()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.critical("peer server stopped working", component="peers", error=type(error).__name__)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.connections.sweep()

    def _protocol(self, remote: str) -> asyncio.Protocol:
        return _Gate(remote, self)

    def admit(self, transport: asyncio.Transport, remote: str) -> tuple[Connection, web.RequestHandler] | None:
        """Enter a connection and make its HTTP protocol; None: turn it away."""
        assert self._runner is not None
        if self._runner.server is None:
            return None  # stopping
        connection = self.connections.enter(transport, remote)
        return None if connection is None else (connection, self._runner.server())

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = self.connections.of(request.transport)
        if connection is None:  # cut off while the request was being read
            raise ConnectionResetError
        self.connections.begin(connection)
        try:
            self._check(request, connection)
            return await handler(request)
        except LeveretError as error:
            return self._refused(request, connection, error)
        except web.HTTPException as error:
            return self._refused(request, connection, _error_of(error))
        except ConnectionError as error:
            return self._refused(request, connection, PeerInterrupted(type(error).__name__))
        except Exception as error:  # noqa: BLE001 - the edge: no traceback and no text may reach a peer or the log
            self._log.error("handler failed", route=_route(request), error=type(error).__name__)
            return problem_reply(LeveretError())
        finally:
            self.connections.end(connection)

    def _check(self, request: web.Request, connection: Connection) -> None:
        is_pair = request.path == PAIR_PATH
        if connection.peer is None:
            if not is_pair:
                raise NoSuchRoute
        else:
            if self._directory.state_of(connection.peer) is not TrustState.TRUSTED:
                raise PeerNotTrusted
            if is_pair:
                raise NoSuchRoute
            request[PEER] = connection.peer
            self._directory.saw(connection.peer)
        refuse_encoding(request.headers)

    def _refused(self, request: web.Request, connection: Connection, error: LeveretError) -> web.StreamResponse:
        self._log.info(
            "peer refused",
            peer=connection.peer.log if connection.peer else "stranger",
            route=_route(request),
            code=error.code,
        )
        reply = problem_reply(error)
        if connection.peer is None or isinstance(error, PeerNotTrusted | BodyTooLarge):
            reply.force_close()
        return reply


class _Gate(asyncio.Protocol):
    """First protocol on each connection: enters it by its certificate before HTTP sees a byte, then steps aside."""

    def __init__(self, remote: str, server: PeerServer) -> None:
        self._remote = remote
        self._server = server
        self._connection: Connection | None = None
        self._http: web.RequestHandler | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        admitted = self._server.admit(transport, self._remote)
        if admitted is None:
            transport.abort()
            return
        self._connection, self._http = admitted
        self._http.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._http is not None:
            self._http.data_received(data)

    def eof_received(self) -> None:
        if self._http is not None:
            self._http.eof_received()

    def pause_writing(self) -> None:
        if self._http is not None:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        if self._http is not None:
            self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._server.connections.leave(self._connection)
        if self._http is not None:
            self._http.connection_lost(exc)


def _route(request: web.Request) -> str:
    """The route's template, never the path with its values."""
    resource = request.match_info.route.resource
    return "none" if resource is None else resource.canonical


def _error_of(error: web.HTTPException) -> LeveretError:
    if error.status in {web.HTTPNotFound.status_code, web.HTTPMethodNotAllowed.status_code}:
        return NoSuchRoute()
    if error.status == web.HTTPRequestEntityTooLarge.status_code:
        return BodyTooLarge()
    return MalformedMessage()


async def _say_little(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)  # versions are for the card, not for strangers
    response.headers["Cache-Control"] = "no-store"


def _silent_logger() -> logging.Logger:
    logger = logging.Logger("leveret.peers")  # noqa: LOG001 - outside the global tree on purpose: nobody can turn it on
    logger.addHandler(logging.NullHandler())
    return logger
