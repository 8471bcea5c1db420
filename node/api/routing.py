"""The table of routes: address, roles, body, handler; and the one wrapper that all handlers run in."""

import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from node.api.bodies import read_body
from node.api.cookies import SAFE_METHODS, SESSION, require_same_origin
from node.api.encoding import encode_json
from node.api.forms import read_form
from node.api.once import KEY_HEADER, once
from node.api.problem import error_of_decoding
from node.errors.access import Forbidden, InvalidInput, OutOfScope, Unauthenticated, UnsupportedMedia
from node.model.access import Caller, Role, Scope, Session
from node.sharing.idempotency import Idempotency

MAX_JSON_BYTES = 64 * 1024  # a request with 32 studies and demographics is below 8 KiB

_MONITORED = frozenset({"/metrics", "/api/v1/status"})
_PATTERN = re.compile(r"\{(\w+):[^{}]*\}")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Call:
    """One request whose caller is known and may make it."""

    request: web.Request
    caller: Caller
    body: Any = None  # decoded into the route's ``body`` type
    asked: Any = None  # the query, decoded into the route's ``query`` type

    def parameter(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

    @property
    def session(self) -> Session | None:
        """The browser session that makes the call; None for tokens and the admin socket."""
        return self.request.get(SESSION)

    def query(self, name: str, default: str = "") -> str:
        """A query parameter."""
        return self.request.query.get(name, default)

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number of the query, cut to ``most``; raises InvalidInput."""
        text = self.request.query.get(name, str(default))
        if not (text.isascii() and text.isdigit()):
            raise InvalidInput(name)
        return min(int(text[:18]), most)


# Returns what is to be encoded as JSON (None: 204), or a whole response.
Handler = Callable[[Call], Awaitable[object]]
Authenticate = Callable[[web.Request], Awaitable[Caller | None]]


@dataclass(frozen=True, slots=True)
class Route:
    """One address. ``roles`` empty: anybody, without a user."""

    method: str
    path: str
    handler: Handler
    roles: frozenset[Role]
    summary: str
    body: type[msgspec.Struct] | None = None
    status: int = 200
    socket_only: bool = False  # the admin socket's alone
    quiet: bool = False  # too frequent for the access log at its usual level
    anywhere: bool = False  # pages of other sites may call it, for it looks at no cookie
    page: bool = False  # for people: errors are pages, too, and who is not signed in is asked to
    query: type[msgspec.Struct] | None = None  # parameters of the query; None: the handler reads them itself
    answer: Any = None  # the type (struct or TypedDict) that `handler` returns, if that is JSON
    media: tuple[str, ...] = ()  # of an answer that is no JSON
    errors: tuple[int, ...] = ()  # statuses that can come beyond those of its method and address
    any_scope: bool = False  # a token needs no scope for it
    upload: bool = False  # the handler reads the body itself

    @property
    def is_idempotent(self) -> bool:
        """Whether an Idempotency-Key is heeded."""
        return self.method == "POST" and self.path.startswith("/api/v1/") and bool(self.roles) and not self.upload

    @property
    def scopes(self) -> frozenset[Scope]:
        """A token with scopes must have one of these."""
        if self.any_scope:
            return frozenset(Scope)
        if self.path in _MONITORED:
            return frozenset({Scope.MONITOR, Scope.READ})
        if self.path.startswith("/dicom-web"):
            return frozenset({Scope.IMAGES})
        if self.method in SAFE_METHODS:
            return frozenset({Scope.READ})
        return frozenset({Scope.SHARE if Role.CLINICIAN in self.roles else Scope.ADMIN})

    @property
    def template(self) -> str:
        """The address without its patterns, as logs, metrics and the audit log name it."""
        return _PATTERN.sub(r"{\1}", self.path)


_RAW = web.RequestKey("raw", bytearray)  # the body as it was read
ANONYMOUS: frozenset[Role] = frozenset()
ACTOR = web.RequestKey("actor", str)  # who makes the request, once that is known
NOBODY = Caller("anonymous", Role.AUDITOR)  # for anonymous routes, which look at nobody


def wrap(
    route: Route, authenticate: Authenticate, idempotency: Idempotency
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """An aiohttp handler: who is it, may they, what do they say; then the route's own handler."""

    async def handle(request: web.Request) -> web.StreamResponse:
        caller = NOBODY
        if not route.roles:
            await _greet(route, request, authenticate)
        else:
            found = await authenticate(request)
            if found is None:
                raise Unauthenticated
            request[ACTOR] = found.actor
            if found.role not in route.roles:
                raise Forbidden
            if found.scopes is not None and not found.scopes & route.scopes:
                raise OutOfScope(" or ".join(sorted(route.scopes)))
            caller = found
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise UnsupportedMedia("Content-Encoding")
        asked = None if route.query is None else _query_of(request, route.query)
        call = Call(request, caller, await _body_of(request, route), asked)
        if route.is_idempotent and KEY_HEADER in request.headers:
            raw = bytes(request.get(_RAW, b""))
            return await once(idempotency, request, caller, raw, lambda: _plain(route, call))
        return _response(route, await route.handler(call))

    return handle


async def _plain(route: Route, call: Call) -> web.Response:
    answer = _response(route, await route.handler(call))
    assert isinstance(answer, web.Response), "what is done once is answered whole"
    return answer


def _response(route: Route, answer: object) -> web.StreamResponse:
    if isinstance(answer, web.StreamResponse):
        return answer
    if answer is None:
        return web.Response(status=204)
    return web.Response(body=encode_json(answer), content_type="application/json", status=route.status)


def aiohttp_routes(routes: Iterable[Route], authenticate: Authenticate, idempotency: Idempotency) -> list[web.RouteDef]:
    """The table as aiohttp wants it."""
    return [web.route(r.method, r.path, wrap(r, authenticate, idempotency)) for r in routes]


async def _greet(route: Route, request: web.Request, authenticate: Authenticate) -> None:
    """What anybody may open: a page shows who is signed in; what changes something comes from a page of this node."""
    if route.anywhere:
        return
    if request.method not in SAFE_METHODS:
        require_same_origin(request)
    elif route.page:
        with contextlib.suppress(Unauthenticated):
            await authenticate(request)


async def _body_of(request: web.Request, route: Route) -> Any:
    if route.body is None:
        return None
    if route.page:
        return await read_form(request, route.body)
    return await read_json(request, route.body)


def _query_of(request: web.Request, kind: type[_T]) -> _T:
    if len(set(request.query)) != len(request.query):
        raise InvalidInput("a parameter twice")
    try:
        return msgspec.convert(dict(request.query), kind, strict=False)
    except msgspec.MsgspecError as exc:
        raise error_of_decoding(exc) from exc


async def read_json(request: web.Request, kind: type[_T]) -> _T:
    """The body as a ``kind``; an empty body is an empty object.

    Raises:
        UnsupportedMedia, TooLarge, InvalidInput: another media type, too many bytes, another form.
    """
    raw = request[_RAW] = await read_body(request, MAX_JSON_BYTES)
    if raw and request.content_type != "application/json":
        raise UnsupportedMedia(request.content_type[:60])
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise error_of_decoding(exc) from exc
