"""Enrolling: the code of a letter and a date of birth, then a passkey or a passphrase.

The QR code of a letter opens ``/portal/enrol#CODE``: the code stands in the fragment, which browsers send to no
server; a script moves it into the form and takes it out of the address. Without a script it is typed. What was proved
stays on the page as a ticket, good for a quarter of an hour, so that no code and no date stands in an address or a
cookie.
"""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from aiohttp import web

from node.api.cookies import read_cookie, set_cookie
from node.api.portal.devices import device_name
from node.api.routing import ANONYMOUS, Call, Route
from node.api.web.pages import Pages, see_other
from node.errors.access import LockedOut, WeakPassword
from node.errors.base import LeveretError
from node.errors.portal import EnrolmentRefused, InvalidSignInName, SignInNameTaken
from node.model.access import IssuedSession, Role
from node.model.portal import Relation
from node.sharing.portal.accounts import Accounts
from node.sharing.portal.enrolment import Enrolment, Proof
from node.sharing.portal.passkeys import Passkeys
from node.sharing.sessions import Sessions

ENROL = "/portal/enrol"
HOME = "/portal/"
ADD_RECORD = "/portal/account/add"
MAX_CREDENTIAL = 32 * 1024  # characters of a browser's answer
_Short = Annotated[str, msgspec.Meta(max_length=200)]
_Secret = Annotated[str, msgspec.Meta(max_length=1024)]


class Letter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in a letter, and what its reader knows. The date in parts: no calendar reaches back to 1931."""

    code: _Short = ""
    day: _Short = ""
    month: _Short = ""
    year: _Short = ""

    @property
    def birth_date(self) -> str:
        """As DA; a text that is no date of anybody if it is none."""
        parts = (self.year.strip(), self.month.strip(), self.day.strip())
        if not all(part.isascii() and part.isdigit() for part in parts):
            return ""
        year, month, day = (int(part[:4]) for part in parts)
        return f"{year:04}{month:02}{day:02}"


class NewPassphrase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How somebody wants to sign in."""

    ticket: _Short = ""
    name: _Short = ""
    passphrase: _Secret = ""
    again: _Secret = ""


class Ticket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks for the options of a new passkey."""

    ticket: _Short


class NewPasskey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A browser's answer."""

    ticket: _Short
    flow: _Short
    credential: dict[str, Any]
    name: _Short = ""


class EnrolPages:
    """``/portal/enrol`` and what is below it."""

    def __init__(
        self, pages: Pages, *, enrolment: Enrolment, accounts: Accounts, passkeys: Passkeys, sessions: Sessions
    ) -> None:
        self._pages = pages
        self._enrolment = enrolment
        self._accounts = accounts
        self._passkeys = passkeys
        self._sessions = sessions

    def routes(self) -> Iterable[Route]:
        """The routes."""
        by_key, by_phrase = f"{ENROL}/passkey", f"{ENROL}/passphrase"
        return [
            Route("GET", ENROL, self.ask, ANONYMOUS, "Open the letter of the portal", page=True),
            Route("POST", ENROL, self.prove, ANONYMOUS, "Code and date of birth", Letter, page=True),
            Route("GET", by_phrase, self.back, ANONYMOUS, "Open the letter of the portal", page=True),
            Route("POST", by_phrase, self.by_passphrase, ANONYMOUS, "Choose a passphrase", NewPassphrase, page=True),
            Route("POST", f"{by_key}/options", self.options, ANONYMOUS, "Begin a first passkey", Ticket),
            Route("POST", by_key, self.by_passkey, ANONYMOUS, "Keep a first passkey", NewPasskey),
        ]

    async def ask(self, call: Call) -> web.StreamResponse:
        """The form; who is signed in already adds to their account."""
        if call.session is not None and call.session.caller.role is Role.PATIENT:
            return see_other(ADD_RECORD)  # browsers keep the fragment
        return self._letter(call, Letter())

    async def back(self, _call: Call) -> web.StreamResponse:
        """Nothing stands here but the answer to a form: somebody changed the language on it."""
        return see_other(ENROL)

    async def prove(self, call: Call) -> web.StreamResponse:
        """Who has the letter and knows the date goes on to choose how to sign in."""
        said: Letter = call.body
        try:
            proof = await self._enrolment.prove(said.code, said.birth_date, place=call.request.remote or "")
        except (EnrolmentRefused, LockedOut) as error:
            return self._letter(call, said, error)
        return self._choice(call, proof)

    async def by_passphrase(self, call: Call) -> web.StreamResponse:
        """Keep name and passphrase, and sign in."""
        said: NewPassphrase = call.body
        try:
            if said.passphrase != said.again:
                return self._again(call, said, "again")
            language = self._pages.languages.of(call.request).language
            issued = await self._accounts.enrol(said.ticket, said.name, said.passphrase, language=language)
        except (InvalidSignInName, SignInNameTaken) as error:
            return self._again(call, said, "name", error)
        except WeakPassword as error:
            return self._again(call, said, "passphrase", error)
        except EnrolmentRefused as error:
            return self._letter(call, Letter(), error)
        return await self._enter(call, issued, see_other(HOME))

    async def options(self, call: Call) -> object:
        """What the browser needs to make a passkey."""
        asked = await self._passkeys.ask_enrolment(call.body.ticket)
        return {"flow": asked.flow, "options": asked.options}

    async def by_passkey(self, call: Call) -> web.StreamResponse:
        """Keep the passkey, and sign in."""
        said: NewPasskey = call.body
        language = self._pages.languages.of(call.request).language
        name = said.name.strip() or device_name(call.request.headers.get("User-Agent", ""))
        issued = await self._passkeys.enrol(said.ticket, said.flow, said.credential, name=name, language=language)
        return await self._enter(call, issued, web.json_response({"next": HOME}))

    async def _enter(self, call: Call, issued: IssuedSession, answer: web.Response) -> web.Response:
        return await enter(call, self._sessions, issued, answer)

    def _letter(self, call: Call, said: Letter, error: LeveretError | None = None) -> web.Response:
        status = 200 if error is None else error.status
        return self._pages.page(call, "portal/enrol.html", status=status, said=said, error=error, action=ENROL)

    def _choice(
        self, call: Call, proof: Proof, *, name: str = "", wrong: str = "", error: LeveretError | None = None
    ) -> web.Response:
        """How to sign in from now on; ``wrong`` names the field that must be filled in again."""
        return self._pages.page(
            call,
            "portal/enrol_choose.html",
            status=400 if wrong else 200,
            proof=proof,
            is_proxy=proof.relation is Relation.PROXY,
            passkeys=self._passkeys.available,
            device=device_name(call.request.headers.get("User-Agent", "")),
            name=name,
            wrong=wrong,
            error=error,
        )

    def _again(
        self, call: Call, said: NewPassphrase, wrong: str, error: LeveretError | None = None
    ) -> web.StreamResponse:
        """The form once more, if the ticket is still good."""
        try:
            proof = self._enrolment.known(said.ticket)
        except EnrolmentRefused as refused:
            return self._letter(call, Letter(), refused)
        return self._choice(call, proof, name=said.name, wrong=wrong, error=error)


async def enter(call: Call, sessions: Sessions, issued: IssuedSession, answer: web.Response) -> web.Response:
    """Give the browser its new session; the one it had ends."""
    former = read_cookie(call.request)
    if former is not None:
        await sessions.close(former)
    set_cookie(call.request, answer, issued)
    return answer
