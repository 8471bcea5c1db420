"""Who makes a call: by bearer token (RFC 6750) on TCP, by the kernel's word on the admin socket."""

import os
import socket
import struct

from aiohttp import web

from node.api.admin import AS_HEADER
from node.errors.access import Forbidden, Unauthenticated
from node.model.access import Caller, Role
from node.sharing.users import Users

_UCRED = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)
_ROOT = 0


class BearerAuth:
    """Callers on TCP."""

    def __init__(self, users: Users) -> None:
        self._users = users

    async def __call__(self, request: web.Request) -> Caller | None:
        """The user of the token; None without one. Raises Unauthenticated for one that is no good."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer":
            raise Unauthenticated
        return await self._users.by_token(token.strip())


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
