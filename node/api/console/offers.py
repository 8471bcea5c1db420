"""Offers to other facilities, and what they offer here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.console.handles import Handles
from node.api.rest.access import IMAGES
from node.api.routing import Call, Route
from node.api.web.advice import words_of_error
from node.api.web.pages import Pages, see_other
from node.errors.base import LeveretError
from node.errors.offers import InvalidOffer, NoSuchOffer
from node.errors.storage import UnknownStudy
from node.model.ids import PeerId, StudyInstanceUID
from node.model.instance import StudySummary
from node.model.offer import MAX_OFFER_REASON, MAX_OFFER_STUDIES, OfferId
from node.model.trust import TrustState
from node.sharing.offers import Offers
from node.sharing.trust import TrustList
from node.store.objects import ObjectStore
from node.store.study_queries import StudyQuery

# A state in words, from the side of who offers and of who is offered, and the kind of its tag.
STATES = {
    "QUEUED": ("not told yet", "", "wait"),
    "OFFERED": ("waits for them", "waits for you", "wait"),
    "ACCEPTED": ("accepted", "accepted", "ok"),
    "REFUSED": ("refused", "refused", "bad"),
    "EXPIRED": ("expired", "expired", "plain"),
    "WITHDRAWN": ("taken back", "taken back", "plain"),
}
_MOST = 200  # studies of one patient to choose from


class NewOffer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which studies (opaque ids), to whom, why."""

    study: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_OFFER_STUDIES)] = ()
    to: Annotated[str, msgspec.Meta(max_length=200)] = ""
    reason: Annotated[str, msgspec.Meta(max_length=MAX_OFFER_REASON)] = ""
    first: Annotated[str, msgspec.Meta(max_length=64)] = ""


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; the other facility is told."""

    reason: Annotated[str, msgspec.Meta(max_length=MAX_OFFER_REASON)] = ""


@dataclass(frozen=True, slots=True)
class OfferPageParts:
    """What the pages work with."""

    pages: Pages
    offers: Offers
    trust: TrustList
    store: ObjectStore
    studies: Handles[StudyInstanceUID]


class OfferPages:
    """``/console/offers``."""

    def __init__(self, parts: OfferPageParts) -> None:
        self._parts = parts

    def routes(self) -> Iterable[Route]:
        """The routes."""
        offers, one = "/console/offers", "/console/offers/{offer_id}"
        return [
            Route("GET", offers, self.page, IMAGES, "Offers in both directions", page=True),
            Route("GET", f"{offers}/new", self.form, IMAGES, "The form to offer a study", page=True),
            Route("POST", f"{offers}/new", self.make, IMAGES, "Offer studies to a facility", NewOffer, page=True),
            Route("POST", f"{one}/accept", self.accept, IMAGES, "Take what was offered", page=True),
            Route("POST", f"{one}/refuse", self.refuse, IMAGES, "Refuse what was offered", Refusal, page=True),
        ]

    async def page(self, call: Call) -> web.StreamResponse:
        """All of them, newest first; what waits for a decision here stands above."""
        views = await self._parts.offers.page()
        waiting = [v for v in views if v.offer.direction.value == "in" and v.offer.state.value == "OFFERED"]
        names = {peer.peer_id: peer.name for peer in self._parts.trust.peers()}
        return self._parts.pages.page(
            call, "console/clinician/offers.html", views=views, waiting=waiting, names=names, states=STATES
        )

    async def form(self, call: Call) -> web.StreamResponse:
        """The form, for a study and the others of its patient."""
        first = call.query("study")
        return await self._form(call, NewOffer((first,), first=first))

    async def make(self, call: Call) -> web.StreamResponse:
        """Offer them."""
        said: NewOffer = call.body
        errors: list[tuple[str, str]] = []
        if not said.study:
            errors.append(("study", "Choose at least one study"))
        if not said.to:
            errors.append(("to", "Choose a facility"))
        if not said.reason.strip():
            errors.append(("reason", "Say why; the other facility reads it"))
        if errors:
            return await self._form(call, said, errors, status=422)
        studies = [self._parts.studies.get(call.caller, handle) for handle in said.study]
        try:
            await self._parts.offers.make(PeerId.parse(said.to), studies, said.reason, caller=call.caller)
        except LeveretError as error:
            words = words_of_error(error)
            return await self._form(call, said, [("", f"{words.title}. {words.advice}")], status=error.status)
        return see_other("/console/offers")

    async def accept(self, call: Call) -> web.StreamResponse:
        """Yes; it comes by a request."""
        return see_other(f"/console/requests/{await self._parts.offers.accept(_named(call), caller=call.caller)}")

    async def refuse(self, call: Call) -> web.StreamResponse:
        """No."""
        said: Refusal = call.body
        if not said.reason.strip():
            raise InvalidOffer("say why")
        await self._parts.offers.refuse(_named(call), said.reason.strip(), caller=call.caller)
        return see_other("/console/offers")

    async def _form(
        self, call: Call, said: NewOffer, errors: Sequence[tuple[str, str]] = (), *, status: int = 200
    ) -> web.Response:
        parts = self._parts
        own = await self._of_patient(parts.studies.get(call.caller, said.first))
        trusted = [peer for peer in parts.trust.peers() if peer.state is TrustState.TRUSTED]
        return parts.pages.page(
            call,
            "console/clinician/offer.html",
            status=status,
            said=said,
            rows=[(study, parts.studies.put(call.caller, study.study_instance_uid)) for study in own],
            facilities=[("", "Choose"), *((peer.peer_id.full, peer.name) for peer in trusted)],
            errors=list(errors),
            wrong=dict(errors),
        )

    async def _of_patient(self, uid: StudyInstanceUID) -> list[StudySummary]:
        """The facility's own studies of the patient of this one."""
        found = await self._parts.store.studies(StudyQuery(study_uids=(uid,), own=True))
        if not found:
            raise UnknownStudy
        return await self._parts.store.studies(StudyQuery(patients=(found[0].patient,), own=True, limit=_MOST))


def _named(call: Call) -> OfferId:
    try:
        return OfferId.parse(call.parameter("offer_id"))
    except ValueError as exc:
        raise NoSuchOffer from exc
