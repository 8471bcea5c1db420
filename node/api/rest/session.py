"""Who the caller is, and signing in and out with a browser."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.cookies import clear_cookie, read_cookie, set_cookie
from node.api.encoding import encode_json
from node.api.rest.access import EVERYBODY
from node.api.routing import ANONYMOUS, Call, Route
from node.errors.access import NoSession
from node.model.access import IssuedSession, Role, Scope
from node.sharing.hashing import MAX_PASSWORD
from node.sharing.sessions import Sessions
from node.sharing.users import Users

_ANYBODY_KNOWN = frozenset(Role)
_PATH = "/api/v1/session"


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name and password of a local user."""

    name: Annotated[str, msgspec.Meta(max_length=200)]
    password: Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD)]


class ChangedPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password so far, and the one from now on; every other session of the user ends."""

    old: Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD)]
    new: Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD)]


class ShownSession(msgspec.Struct, frozen=True):
    """The caller. ``csrf`` (null with a token): what unsafe requests by cookie repeat in X-CSRF-Token."""

    user: str
    role: Role
    scopes: list[Scope] | None
    csrf: str | None
    expires_at: int | None


class SessionResource:
    """``session``."""

    def __init__(self, users: Users, sessions: Sessions) -> None:
        self._users = users
        self._sessions = sessions

    def routes(self) -> Iterable[Route]:
        """The routes."""
        password = "Change one's own password"  # noqa: S105 - a summary
        return [
            Route("GET", _PATH, self.show, _ANYBODY_KNOWN, "Who the caller is", answer=ShownSession, any_scope=True),
            Route("POST", _PATH, self.sign_in, ANONYMOUS, "Sign in", SignIn, 201, answer=ShownSession),
            Route("DELETE", _PATH, self.sign_out, _ANYBODY_KNOWN, "Sign out", status=204, any_scope=True),
            Route("POST", f"{_PATH}/password", self.change, EVERYBODY, password, ChangedPassword, answer=ShownSession),
        ]

    async def show(self, call: Call) -> ShownSession:
        """Name and role of the caller."""
        caller, session = call.caller, call.session
        return ShownSession(
            caller.actor,
            caller.role,
            None if caller.scopes is None else sorted(caller.scopes),
            session.csrf if session else None,
            session.expires_at if session else None,
        )

    async def sign_in(self, call: Call) -> web.StreamResponse:
        """A session for who knows the password; a former one of this browser ends."""
        said: SignIn = call.body
        issued = await self._users.sign_in(said.name, said.password.encode())
        former = read_cookie(call.request)
        if former is not None:
            await self._sessions.close(former)
        return _entered(call.request, issued, status=201)

    async def sign_out(self, call: Call) -> web.StreamResponse:
        """End the session of the cookie."""
        cookie = read_cookie(call.request)
        if call.session is None or cookie is None:
            raise NoSession
        await self._users.sign_out(call.caller, cookie)
        answer = web.Response(status=204)
        clear_cookie(call.request, answer)
        return answer

    async def change(self, call: Call) -> web.StreamResponse:
        """Another password for the caller; this browser goes on with a new session."""
        if call.session is None:
            raise NoSession
        wanted: ChangedPassword = call.body
        issued = await self._users.change_password(call.caller, wanted.old.encode(), wanted.new.encode())
        return _entered(call.request, issued, status=200)


def _entered(request: web.Request, issued: IssuedSession, *, status: int) -> web.StreamResponse:
    session = issued.session
    shown = ShownSession(session.caller.actor, session.caller.role, None, session.csrf, session.expires_at)
    answer = web.Response(status=status, body=encode_json(shown), content_type="application/json")
    set_cookie(request, answer, issued)
    return answer
