"""Who makes a call: by bearer token (RFC 6750) or session cookie on TCP, by the kernel's word on the admin socket."""

import os
import socket
import struct

from aiohttp import web

from node.api.admin import AS_HEADER
from node.api.cookies import CSRF_FIELD, SESSION, read_cookie, require_own_page
from node.api.forms import FORM, form_fields
from node.api.multipart import MULTIPART, first_field
from node.errors.access import Forbidden, Unauthenticated
from node.model.access import Caller, Role
from node.sharing.health_links.keeping import TOKEN_PREFIX, HealthLinks
from node.sharing.sessions import Sessions
from node.sharing.tokens import Tokens
from node.sharing.users import Users

_UCRED = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)
_ROOT = 0


class TcpAuth:
    """Callers on TCP: the user of a bearer token, else whoever the session cookie says."""

    def __init__(self, tokens: Tokens, sessions: Sessions, links: HealthLinks) -> None:
        self._tokens = tokens
        self._sessions = sessions
        self._links = links

    async def __call__(self, request: web.Request) -> Caller | None:
        """The caller; None without token and cookie.

        Raises:
            Unauthenticated: a token or cookie that is no good.
            ForgedRequest: an unsafe method by cookie, without the session's CSRF token.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return await self._by_cookie(request)
        if scheme.lower() != "bearer":
            raise Unauthenticated
        token = token.strip()
        return await (self._links if token.startswith(TOKEN_PREFIX) else self._tokens).by_token(token)

    async def _by_cookie(self, request: web.Request) -> Caller | None:
        text = read_cookie(request)
        if text is None:
            return None
        session = await self._sessions.by_cookie(text)
        request[SESSION] = session

        async def of_form() -> str:
            if request.content_type == MULTIPART:
                return await first_field(request, CSRF_FIELD)
            if request.content_type != FORM:
                return ""
            return next((value for name, value in await form_fields(request) if name == CSRF_FIELD), "")

        await require_own_page(request, session, of_form)
        return session.caller


class SocketAuth:
    """Callers on the admin socket: the operating system's user, as an operator, or the user named by ``Leveret-As``."""

    def __init__(self, users: Users) -> None:
        self._users = users

    async def __call__(self, request: web.Request) -> Caller | None:
        """Who the kernel says is at the other end; raises Forbidden unless it is the daemon's own user or root."""
        uid = _peer_uid(request)
        if uid not in {os.geteuid(), _ROOT}:
            raise Forbidden
        name = request.headers.get(AS_HEADER)
        if name is None:
            return Caller(f"os:{uid}", Role.OPERATOR)
        user = await self._users.get(name)
        if user.disabled_at is not None:
            raise Forbidden("the user is disabled")
        return Caller(f"user:{user.name}", user.role)


def _peer_uid(request: web.Request) -> int:
    connection = request.get_extra_info("socket")
    if connection is None:
        raise Unauthenticated
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(raw)[1])
