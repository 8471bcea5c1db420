"""Pairing with another facility, step by step: invite or join, compare the safety phrase, confirm."""

import base64
import re
from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.console.operator.desk import Desk, settle
from node.api.rest.access import OPERATION
from node.api.routing import Call, Route
from node.api.web.qr import qr_svg
from node.errors.access import NotFound
from node.errors.base import LeveretError
from node.model.trust import Invitation, TrustState
from node.sharing.overview import Overview
from node.sharing.pairing import Pairing

_AREA, _PLACE = "peers", "/console/pairing"
_MAX_INVITATION = 32 * 1024  # characters; one has about 2000, more when an e-mail wrapped it
_SERVER_FAULT = 500
_DAY, _HOUR = 86_400, 3600
LIFETIMES = ((_HOUR, "one hour"), (_DAY, "one day"), (7 * _DAY, "a week"), (30 * _DAY, "30 days"))


class InviteForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long somebody may use it, and whether a person confirms afterwards."""

    expires_in: int = 7 * _DAY
    auto_confirm: bool = False


class JoinForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The text of an invitation, pasted or read out of the file."""

    invitation: Annotated[str, msgspec.Meta(max_length=_MAX_INVITATION)] = ""


class PairingPages:
    """``/console/pairing``."""

    def __init__(self, desk: Desk, pairing: Pairing, overview: Overview, *, name: str) -> None:
        """``name`` is this facility's."""
        self._desk = desk
        self._pairing = pairing
        self._overview = overview
        self._name = name

    def routes(self) -> Iterable[Route]:
        """The routes."""
        close = f"{_PLACE}/invitations/{{invitation}}/close"
        return [
            Route("GET", _PLACE, self.choose, OPERATION, "Invite or join", page=True),
            Route("GET", f"{_PLACE}/invite", self.ask_invite, OPERATION, "How to invite", page=True),
            Route("POST", f"{_PLACE}/invite", self.invite, OPERATION, "Make an invitation", InviteForm, page=True),
            Route("GET", f"{_PLACE}/waiting", self.waiting, OPERATION, "Who has joined", page=True, quiet=True),
            Route("GET", f"{_PLACE}/join", self.ask_join, OPERATION, "How to join", page=True),
            Route("POST", f"{_PLACE}/join", self.join, OPERATION, "Use an invitation", JoinForm, page=True),
            Route("POST", close, self.close, OPERATION, "Close an invitation", page=True),
        ]

    async def choose(self, call: Call) -> object:
        """Two ways, and what is under way."""
        invitations = [shown(one, self._desk.clock.now()) for one in await self._pairing.invitations()]
        return self._desk.page(
            call, "pairing.html", area=_AREA, invitations=invitations, pending=self._pending(), joined=None
        )

    async def ask_invite(self, call: Call) -> object:
        """The form."""
        return self._desk.page(call, "pairing_invite.html", area=_AREA, lifetimes=LIFETIMES, typed=InviteForm())

    async def invite(self, call: Call) -> object:
        """The invitation, shown this once: so the answer to the form is the page itself."""
        form: InviteForm = call.body
        try:
            made = await self._pairing.invite(
                seconds=form.expires_in, auto_confirm=form.auto_confirm, actor=call.caller.actor
            )
        except LeveretError as error:
            if error.status >= _SERVER_FAULT:
                raise
            return self._desk.page(
                call, "pairing_invite.html", area=_AREA, error=error, lifetimes=LIFETIMES, typed=form
            )
        return self._desk.page(
            call,
            "pairing_invited.html",
            area=_AREA,
            made=made,
            qr=qr_svg(made.text, title="The invitation as a QR code"),
            download=f"data:text/plain;base64,{base64.b64encode(made.text.encode()).decode()}",
            file_name=_file_name(self._name),
            pending=self._pending(),
        )

    async def waiting(self, call: Call) -> object:
        """The part of the page that looks who has joined, again and again."""
        return self._desk.pages.page(call, "console/operator/_pending.html", pending=self._pending())

    async def ask_join(self, call: Call) -> object:
        """The form."""
        return self._desk.page(call, "pairing_join.html", area=_AREA, typed="")

    async def join(self, call: Call) -> object:
        """The safety phrase, and what to do with it."""
        form: JoinForm = call.body
        try:
            joined = await self._pairing.join(form.invitation, actor=call.caller.actor)
        except LeveretError as error:  # the other facility may be away: what was pasted must not be lost
            return self._desk.page(call, "pairing_join.html", area=_AREA, error=error, typed=form.invitation)
        return self._desk.page(call, "pairing_joined.html", area=_AREA, peer=joined.peer, confirmed=joined.confirmed)

    async def close(self, call: Call) -> object:
        """Nobody can use it any more; one that was used meanwhile stays as it is."""
        try:
            invitation = bytes.fromhex(call.parameter("invitation"))
        except ValueError as exc:
            raise NotFound from exc
        work = self._pairing.withdraw(invitation)
        return await settle(work, to=_PLACE, what="invitation-withdrawn", otherwise=_PLACE)

    def _pending(self) -> list[object]:
        return [g.peer for g in self._overview.peers() if g.peer.state is TrustState.PENDING]


def shown(one: Invitation, now: int) -> dict[str, object]:
    """An invitation as the list has it; its secret is not in it."""
    state = "open" if one.is_open(now) else "used" if one.redeemed_by else "closed" if one.withdrawn else "expired"
    return {
        "id": one.invitation_id.hex(),
        "created_at": one.created_at,
        "expires_at": one.expires_at,
        "auto_confirm": one.auto_confirm,
        "redeemed_by": one.redeemed_by,
        "state": state,
    }


def _file_name(name: str) -> str:
    """What the browser calls the downloaded file."""
    return f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'leveret'}.invitation"
