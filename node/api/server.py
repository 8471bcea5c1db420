"""The two listeners of the local API and what surrounds every handler: Host check, errors, headers, access log."""

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from node.api import admin
from node.api.auth import SocketAuth, TcpAuth
from node.api.denials import Denial, Denials, place_of
from node.api.problem import error_of_http, problem_response
from node.api.routing import ACTOR, MAX_JSON_BYTES, NOBODY, Authenticate, Route, aiohttp_routes
from node.api.web.pages import Pages
from node.clock import Clock
from node.errors.access import ApiNeedsTls, UploadBroken, WrongHost
from node.errors.base import LeveretError
from node.errors.setup import cannot_listen
from node.errors.storage import ObjectDamaged
from node.log import Logger
from node.metrics import Metrics
from node.model.trust import Address
from node.sharing.audit import AuditLog
from node.sharing.sessions import Sessions
from node.sharing.users import Users

KEEPALIVE_SECONDS = 30.0
SHUTDOWN_SECONDS = 2.0  # for answers that are under way when the daemon stops
READ_BUFFER = 2**20  # bytes buffered of a body; with aiohttp's 64 KiB uploads stop and go
_BACKLOG = 128
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})  # passkeys need the name, scripts use the addresses
_SERVER_FAULT = 500
_DENIED = frozenset({401, 403})

_Wrapped = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiServer:
    """Serves the table of routes on TCP and on the admin socket while its context is open.

    ``listen`` may name port 0; ``address`` says where it really listens.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        listen: Address,
        directory: Path,
        users: Users,
        sessions: Sessions,
        pages: Pages,
        audit: AuditLog,
        clock: Clock,
        metrics: Metrics,
        log: Logger,
    ) -> None:
        self._routes = routes
        self._listen = listen
        self._directory = directory
        self._users = users
        self._sessions = sessions
        self._pages = pages
        self._page_paths = {r.path for r in routes if r.page}
        self._denials = Denials(audit, clock, log)
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._quiet = {r.path for r in routes if r.quiet}
        self._stack = contextlib.AsyncExitStack()
        self._address: Address | None = None

    @property
    def address(self) -> Address:
        """Where TCP callers reach it; only while it runs."""
        assert self._address is not None, "the server has not started"
        return self._address

    async def __aenter__(self) -> Self:
        """Take both addresses and serve; raises PortInUse, ApiNeedsTls."""
        async with contextlib.AsyncExitStack() as stack:
            listener = bind_tcp(self._listen)
            stack.callback(listener.close)
            host, port = listener.getsockname()[:2]
            self._address = Address(host, port)
            public = [r for r in self._routes if not r.socket_only]
            await self._serve(stack, listener, public, TcpAuth(self._users, self._sessions), check_host=True)
            await stack.enter_async_context(_while_open(self._denials.run()))
            local = admin.bind(self._directory)
            stack.callback(local.close)
            stack.callback((self._directory / admin.ADMIN_SOCKET).unlink, missing_ok=True)
            await self._serve(stack, local, self._routes, SocketAuth(self._users), check_host=False)
            self._stack = stack.pop_all()
        self._log.info("listening to people and local systems", component="api", address=str(self._address))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop listening, give running answers a moment."""
        await self._stack.aclose()

    async def _serve(
        self,
        stack: contextlib.AsyncExitStack,
        listener: socket.socket,
        routes: Sequence[Route],
        authenticate: Authenticate,
        *,
        check_host: bool,
    ) -> None:
        middlewares = [self._surround, *([self._check_host] if check_host else [])]
        app = web.Application(middlewares=middlewares, client_max_size=MAX_JSON_BYTES)
        app.on_response_prepare.append(_headers)
        app.router.add_routes(aiohttp_routes(routes, authenticate))
        runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            logger=_silent_logger(),  # aiohttp would print parts of requests
            handler_cancellation=True,  # nobody reads the answer any more
            keepalive_timeout=KEEPALIVE_SECONDS,
            read_bufsize=READ_BUFFER,
            auto_decompress=False,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listener).start()

    @web.middleware
    async def _surround(self, request: web.Request, handler: _Wrapped) -> web.StreamResponse:
        started = self._clock.monotonic()
        status = _SERVER_FAULT
        try:
            answer = await self._answer(request, handler)
            status = answer.status
        finally:
            self._account(request, status, self._clock.monotonic() - started)
        return answer

    async def _answer(self, request: web.Request, handler: _Wrapped) -> web.StreamResponse:
        try:
            return await handler(request)
        except LeveretError as exc:
            error = exc
        except web.HTTPException as exc:
            error = error_of_http(exc)
        except ConnectionError as exc:
            error = UploadBroken(type(exc).__name__)
        except Exception as exc:  # noqa: BLE001 - the edge: no traceback and no text may reach a caller or the log
            self._log.error("handler failed", route=_route(request), error=type(exc).__name__, path=_place(exc))
            error = LeveretError()
        if error.status in _DENIED:
            place = place_of(request.remote)
            await self._denials.denied(Denial(error.code, request.get(ACTOR, NOBODY.actor), _route(request), place))
        if request.transport is not None and request.get(STARTED):
            # Half an answer is out already: cut the connection, so that nobody takes it for a whole one.
            damaged = {"object": error.fact} if isinstance(error, ObjectDamaged) else {}
            self._log.warning("answer cut off", route=_route(request), code=error.code, **damaged)
            request.transport.abort()
        if _route(request) in self._page_paths:
            return self._pages.problem(request, error)
        return problem_response(error)

    @web.middleware
    async def _check_host(self, request: web.Request, handler: _Wrapped) -> web.StreamResponse:
        # A page of the web that lets its name resolve to 127.0.0.1 (DNS rebinding) still sends its own name.
        host = request.headers.get("Host", "")
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        if name.lower() not in _LOOPBACK_HOSTS | {self.address.host}:
            raise WrongHost
        return await handler(request)

    def _account(self, request: web.Request, status: int, seconds: float) -> None:
        route = _route(request)
        self._metrics.http_seconds.labels(route, str(status)).observe(seconds)
        say = self._log.debug if route in self._quiet else self._log.info
        say(
            "http",
            method=request.method if route != "none" else "?",
            route=route,
            status=status,
            seconds=round(seconds, 4),
        )


