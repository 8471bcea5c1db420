"""The portal's first page; signing in and out; proving once more that it is you."""

from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from node.api.cookies import clear_cookie, read_cookie
from node.api.portal.enrol import HOME, enter
from node.api.portal.layout import safe_place
from node.api.rest.access import PATIENTS
from node.api.routing import ANONYMOUS, Call, Route
from node.api.web.pages import Pages, see_other
from node.errors.access import LockedOut, SignInBusy, Unauthenticated
from node.errors.base import LeveretError
from node.errors.portal import SignInRefused
from node.model.access import Role, Session
from node.sharing.portal.accounts import Accounts
from node.sharing.portal.enrolment import account_of
from node.sharing.portal.passkeys import Passkeys
from node.sharing.sessions import Sessions

SIGN_IN, SIGN_OUT, VERIFY, STUDIES = "/portal/signin", "/portal/sign-out", "/portal/verify", "/portal/studies"
_Short = Annotated[str, msgspec.Meta(max_length=254)]
_Secret = Annotated[str, msgspec.Meta(max_length=1024)]
_Place = Annotated[str, msgspec.Meta(max_length=400)]


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who, by what, and where to then."""

    name: _Short = ""
    passphrase: _Secret = ""
    next: _Place = HOME


class Verification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The passphrase once more, and where to then."""

    passphrase: _Secret = ""
    next: _Place = HOME


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty object: options are asked for, and nobody is known yet."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a browser's passkey says."""

    flow: _Short
    credential: dict[str, Any]
    next: _Place = HOME


class SignInPages:
    """``/portal/``, ``/portal/signin``, ``/portal/sign-out``, ``/portal/verify``."""

    def __init__(self, pages: Pages, accounts: Accounts, passkeys: Passkeys, sessions: Sessions) -> None:
        self._pages = pages
        self._accounts = accounts
        self._passkeys = passkeys
        self._sessions = sessions

    def routes(self) -> Iterable[Route]:
        """The routes."""
        in_by_key, again_by_key = f"{SIGN_IN}/passkey", f"{VERIFY}/passkey"
        return [
            Route("GET", "/portal", self.home, ANONYMOUS, "The portal", page=True),
            Route("GET", HOME, self.home, ANONYMOUS, "The portal's first page", page=True),
            Route("GET", SIGN_IN, self.ask, ANONYMOUS, "Sign in to the portal", page=True),
            Route("POST", SIGN_IN, self.sign_in, ANONYMOUS, "Sign in by passphrase", SignIn, page=True),
            Route("POST", f"{in_by_key}/options", self.options, ANONYMOUS, "Begin to sign in by passkey", Nothing),
            Route("POST", in_by_key, self.by_passkey, ANONYMOUS, "Sign in by passkey", Answer),
            Route("POST", SIGN_OUT, self.sign_out, PATIENTS, "Sign out of the portal", page=True),
            Route("GET", VERIFY, self.ask_again, PATIENTS, "Prove once more that it is you", page=True),
            Route("POST", VERIFY, self.verify, PATIENTS, "Prove it by passphrase", Verification, page=True),
            Route("POST", f"{again_by_key}/options", self.verify_options, PATIENTS, "Begin to prove it by passkey"),
            Route("POST", again_by_key, self.verify_passkey, PATIENTS, "Prove it by passkey", Answer),
        ]

    async def home(self, call: Call) -> web.StreamResponse:
        """Two ways in; who is signed in sees their images."""
        if _is_patient(call.session):
            return see_other(STUDIES)
        place = safe_place(call.query("next", HOME))
        return self._pages.page(call, "portal/start.html", next=place)

    async def ask(self, call: Call) -> web.StreamResponse:
        """The form; who is signed in already goes on."""
        place = safe_place(call.query("next", HOME))
        return see_other(place) if _is_patient(call.session) else self._form(call, "", place)

    async def sign_in(self, call: Call) -> web.StreamResponse:
        """A session for who knows the passphrase."""
        said: SignIn = call.body
        place = safe_place(said.next)
        try:
            issued = await self._accounts.sign_in(said.name, said.passphrase, place=call.request.remote or "")
        except (SignInRefused, LockedOut, SignInBusy) as error:
            return self._form(call, said.name, place, error)
        return await enter(call, self._sessions, issued, see_other(place))

    async def options(self, _call: Call) -> object:
        """What the browser needs to offer its passkeys."""
        asked = await self._passkeys.ask_sign_in()
        return {"flow": asked.flow, "options": asked.options}

    async def by_passkey(self, call: Call) -> web.StreamResponse:
        """A session for who has the passkey."""
        said: Answer = call.body
        issued = await self._passkeys.sign_in(said.flow, said.credential, place=call.request.remote or "")
        return await enter(call, self._sessions, issued, web.json_response({"next": safe_place(said.next)}))

    async def sign_out(self, call: Call) -> web.StreamResponse:
        """End the session."""
        cookie = read_cookie(call.request)
        if cookie is None:
            raise Unauthenticated
        await self._accounts.sign_out(call.caller, cookie)
        answer = see_other(HOME)
        clear_cookie(call.request, answer)
        return answer

    async def ask_again(self, call: Call) -> web.StreamResponse:
        """What this is about, and the ways to prove it."""
        return await self._again(call, safe_place(call.query("next", HOME)))

    async def verify(self, call: Call) -> web.StreamResponse:
        """By passphrase."""
        said: Verification = call.body
        place = safe_place(said.next)
        try:
            await self._accounts.verify(_session(call), said.passphrase)
        except (SignInRefused, LockedOut, SignInBusy) as error:
            return await self._again(call, place, error)
        return see_other(place)

    async def verify_options(self, call: Call) -> object:
        """What the browser needs to ask for a passkey of this account."""
        asked = await self._passkeys.ask_verification(_session(call))
        return {"flow": asked.flow, "options": asked.options}

    async def verify_passkey(self, call: Call) -> object:
        """By passkey."""
        said: Answer = call.body
        await self._passkeys.verify(_session(call), said.flow, said.credential)
        return {"next": safe_place(said.next)}

    async def _again(self, call: Call, place: str, error: LeveretError | None = None) -> web.Response:
        held = await self._accounts.held(account_of(call.caller))
        return self._pages.page(
            call,
            "portal/verify.html",
            status=200 if error is None else error.status,
            next=place,
            error=error,
            passkeys=bool(held.passkeys) and self._passkeys.available,
            passphrase=held.account.has_passphrase,
        )

    def _form(self, call: Call, name: str, place: str, error: LeveretError | None = None) -> web.Response:
        status = 200 if error is None else error.status
        return self._pages.page(
            call,
            "portal/signin.html",
            status=status,
            name=name,
            next=place,
            error=error,
            passkeys=self._passkeys.available,
        )


def verify_first(place: str) -> web.Response:
    """Off to prove that it is them, and back to ``place``."""
    return see_other(f"{VERIFY}?next={quote(place)}")


def _is_patient(session: Session | None) -> bool:
    return session is not None and session.caller.role is Role.PATIENT


def _session(call: Call) -> Session:
    """The browser session; a patient has no other way in."""
    if call.session is None:
        raise Unauthenticated
    return call.session
