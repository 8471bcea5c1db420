"""Alerts by e-mail: where to, when, proving the address, and stopping them without signing in."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.portal.account import ACCOUNT
from node.api.rest.access import PATIENTS
from node.api.routing import ANONYMOUS, Call, Route
from node.api.web.pages import Pages, see_other
from node.errors.access import InvalidInput, LockedOut
from node.model.portal import AlertMode
from node.sharing.portal.alerts import Alerts
from node.sharing.portal.enrolment import account_of

ALERTS, STOP = f"{ACCOUNT}/alerts", "/portal/stop"
_Short = Annotated[str, msgspec.Meta(max_length=300)]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where and when."""

    mode: AlertMode
    address: _Short = ""


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stood in the mail."""

    code: _Short = ""


class AlertPages:
    """``/portal/account/alerts`` and ``/portal/stop``."""

    def __init__(self, pages: Pages, alerts: Alerts) -> None:
        self._pages = pages
        self._alerts = alerts

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("GET", ALERTS, self.show, PATIENTS, "Alerts by e-mail", page=True),
            Route("POST", ALERTS, self.choose, PATIENTS, "Choose alerts by e-mail", Wanted, page=True),
            Route("POST", f"{ALERTS}/code", self.confirm, PATIENTS, "Prove the address", Code, page=True),
            Route("GET", STOP, self.ask_stop, ANONYMOUS, "Stop alerts by e-mail", page=True),
            Route("POST", STOP, self.stop, ANONYMOUS, "Stop alerts by e-mail", Code, page=True),
        ]

    async def show(self, call: Call) -> web.StreamResponse:
        """What was chosen."""
        return await self._show(call)

    async def choose(self, call: Call) -> web.StreamResponse:
        """Keep it; a new address is sent a code first."""
        said: Wanted = call.body
        try:
            is_asked = await self._alerts.choose(account_of(call.caller), said.address, said.mode)
        except InvalidInput:
            return await self._show(call, "address", said.address)
        except LockedOut:
            return await self._show(call, "wait", said.address)
        return see_other(ALERTS if is_asked else f"{ACCOUNT}?done=alerts")

    async def confirm(self, call: Call) -> web.StreamResponse:
        """The code."""
        said: Code = call.body
        if await self._alerts.confirm(account_of(call.caller), said.code):
            return see_other(f"{ACCOUNT}?done=alerts")
        return await self._show(call, "code")

    async def ask_stop(self, call: Call) -> web.StreamResponse:
        """The text stands in the fragment of the mail's link; a script moves it into the form."""
        return self._pages.page(call, "portal/stop.html", done=False)

    async def stop(self, call: Call) -> web.StreamResponse:
        """No more mails, if there were any."""
        said: Code = call.body
        await self._alerts.stop(said.code)
        return self._pages.page(call, "portal/stop.html", done=True)

    async def _show(self, call: Call, wrong: str = "", address: str = "") -> web.Response:
        wish = await self._alerts.wish(account_of(call.caller))
        return self._pages.page(
            call,
            "portal/alerts.html",
            status=400 if wrong else 200,
            available=self._alerts.available,
            mailbox=wish.mailbox,
            waits=wish.waits,
            wrong=wrong,
            address=address or (wish.mailbox.address if wish.mailbox else ""),
        )