STARTED = web.RequestKey("started", bool)  # set by who streams an answer, before its first byte


@contextlib.asynccontextmanager
async def _while_open(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run ``work`` until the context ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def bind_tcp(listen: Address) -> socket.socket:
    """A listening socket on a loopback address.

    Raises:
        ApiNeedsTls: the address is not loopback.
        PortInUse, AddressUnavailable: somebody listens there, or the address is not this machine's.
    """
    host = loopback_host(listen)
    try:
        return socket.create_server((host, listen.port), family=_family(host), backlog=_BACKLOG)
    except OSError as exc:
        raise cannot_listen(str(listen), exc) from exc


def loopback_host(listen: Address) -> str:
    """The IP address of ``listen``; raises ApiNeedsTls if it is not loopback."""
    host = "127.0.0.1" if listen.host == "localhost" else listen.host
    try:
        if not ipaddress.ip_address(host).is_loopback:
            raise ApiNeedsTls(str(listen))
    except ValueError:
        raise ApiNeedsTls(str(listen)) from None
    return host


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _route(request: web.Request) -> str:
    """The route's template, never the path with its values."""
    resource = request.match_info.route.resource
    return "none" if resource is None else resource.canonical


async def _headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "leveret"
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")


def _place(error: BaseException) -> str:
    """The line of this program where a defect showed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}node{os.sep}" in frame.filename] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"


def _silent_logger() -> logging.Logger:
    logger = logging.Logger("leveret.api")  # noqa: LOG001 - outside the global tree on purpose: nobody can turn it on
    logger.addHandler(logging.NullHandler())
    return logger
