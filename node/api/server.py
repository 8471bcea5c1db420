"""The two listeners of the local API and what surrounds every handler: Host check, errors, headers, access log."""

import asyncio
import contextlib
import os
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from aiohttp.typedefs import Middleware

from node.api import admin
from node.api.auth import SocketAuth, TcpAuth
from node.api.denials import Denial, Denials, place_of
from node.api.listener import KEEPALIVE_SECONDS, READ_BUFFER, Listener, bind_tcp, silent_logger
from node.api.problem import error_of_http, methods_of, problem_response
from node.api.reach import SECURE, Reach
from node.api.routing import ACTOR, MAX_JSON_BYTES, NOBODY, Authenticate, Route, aiohttp_routes
from node.api.web.pages import Pages
from node.clock import Clock
from node.crypto.web_tls import WebTls
from node.errors.access import UploadBroken, WrongHost
from node.errors.base import LeveretError
from node.errors.storage import ObjectDamaged
from node.log import Logger
from node.metrics import Metrics
from node.model.origin import is_loopback
from node.model.trust import Address
from node.sharing.audit import AuditLog
from node.sharing.health_links.keeping import HealthLinks
from node.sharing.idempotency import Idempotency
from node.sharing.sessions import Sessions
from node.sharing.tokens import Tokens
from node.sharing.users import Users

SHUTDOWN_SECONDS = 2.0  # for answers that are under way when the daemon stops
REFRESH_SECONDS = 10.0  # between looks whether the certificate was exchanged
HSTS = "max-age=31536000"
_FOR_PEOPLE = ("/console", "/portal")
_SERVER_FAULT = 500
_DENIED = frozenset({401, 403})

