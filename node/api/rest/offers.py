"""Offers: studies that are sent without being asked for, in both directions."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import Window, cut
from node.api.rest.access import CLINICAL
from node.api.rest.patients import shown_person
from node.api.rest.shapes.sharing import OfferList, OfferRefused, OfferShown, RequestNamed
from node.api.routing import Call, Route
from node.errors.offers import NoSuchOffer
from node.model.ids import StudyInstanceUID
from node.model.offer import MAX_OFFER_REASON, MAX_OFFER_STUDIES, OfferId
from node.sharing.offers import Offers, OfferView
from node.sharing.trust import TrustList


class NewOffer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Own studies of one patient, to whom, and why; the patient's consent is recorded with it."""

    to: Annotated[str, msgspec.Meta(max_length=200)]
    studies: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_OFFER_STUDIES)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_OFFER_REASON)]


class OfferRefusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; the other facility is told."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_OFFER_REASON)]


class OffersResource:
    """``offers``."""

    def __init__(self, offers: Offers, trust: TrustList) -> None:
        self._offers = offers
        self._trust = trust

    def routes(self) -> Iterable[Route]:
        """The routes."""
        offers, one = "/api/v1/offers", "/api/v1/offers/{offer_id}"
        return [
            Route(
                "GET",
                offers,
                self.list,
                CLINICAL,
                "Offers in both directions, newest first",
                query=Window,
                answer=OfferList,
            ),
            Route("POST", offers, self.make, CLINICAL, "Offer studies to a peer", NewOffer, 201, answer=OfferShown),
            Route("POST", f"{one}/accept", self.accept, CLINICAL, "Take what was offered", answer=RequestNamed),
            Route(
                "POST",
                f"{one}/refuse",
                self.refuse,
                CLINICAL,
                "Refuse what was offered",
                OfferRefusal,
                answer=OfferRefused,
            ),
        ]

    async def list(self, call: Call) -> OfferList:
        """All."""
        found, more = cut(call, await self._offers.page())
        return {"offers": [_shown(view) for view in found], "next": more}

    async def make(self, call: Call) -> OfferShown:
        """A new one."""
        new: NewOffer = call.body
        studies = [StudyInstanceUID.parse(uid) for uid in new.studies]
        return _shown(await self._offers.make(self._trust.find(new.to), studies, new.reason, caller=call.caller))

    async def accept(self, call: Call) -> RequestNamed:
        """Yes: the request under which it comes."""
        return {"request_id": str(await self._offers.accept(_named(call), caller=call.caller))}

    async def refuse(self, call: Call) -> OfferRefused:
        """No."""
        refusal: OfferRefusal = call.body
        offer_id = _named(call)
        await self._offers.refuse(offer_id, refusal.reason, caller=call.caller)
        return {"offer_id": str(offer_id), "state": "REFUSED"}


def _named(call: Call) -> OfferId:
    try:
        return OfferId.parse(call.parameter("offer_id"))
    except ValueError as exc:
        raise NoSuchOffer from exc


def _shown(view: OfferView) -> OfferShown:
    offer, text = view.offer, view.text
    return {
        "offer_id": str(offer.offer_id),
        "direction": offer.direction.value,
        "peer_id": offer.peer.full,
        "state": offer.state.value,
        "reason": text.reason,
        "refusal": offer.reason,
        "user": text.user,
        "consent_id": str(offer.consent_id) if offer.consent_id else None,
        "request_id": str(offer.request_id) if offer.request_id else None,
        "created_at": offer.created_at,
        "expires_at": offer.expires_at,
        "code": offer.code,
        "patient": shown_person(text.patient, text.demographics),
        "studies": [
            {
                "study_instance_uid": study.study,
                "study_date": study.date,
                "modalities": list(study.modalities),
                "description": study.description,
                "instances": study.instances,
            }
            for study in text.studies
        ],
    }
