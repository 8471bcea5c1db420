"""SMART Health Links that staff make for patients, at their wish: made, listed, taken back."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import MAX_OFFSET, Window, cut
from node.api.rest.access import CLINICAL
from node.api.rest.shapes.portal import HealthLinkList, HealthLinkMade, HealthLinkOpened, HealthLinkShown, HealthLinkTry
from node.api.routing import Call, Route
from node.clock import Clock
from node.errors.health_links import InvalidHealthLink, NoSuchHealthLink
from node.model.consent import DAY_SECONDS, PurposeOfUse
from node.model.directive import Scope
from node.model.health_link import (
    DEFAULT_LINK_DAYS,
    MAX_CONSENT,
    MAX_LABEL,
    MAX_LINK_STUDIES,
    MAX_PASSCODE,
    HealthLink,
    HealthLinkId,
    LinkOrder,
)
from node.model.ids import PatientKey, StudyInstanceUID
from node.sharing.health_links.keeping import HealthLinks

_SHORT = msgspec.Meta(min_length=1, max_length=64)  # DICOM's LO
_DATE = msgspec.Meta(pattern="^([0-9]{8})?$")


class NewHealthLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A link to make; ``expires_in`` in seconds, ``studies`` empty for all own ones of the patient, later ones too.

    ``consent`` says how staff know that the patient wants it: who heard it, or which form was signed.
    """

    patient_id: Annotated[str, _SHORT]
    consent: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CONSENT)]
    issuer: Annotated[str, _SHORT] | None = None
    studies: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_LINK_STUDIES)] = ()
    from_date: Annotated[str, _DATE] = ""
    to_date: Annotated[str, _DATE] = ""
    label: Annotated[str, msgspec.Meta(max_length=MAX_LABEL)] = ""
    passcode: Annotated[str, msgspec.Meta(max_length=MAX_PASSCODE)] = ""
    expires_in: Annotated[int, msgspec.Meta(le=MAX_OFFSET)] = DEFAULT_LINK_DAYS * DAY_SECONDS
    uses: Annotated[int, msgspec.Meta(le=MAX_OFFSET)] | None = None
    purpose: PurposeOfUse = PurposeOfUse.TREAT
    direct: bool = False


class HealthLinksResource:
    """``health-links``."""

    def __init__(self, links: HealthLinks, *, issuer: str, clock: Clock) -> None:
        """``issuer`` is this facility's Issuer of Patient ID, meant where none is said."""
        self._links = links
        self._issuer = issuer
        self._clock = clock

    def routes(self) -> Iterable[Route]:
        """The routes."""
        links = "/api/v1/health-links"
        one = f"{links}/{{link_id}}"
        return [
            Route(
                "POST",
                links,
                self.create,
                CLINICAL,
                "Make a health link for a patient",
                NewHealthLink,
                201,
                answer=HealthLinkMade,
            ),
            Route(
                "GET",
                links,
                self.list,
                CLINICAL,
                "Health links that were made, newest first",
                query=Window,
                answer=HealthLinkList,
            ),
            Route("GET", one, self.show, CLINICAL, "A health link, and who opened it", answer=HealthLinkOpened),
            Route("POST", f"{one}/revoke", self.revoke, CLINICAL, "Take a health link back", answer=HealthLinkShown),
        ]

    async def create(self, call: Call) -> HealthLinkMade:
        """A link, shown this once."""
        new: NewHealthLink = call.body
        if not new.consent.strip():
            raise InvalidHealthLink("consent")
        order = LinkOrder(
            patient=PatientKey(new.issuer or self._issuer, new.patient_id),
            scope=Scope(
                frozenset(StudyInstanceUID.parse(uid) for uid in new.studies),
                from_date=new.from_date,
                to_date=new.to_date,
            ),
            label=new.label.strip(),
            passcode=new.passcode,
            lifetime=new.expires_in,
            uses=new.uses,
            purpose=new.purpose,
            direct=new.direct,
            consent=new.consent.strip(),
        )
        made = await self._links.create(order, by=call.caller.actor)
        return {"shlink": made.shlink, "viewer_url": made.viewer_url, **self._shown(made.link)}

    async def list(self, call: Call) -> HealthLinkList:
        """All of them, without their text, which is not kept."""
        found, more = cut(call, await self._links.page())
        return {"health_links": [self._shown(link) for link in found], "next": more}

    async def show(self, call: Call) -> HealthLinkOpened:
        """One, with the attempts to open it, last first."""
        link_id = _link_id(call)
        link, accesses = await self._links.get(link_id), await self._links.accesses(link_id)
        tries: list[HealthLinkTry] = [
            {"at": one.at, "recipient": one.recipient, "outcome": one.outcome.value} for one in accesses
        ]
        return {**self._shown(link), "accesses": tries}

    async def revoke(self, call: Call) -> HealthLinkShown:
        """Nobody can open it any more, and what is open under it ends."""
        return self._shown(await self._links.revoke(_link_id(call), by=call.caller.actor))

    def _shown(self, link: HealthLink) -> HealthLinkShown:
        return {
            "link_id": str(link.link_id),
            "patient_id": link.patient.patient_id,
            "issuer_of_patient_id": link.patient.issuer,
            "state": link.state(self._clock.now()).value,
            "studies": sorted(link.scope.studies),
            "from_date": link.scope.from_date,
            "to_date": link.scope.to_date,
            "label": link.label,
            "purpose": link.purpose.value,
            "flags": "".join(sorted(link.flags)),
            "consent": link.consent,
            "created_at": link.created_at,
            "created_by": link.created_by,
            "expires_at": link.expires_at,
            "uses": link.uses,
            "used": link.used,
            "failures": link.failures,
            "remaining_attempts": link.remaining if link.has_passcode else None,
        }


def _link_id(call: Call) -> HealthLinkId:
    try:
        return HealthLinkId.parse(call.parameter("link_id"))
    except ValueError as exc:
        raise NoSuchHealthLink from exc