_Wrapped = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiServer:
    """Serves the table of routes on TCP and on the admin socket while its context is open.

    ``reach`` may name port 0; ``address`` says where it really listens.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        reach: Reach,
        tls: WebTls,
        directory: Path,
        users: Users,
        tokens: Tokens,
        idempotency: Idempotency,
        sessions: Sessions,
        links: HealthLinks,
        pages: Pages,
        audit: AuditLog,
        clock: Clock,
        metrics: Metrics,
        log: Logger,
    ) -> None:
        self._routes = routes
        self._reach = reach
        self._tls = reach.tls = tls if reach.is_tls else None
        self._directory = directory
        self._users = users
        self._tokens = tokens
        self._idempotency = idempotency
        self._sessions = sessions
        self._links = links
        self._running: dict[int, web.Request] = {}  # by identity: requests are mappings, and have no hash
        self._pages = pages
        self._page_paths = {r.template for r in routes if r.page}
        self._denials = Denials(audit, clock, log)
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._quiet = {r.template for r in routes if r.quiet}
        self._stack = contextlib.AsyncExitStack()
        self._address: Address | None = None

    @property
    def address(self) -> Address:
        """Where TCP callers reach it; only while it runs."""
        assert self._address is not None, "the server has not started"
        return self._address

    async def __aenter__(self) -> Self:
        """Take both addresses and serve; raises PortInUse, AddressUnavailable, WebTlsUnusable."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._idempotency)
            listening = bind_tcp(self._reach.listen)
            stack.callback(listening.close)
            host, port = listening.getsockname()[:2]
            self._address = Address(host, port)
            self._reach.bound(self._address)
            await self._serve_tcp(stack, listening)
            await stack.enter_async_context(_while_open(self._denials.run()))
            local = admin.bind(self._directory)
            stack.callback(local.close)
            stack.callback((self._directory / admin.ADMIN_SOCKET).unlink, missing_ok=True)
            runner = await self._runner(stack, self._routes, SocketAuth(self._users), middlewares=[self._surround])
            await web.SockSite(runner, local).start()
            self._stack = stack.pop_all()
        self._log.info("listening to people and local systems", component="api", address=str(self._address))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop listening, give running answers a moment."""
        await self._stack.aclose()

    def cut_off(self, actor: str) -> None:
        """End every answer that is on its way to ``actor``, who may see nothing any more."""
        for request in self._running.values():
            if request.get(ACTOR) == actor and request.transport is not None:
                request.transport.abort()

    async def _serve_tcp(self, stack: contextlib.AsyncExitStack, listening: socket.socket) -> None:
        tls = self._tls
        if tls is not None:
            await asyncio.to_thread(tls.refresh, self._reach.hosts, self._clock.now())
            await stack.enter_async_context(_while_open(self._watch_certificate(tls)))
        routes = [r for r in self._routes if not r.socket_only]
        authenticate = TcpAuth(self._tokens, self._sessions, self._links)
        listener = Listener(listening, (lambda: tls.context) if tls else None, self._clock, self._log)
        stack.callback(listener.abort_all)  # after the runner has given them a moment
        runner = await self._runner(stack, routes, authenticate, middlewares=[self._surround, self._check_host])
        await stack.enter_async_context(_while_open(listener.run(runner)))

    async def _watch_certificate(self, tls: WebTls) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                if await asyncio.to_thread(tls.refresh, self._reach.hosts, self._clock.now()):
                    self._log.info("another certificate is shown from now on", component="api")
            except LeveretError as error:  # half exchanged, perhaps: the former one goes on being shown
                self._log.warning("certificate not taken up", component="api", code=error.code)

    async def _runner(
        self,
        stack: contextlib.AsyncExitStack,
        routes: Sequence[Route],
        authenticate: Authenticate,
        *,
        middlewares: Sequence[Middleware],
    ) -> web.AppRunner:
        app = web.Application(middlewares=middlewares, client_max_size=MAX_JSON_BYTES)
        app.on_response_prepare.append(_headers)
        app.router.add_routes(aiohttp_routes(routes, authenticate, self._idempotency))
        runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            logger=silent_logger(),
            handler_cancellation=True,  # nobody reads the answer any more
            keepalive_timeout=KEEPALIVE_SECONDS,
            read_bufsize=READ_BUFFER,
            auto_decompress=False,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        return runner

    @web.middleware
    async def _surround(self, request: web.Request, handler: _Wrapped) -> web.StreamResponse:
        started = self._clock.monotonic()
        status = _SERVER_FAULT
        self._running[id(request)] = request
        try:
            answer = await self._answer(request, handler)
            status = answer.status
        finally:
            del self._running[id(request)]
            self._account(request, status, self._clock.monotonic() - started)
        return answer

    async def _answer(self, request: web.Request, handler: _Wrapped) -> web.StreamResponse:
        allowed = {}
        try:
            return await handler(request)
        except LeveretError as exc:
            error = exc
        except web.HTTPException as exc:
            error, allowed = error_of_http(exc), methods_of(exc)
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
        answer = self._problem(request, error)
        answer.headers.update(allowed)
        return answer

    def _problem(self, request: web.Request, error: LeveretError) -> web.StreamResponse:
        is_lost = request.match_info.http_exception is not None and request.path.startswith(_FOR_PEOPLE)
        if _route(request) in self._page_paths or (is_lost and "text/html" in request.headers.get("Accept", "")):
            return self._pages.problem(request, error)
        return problem_response(error)

    @web.middleware
    async def _check_host(self, request: web.Request, handler: _Wrapped) -> web.StreamResponse:
        if not self._reach.answers_to(request):
            raise WrongHost
        request[SECURE] = self._reach.is_secure(request)
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


def _route(request: web.Request) -> str:
    """The route's template, never the path with its values."""
    resource = request.match_info.route.resource
    return "none" if resource is None else resource.canonical


async def _headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "leveret"
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    if request.get(SECURE) and not is_loopback(request.host.partition(":")[0]):  # on localhost it would bind others too
        response.headers["Strict-Transport-Security"] = HSTS
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")


def _place(error: BaseException) -> str:
    """The line of this program where a defect showed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}node{os.sep}" in frame.filename] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"
