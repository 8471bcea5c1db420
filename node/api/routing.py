"""The table of routes: address, roles, body, handler; and the one wrapper that all handlers run in."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from node.api.encoding import encode_json
from node.api.problem import error_of_decoding
from node.errors.access import Forbidden, InvalidInput, TooLarge, Unauthenticated, UnsupportedMedia, UploadBroken
from node.model.access import Caller, Role

MAX_JSON_BYTES = 64 * 1024  # a request with 32 studies and demographics is below 8 KiB
READ_SECONDS = 60.0  # no byte of a body for that long: the sender is gone

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Call:
    """One request whose caller is known and may make it."""

    request: web.Request
    caller: Caller
    body: Any = None  # decoded into the route's ``body`` type

    def parameter(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

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


ANONYMOUS: frozenset[Role] = frozenset()
ACTOR = web.RequestKey("actor", str)  # who makes the request, once that is known
NOBODY = Caller("anonymous", Role.AUDITOR)  # for anonymous routes, which look at nobody


def wrap(route: Route, authenticate: Authenticate) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """An aiohttp handler: who is it, may they, what do they say; then the route's own handler."""

    async def handle(request: web.Request) -> web.StreamResponse:
        caller = NOBODY
        if route.roles:
            found = await authenticate(request)
            if found is None:
                raise Unauthenticated
            request[ACTOR] = found.actor
            if found.role not in route.roles:
                raise Forbidden
            caller = found
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise UnsupportedMedia("Content-Encoding")
        body = await read_json(request, route.body) if route.body is not None else None
        answer = await route.handler(Call(request, caller, body))
        if isinstance(answer, web.StreamResponse):
            return answer
        if answer is None:
            return web.Response(status=204)
        return web.Response(body=encode_json(answer), content_type="application/json", status=route.status)

    return handle


def aiohttp_routes(routes: Iterable[Route], authenticate: Authenticate) -> list[web.RouteDef]:
    """The table as aiohttp wants it."""
    return [web.route(r.method, r.path, wrap(r, authenticate)) for r in routes]


async def read_json(request: web.Request, kind: type[_T]) -> _T:
    """The body as a ``kind``; an empty body is an empty object.

    Raises:
        UnsupportedMedia, TooLarge, InvalidInput: another media type, too many bytes, another form.
    """
    raw = await read_body(request, MAX_JSON_BYTES)
    if raw and request.content_type != "application/json":
        raise UnsupportedMedia(request.content_type[:60])
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise error_of_decoding(exc) from exc


async def read_body(request: web.Request, limit: int) -> bytearray:
    """The whole body, at most ``limit`` bytes.

    Raises:
        TooLarge: there is more.
        UploadBroken: it stopped, or the connection did.
    """
    if (request.content_length or 0) > limit:
        raise TooLarge
    body = bytearray()
    while piece := await read_piece(request):
        if len(body) + len(piece) > limit:
            raise TooLarge
        body += piece
    return body


async def read_piece(request: web.Request) -> bytes:
    """The next bytes of the body, empty at its end; raises UploadBroken if none come."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await request.content.readany()
    except TimeoutError as exc:
        raise UploadBroken("no data for a minute") from exc
    except (ConnectionError, web.RequestPayloadError) as exc:
        raise UploadBroken from exc
