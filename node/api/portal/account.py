"""The account: ways to sign in, whose records it opens, who else acts for one, closing it."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any

import msgspec
from aiohttp import web

from node.api.cookies import clear_cookie
from node.api.portal.devices import device_name
from node.api.portal.enrol import ADD_RECORD, HOME, Letter
from node.api.portal.signin import verify_first
from node.api.rest.access import PATIENTS
from node.api.routing import Call, Route
from node.api.web.pages import Pages, see_other
from node.errors.access import InvalidInput, LockedOut, NotFound, Unauthenticated, WeakPassword
from node.errors.base import LeveretError
from node.errors.portal import (
    EnrolmentRefused,
    InvalidSignInName,
    LastCredential,
    SignInNameTaken,
    VerificationNeeded,
)
from node.model.access import Session
from node.model.portal import AccessId
from node.sharing.portal.accounts import Accounts
from node.sharing.portal.enrolment import Enrolment, account_of
from node.sharing.portal.passkeys import Passkeys
from node.sharing.portal.proxies import Proxies
from node.sharing.portal.records import Records

ACCOUNT = "/portal/account"
_Short = Annotated[str, msgspec.Meta(max_length=254)]
_Secret = Annotated[str, msgspec.Meta(max_length=1024)]
_Key = Annotated[str, msgspec.Meta(max_length=1400)]  # base64url of a credential's id


class Phrase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another sign-in name and passphrase."""

    name: _Short = ""
    passphrase: _Secret = ""
    again: _Secret = ""


class NamedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One passkey of the account, and what it is to be called."""

    key: _Key
    name: _Short = ""


class OneMoreKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A browser's answer."""

    flow: _Short
    credential: dict[str, Any]
    name: _Short = ""


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who acts for somebody."""

    access: _Short


class AccountPages:
    """``/portal/account`` and what is below it."""

    def __init__(
        self,
        pages: Pages,
        *,
        accounts: Accounts,
        enrolment: Enrolment,
        passkeys: Passkeys,
        proxies: Proxies,
        records: Records,
    ) -> None:
        self._pages = pages
        self._accounts = accounts
        self._enrolment = enrolment
        self._passkeys = passkeys
        self._proxies = proxies
        self._records = records

    def routes(self) -> Iterable[Route]:
        """The routes."""
        phrase, keys, people = f"{ACCOUNT}/passphrase", f"{ACCOUNT}/passkeys", f"{ACCOUNT}/people"
        close, mine = f"{ACCOUNT}/close", PATIENTS
        return [
            Route("GET", ACCOUNT, self.show, mine, "The patient's account", page=True),
            Route("GET", phrase, self.ask_phrase, mine, "The form for a passphrase", page=True),
            Route("POST", phrase, self.set_phrase, mine, "Another name and passphrase", Phrase, page=True),
            Route("POST", f"{phrase}/remove", self.remove_phrase, mine, "Sign in by passkey alone", page=True),
            Route("GET", f"{keys}/new", self.ask_key, mine, "The form for one more passkey", page=True),
            Route("POST", f"{keys}/options", self.options, mine, "Begin one more passkey"),
            Route("POST", keys, self.add_key, mine, "Keep one more passkey", OneMoreKey),
            Route("POST", f"{keys}/rename", self.rename_key, mine, "Call a passkey otherwise", NamedKey, page=True),
            Route("POST", f"{keys}/remove", self.remove_key, mine, "Remove a passkey", NamedKey, page=True),
            Route("POST", f"{people}/end", self.end, mine, "End what somebody does for a patient", Person, page=True),
            Route("GET", ADD_RECORD, self.ask_letter, mine, "Open a letter with this account", page=True),
            Route("POST", ADD_RECORD, self.add_letter, mine, "Add a letter to this account", Letter, page=True),
            Route("GET", close, self.ask_close, mine, "What closing the account means", page=True),
            Route("POST", close, self.close, mine, "Close the account", page=True),
        ]

    async def show(self, call: Call) -> web.StreamResponse:
        """All of it."""
        return await self._show(call)

    async def ask_phrase(self, call: Call) -> web.StreamResponse:
        """The form, after proof."""
        held = await self._accounts.held(account_of(call.caller))
        return self._if_fresh(call, lambda: self._phrase(call, held.account.sign_in_name))

    async def set_phrase(self, call: Call) -> web.StreamResponse:
        """Keep it."""
        said: Phrase = call.body
        try:
            if said.passphrase != said.again:
                return self._phrase(call, said.name, "again")
            await self._accounts.set_passphrase(session_of(call), said.name, said.passphrase)
        except (InvalidSignInName, SignInNameTaken):
            return self._phrase(call, said.name, "name")
        except WeakPassword:
            return self._phrase(call, said.name, "passphrase")
        except VerificationNeeded:
            return verify_first(f"{ACCOUNT}/passphrase")
        return see_other(f"{ACCOUNT}?done=passphrase")

    async def remove_phrase(self, call: Call) -> web.StreamResponse:
        """Only passkeys from now on."""
        return await self._changed(call, "removed", self._accounts.remove_passphrase(session_of(call)))

    async def ask_key(self, call: Call) -> web.StreamResponse:
        """The form, after proof."""
        device = device_name(call.request.headers.get("User-Agent", ""))
        page = "portal/account_passkey.html"
        available = self._passkeys.available
        return self._if_fresh(call, lambda: self._pages.page(call, page, device=device, passkeys=available))

    async def options(self, call: Call) -> object:
        """What the browser needs to make a passkey."""
        asked = await self._passkeys.ask_addition(session_of(call))
        return {"flow": asked.flow, "options": asked.options}

    async def add_key(self, call: Call) -> object:
        """Keep it."""
        said: OneMoreKey = call.body
        name = said.name.strip() or device_name(call.request.headers.get("User-Agent", ""))
        await self._passkeys.add(session_of(call), said.flow, said.credential, name=name)
        return {"next": f"{ACCOUNT}?done=passkey"}

    async def rename_key(self, call: Call) -> web.StreamResponse:
        """Keep the name."""
        said: NamedKey = call.body
        return await self._changed(
            call, "renamed", self._passkeys.rename(session_of(call), _credential(said.key), said.name)
        )

    async def remove_key(self, call: Call) -> web.StreamResponse:
        """It signs in no more."""
        said: NamedKey = call.body
        return await self._changed(call, "removed", self._passkeys.remove(session_of(call), _credential(said.key)))

    async def end(self, call: Call) -> web.StreamResponse:
        """Somebody acts for somebody no more."""
        try:
            access = AccessId.parse(call.body.access)
        except ValueError as exc:
            raise NotFound from exc
        return await self._changed(call, "ended", self._proxies.end_mine(session_of(call), access))

    async def ask_letter(self, call: Call) -> web.StreamResponse:
        """The form."""
        return self._letter(call, Letter())

    async def add_letter(self, call: Call) -> web.StreamResponse:
        """The letter's patient is one of this account's."""
        said: Letter = call.body
        try:
            await self._enrolment.join(
                account_of(call.caller), said.code, said.birth_date, place=call.request.remote or ""
            )
        except (EnrolmentRefused, LockedOut) as error:
            return self._letter(call, said, error)
        return see_other(f"{ACCOUNT}?done=letter")

    async def ask_close(self, call: Call) -> web.StreamResponse:
        """What it means, after proof."""
        return self._if_fresh(call, lambda: self._pages.page(call, "portal/account_close.html"))

    async def close(self, call: Call) -> web.StreamResponse:
        """For good, and signed out."""
        try:
            self._accounts.verified.require(call.session)
        except VerificationNeeded:
            return verify_first(f"{ACCOUNT}/close")
        await self._accounts.close(account_of(call.caller), by=call.caller.actor)
        answer = see_other(HOME)
        clear_cookie(call.request, answer)
        return answer

    async def _changed(self, call: Call, done: str, change: Awaitable[None]) -> web.StreamResponse:
        try:
            await change
        except VerificationNeeded:
            return verify_first(ACCOUNT)
        except LastCredential as error:
            return await self._show(call, error)
        return see_other(f"{ACCOUNT}?done={done}")

    async def _show(self, call: Call, error: LeveretError | None = None) -> web.Response:
        held = await self._accounts.held(account_of(call.caller))
        records = await self._records.records(call.caller)
        keys = [(_text(one.credential), one) for one in held.passkeys]
        return self._pages.page(
            call,
            "portal/account.html",
            status=200 if error is None else error.status,
            account=held.account,
            keys=keys,
            records=records,
            others=await self._proxies.of_mine(session_of(call)),
            done=call.query("done"),
            error=error,
        )

    def _if_fresh(self, call: Call, page: Callable[[], web.Response]) -> web.Response:
        return page() if self._accounts.verified.is_fresh(call.session) else verify_first(call.request.path)

    def _phrase(self, call: Call, name: str, wrong: str = "") -> web.Response:
        status = 400 if wrong else 200
        return self._pages.page(call, "portal/account_passphrase.html", status=status, name=name, wrong=wrong)

    def _letter(self, call: Call, said: Letter, error: LeveretError | None = None) -> web.Response:
        status = 200 if error is None else error.status
        return self._pages.page(call, "portal/enrol.html", status=status, said=said, error=error, action=ADD_RECORD)


def session_of(call: Call) -> Session:
    """The browser session; a patient has no other way in."""
    if call.session is None:
        raise Unauthenticated
    return call.session


def _text(credential: bytes) -> str:
    return base64.urlsafe_b64encode(credential).decode()


def _credential(text: str) -> bytes:
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidInput("key") from exc
