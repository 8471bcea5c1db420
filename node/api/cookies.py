"""The session cookie, and proof that an unsafe request comes from a page of this node (CSRF).

Two things must hold for an unsafe method by cookie: the browser says that the page is of the same origin
(Sec-Fetch-Site, or Origin where it is missing), and the request repeats the session's CSRF token (header
``X-CSRF-Token``, or the form field ``csrf``).
"""

import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from node.api.reach import SECURE
from node.errors.access import ForgedRequest
from node.model.access import IssuedSession, Session

_COOKIE = "leveret_session"
_SECURE = "__Host-"  # over TLS: no other host and no plain connection can set it
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SAME_SITE = frozenset({"same-origin", "none"})  # none: typed into the address bar

SESSION = web.RequestKey("session", Session)  # of requests by cookie


def read_cookie(request: web.Request) -> str | None:
    """The session cookie's text."""
    return request.cookies.get(_name(request))


def set_cookie(request: web.Request, response: web.StreamResponse, issued: IssuedSession) -> None:
    """Give the browser a session. It forgets it when it is closed."""
    response.set_cookie(
        _name(request), issued.cookie, path="/", secure=is_secure(request), httponly=True, samesite="Lax"
    )


def clear_cookie(request: web.Request, response: web.StreamResponse) -> None:
    """Take the session from the browser."""
    response.del_cookie(_name(request), path="/", secure=is_secure(request), httponly=True, samesite="Lax")


def is_secure(request: web.Request) -> bool:
    """Whether the browser speaks TLS, with this listener or with a proxy before it."""
    return bool(request.get(SECURE))


def cookie_name(port: int, *, secure: bool = False) -> str:
    """What the cookie of a node that listens on ``port`` is called: browsers give it to every port of a host."""
    return f"{_SECURE if secure else ''}{_COOKIE}_{port}"


def _name(request: web.Request) -> str:
    arrived = request.get_extra_info("sockname")
    port = arrived[1] if isinstance(arrived, tuple) else 0  # no port: the admin socket, where cookies mean nothing
    return cookie_name(port, secure=is_secure(request))


def require_same_origin(request: web.Request) -> None:
    """Raises ForgedRequest if the browser says that another site's page sends this."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in _SAME_SITE:
            raise ForgedRequest
        return
    origin = request.headers.get("Origin")
    if origin is None:
        return
    said = urlsplit(origin)
    if said.netloc.lower() != request.host.lower() or (is_secure(request) and said.scheme != "https"):
        raise ForgedRequest


async def require_own_page(request: web.Request, session: Session, field: Callable[[], Awaitable[str]]) -> None:
    """``field`` reads the token of a form.

    Raises:
        ForgedRequest: an unsafe request by cookie that no page of this session made.
    """
    if request.method in SAFE_METHODS:
        return
    require_same_origin(request)
    said = request.headers.get(CSRF_HEADER, "")
    if not said:
        said = await field()
    if not hmac.compare_digest(said.encode("utf-8", "surrogateescape"), session.csrf.encode()):
        raise ForgedRequest
