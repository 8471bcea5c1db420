"""Signing in and out, and where each role begins."""

import re
from collections.abc import Iterable
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.cookies import clear_cookie, read_cookie, set_cookie
from node.api.problem import problem_of
from node.api.rest.access import EVERYBODY
from node.api.routing import ANONYMOUS, Call, Route
from node.api.web.pages import Pages, see_other
from node.errors.access import LockedOut, Unauthenticated, WrongCredentials
from node.errors.base import LeveretError
from node.model.access import Role
from node.sharing.hashing import MAX_PASSWORD
from node.sharing.sessions import Sessions
from node.sharing.users import Users

BEGINNINGS = {
    Role.CLINICIAN: "/console/find",
    Role.OPERATOR: "/console/overview",
    Role.AUDITOR: "/console/audit",
}
HOME = "/console/"
# Where somebody may be sent after signing in: a plain path of this node. No second slash and no backslash at the
# beginning, which browsers take for another host; no dots alone, which they take for the way up.
_NEXT = re.compile(r"/(?:console|viewer)(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)*/?")
_MAX_NEXT = 500


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who, by what, and where to then."""

    user: Annotated[str, msgspec.Meta(max_length=200)] = ""
    password: Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD)] = ""
    next: Annotated[str, msgspec.Meta(max_length=_MAX_NEXT)] = ""


class LoginPages:
    """``/console/login``, ``/console/logout``, ``/console/`` and the page of help."""

    def __init__(self, pages: Pages, users: Users, sessions: Sessions) -> None:
        self._pages = pages
        self._users = users
        self._sessions = sessions

    def routes(self) -> Iterable[Route]:
        """The routes."""
        login = "/console/login"
        return [
            Route("GET", login, self.ask, ANONYMOUS, "The form to sign in", page=True),
            Route("POST", login, self.sign_in, ANONYMOUS, "Sign in", SignIn, page=True),
            Route("POST", "/console/logout", self.sign_out, EVERYBODY, "Sign out", page=True),
            Route("GET", "/console", self.home, EVERYBODY, "Where one's role begins", page=True),
            Route("GET", HOME, self.home, EVERYBODY, "Where one's role begins", page=True),
            Route("GET", "/console/help", self.help, EVERYBODY, "Help and keyboard shortcuts", page=True),
        ]

    async def ask(self, call: Call) -> web.StreamResponse:
        """The form; who is signed in already goes on."""
        place = local_place(call.query("next"))
        if call.session is not None and call.session.caller.role in BEGINNINGS:
            return see_other(place)
        return self._form(call, "", place)

    async def sign_in(self, call: Call) -> web.StreamResponse:
        """A session for who knows the password; the former session of this browser ends."""
        said: SignIn = call.body
        place = local_place(said.next)
        try:
            issued = await self._users.sign_in(said.user.strip(), said.password.encode())
        except (WrongCredentials, LockedOut) as error:
            return self._form(call, said.user, place, error)
        former = read_cookie(call.request)
        if former is not None:
            await self._sessions.close(former)
        answer = see_other(place)
        set_cookie(call.request, answer, issued)
        return answer

    async def sign_out(self, call: Call) -> web.StreamResponse:
        """End the session."""
        text = read_cookie(call.request)
        if text is None:
            raise Unauthenticated
        await self._users.sign_out(call.caller, text)
        answer = see_other("/console/login")
        clear_cookie(call.request, answer)
        return answer

    async def home(self, call: Call) -> web.StreamResponse:
        """Off to the page that the role works with."""
        return see_other(BEGINNINGS[call.caller.role])

    async def help(self, call: Call) -> web.StreamResponse:
        """What the pages can do."""
        return self._pages.page(call, "console/help.html")

    def _form(self, call: Call, user: str, place: str, error: LeveretError | None = None) -> web.Response:
        problem = None if error is None else problem_of(error)
        status = 200 if error is None else error.status
        return self._pages.page(call, "console/login.html", status=status, user=user, next=place, problem=problem)


def local_place(text: str) -> str:
    """``text`` if it is a page of this node that one may be sent to, else the beginning."""
    return text if len(text) <= _MAX_NEXT and _NEXT.fullmatch(text) else HOME
