"""The portal as staff handle it for one patient: the letter to print, accounts, who acts for whom, what is shown when.

A code is shown once, on the page that answers the form: it stands in no address and is not kept. The letter is in
English and in Spanish, for whoever prints it may not know what its reader speaks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.console.handles import Handles, PatientRef
from node.api.problem import problem_of
from node.api.rest.access import IMAGES
from node.api.routing import Call, Route
from node.api.web.languages import Languages
from node.api.web.pages import Pages, see_other
from node.api.web.qr import qr_svg
from node.errors.access import InvalidInput, NotFound
from node.errors.base import LeveretError
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.portal import AccessId, AccountId, PortalInvitationId, Relation, RulingKind, Scope
from node.sharing.portal.accounts import Accounts
from node.sharing.portal.enrolment import MAX_NAME, Enrolment, Letter, Order
from node.sharing.portal.proxies import Proxies
from node.sharing.portal.records import MAX_REASON, Records

_Id = Annotated[str, msgspec.Meta(max_length=64)]
_Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]


class Invitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom the letter is for: the patient, or a proxy called ``name``, until a day (YYYY-MM-DD)."""

    proxy: bool = False
    name: _Name = ""
    scope: Scope = Scope.SHARE
    until: Annotated[str, msgspec.Meta(max_length=10)] = ""


class Doing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done to what."""

    what: Annotated[str, msgspec.Meta(max_length=20)]
    id: _Id


class Ruling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the patient sees a study: released, held with a reason, or (empty) by the settings."""

    study: _Id
    ruling: Annotated[str, msgspec.Meta(max_length=20)] = ""
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""


@dataclass(frozen=True, slots=True)
class InviteParts:
    """What the pages work with."""

    pages: Pages
    languages: Languages
    enrolment: Enrolment
    accounts: Accounts
    proxies: Proxies
    records: Records
    patients: Handles[PatientRef]
    studies: Handles[StudyInstanceUID]


class PortalInvitePages:
    """``/console/patients/{patient}/portal``."""

    def __init__(self, parts: InviteParts) -> None:
        self._parts = parts

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = "/console/patients/{patient}/portal"
        return [
            Route("GET", one, self.show, IMAGES, "A patient's portal: accounts, letters, what is shown", page=True),
            Route("POST", one, self.invite, IMAGES, "Print a letter for the portal", Invitation, page=True),
            Route("POST", f"{one}/accounts", self.change, IMAGES, "Reset, close, end, take back", Doing, page=True),
            Route("POST", f"{one}/studies", self.rule, IMAGES, "Release or hold a study", Ruling, page=True),
        ]

    async def show(self, call: Call) -> web.StreamResponse:
        """All of it."""
        return await self._show(call)

    async def invite(self, call: Call) -> web.StreamResponse:
        """The letter, to be printed."""
        said: Invitation = call.body
        relation = Relation.PROXY if said.proxy else Relation.SELF
        order = Order(self._patient(call), relation, said.scope, said.name, _end_of(said.until))
        try:
            letter = await self._parts.enrolment.invite(order, by=call.caller.actor)
        except LeveretError as error:
            return await self._show(call, error)
        return self._letter(call, letter)

    async def change(self, call: Call) -> web.StreamResponse:
        """One thing; a reset answers with a letter."""
        said: Doing = call.body
        by = call.caller.actor
        self._patient(call)
        try:
            match said.what:
                case "reset":
                    held = await self._parts.accounts.held(AccountId.parse(said.id))
                    return self._letter(call, await self._parts.enrolment.reset(held.account, by=by))
                case "close":
                    await self._parts.accounts.close(AccountId.parse(said.id), by=by)
                case "end":
                    await self._parts.proxies.end(AccessId.parse(said.id), by=by)
                case "withdraw":
                    await self._parts.enrolment.withdraw(PortalInvitationId.parse(said.id), by=by)
                case _:
                    raise InvalidInput("what")
        except ValueError as exc:
            raise NotFound from exc
        except LeveretError as error:
            return await self._show(call, error)
        return see_other(call.request.path.removesuffix("/accounts"))

    async def rule(self, call: Call) -> web.StreamResponse:
        """When the patient sees a study."""
        said: Ruling = call.body
        self._patient(call)
        study = self._parts.studies.get(call.caller, said.study)
        try:
            kind = RulingKind(said.ruling) if said.ruling else None
            await self._parts.records.rule(study, kind, by=call.caller.actor, reason=said.reason)
        except ValueError as exc:
            raise InvalidInput("ruling") from exc
        except LeveretError as error:
            return await self._show(call, error)
        return see_other(call.request.path.removesuffix("/studies"))

    def _patient(self, call: Call) -> PatientKey:
        patient = self._parts.patients.get(call.caller, call.parameter("patient")).patient
        if patient is None:
            raise NotFound
        return patient

    async def _show(self, call: Call, error: LeveretError | None = None) -> web.Response:
        patient = self._patient(call)
        accounts, letters = await self._parts.accounts.of_patient((patient,), by=call.caller.actor)
        studies = [
            (self._parts.studies.put(call.caller, study.study_instance_uid), study, shown)
            for study, shown in await self._parts.records.shown_to(patient)
        ]
        return self._parts.pages.page(
            call,
            "console/portal.html",
            status=200 if error is None else error.status,
            handle=call.parameter("patient"),
            patient=patient,
            who=studies[0][1].demographics if studies else None,
            accounts=accounts,
            letters=[(one, one.state(self._parts.accounts.now())) for one in letters],
            studies=studies,
            now=self._parts.accounts.now(),
            problem=None if error is None else problem_of(error),
        )

    def _letter(self, call: Call, letter: Letter) -> web.Response:
        tongues = [self._parts.languages.named(language) for language, _ in self._parts.languages.offered]
        return self._parts.pages.page(
            call,
            "console/portal_letter.html",
            handle=call.parameter("patient"),
            letter=letter,
            is_proxy=letter.invitation.relation is Relation.PROXY,
            qr=qr_svg(letter.url, title="QR code"),
            address=letter.url.partition("#")[0],
            tongues=tongues,
        )


def _end_of(day: str) -> int | None:
    """The end of a day (UTC); raises InvalidInput."""
    if not day:
        return None
    try:
        start = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as exc:
        raise InvalidInput("until") from exc
    return int((start + timedelta(days=1)).timestamp())
