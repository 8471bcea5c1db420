"""Requests of this facility, and deliveries to PACS: lists, and each with its progress as it happens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from node.api.console.handles import Handles, PatientRef
from node.api.console.live import answer_pieces
from node.api.console.priors import examined
from node.api.rest.access import IMAGES
from node.api.rest.inbox import named_request
from node.api.routing import Call, Route
from node.api.web.advice import words_of
from node.api.web.pages import Pages, see_other
from node.errors.delivery import NoSuchDelivery
from node.model.delivery import Delivery, DeliveryId
from node.model.doses import OTHER, TYPICAL_DOSES, likely
from node.model.ids import PeerId, StudyInstanceUID
from node.model.instance import StudySummary
from node.sharing.deliveries import Deliveries
from node.sharing.meter import Meter
from node.sharing.requests import Requests, RequestView, SentView
from node.sharing.trust import TrustList
from node.store.objects import ObjectStore
from node.store.study_queries import StudyQuery

PAGE = 25
_MAX_OFFSET = 1_000_000

# A state in words, the kind of its tag, and how far along the way it is: asked, released, on its way, here.
STATES: Mapping[str, tuple[str, str, int]] = {
    "QUEUED": ("asked, waiting for an answer", "wait", 1),
    "REVIEW": ("a person there is looking at it", "wait", 1),
    "AUTHORIZED": ("released, about to come", "info", 2),
    "TRANSFERRING": ("on its way", "info", 3),
    "SUSPENDED": ("interrupted, goes on by itself", "wait", 3),
    "VERIFYING": ("checking what came", "info", 3),
    "COMPLETED": ("here", "ok", 4),
    "REFUSED": ("refused", "bad", 0),
    "FAILED": ("not completed", "bad", 0),
}
DELIVERY_STATES: Mapping[str, tuple[str, str]] = {
    "EXPECTED": ("waits for the study to come", "wait"),
    "UNLINKED": ("waits until the study is linked to a local patient", "wait"),
    "QUEUED": ("about to be sent", "info"),
    "SENDING": ("being sent", "info"),
    "SUSPENDED": ("the system cannot be reached, goes on by itself", "wait"),
    "COMPLETED": ("taken by the system", "ok"),
    "INCOMPLETE": ("ended, some images were not taken", "bad"),
    "FAILED": ("not sent", "bad"),
    "CANCELLED": ("given up", "plain"),
}


@dataclass(frozen=True, slots=True)
class RequestParts:
    """What the pages work with."""

    pages: Pages
    requests: Requests
    deliveries: Deliveries
    trust: TrustList
    store: ObjectStore
    patients: Handles[PatientRef]
    studies: Handles[StudyInstanceUID]
    meter: Meter


class RequestPages:
    """``/console/requests`` and ``/console/deliveries``."""

    def __init__(self, parts: RequestParts) -> None:
        self._parts = parts

    def routes(self) -> Iterable[Route]:
        """The routes."""
        requests, one = "/console/requests", "/console/requests/{request_id}"
        deliveries, delivery = "/console/deliveries", "/console/deliveries/{delivery_id}"
        return [
            Route("GET", requests, self.page, IMAGES, "Requests of this facility", page=True),
            Route("GET", one, self.show, IMAGES, "How a request stands", page=True),
            Route("GET", f"{one}/events", self.events, IMAGES, "The same as it happens"),
            Route("POST", f"{one}/cancel", self.cancel, IMAGES, "Give a request up", page=True),
            Route("GET", deliveries, self.deliveries, IMAGES, "Studies sent to a PACS", page=True),
            Route("GET", delivery, self.delivery, IMAGES, "How a delivery stands", page=True),
            Route("GET", f"{delivery}/events", self.delivery_events, IMAGES, "The same as it happens"),
        ]

    async def page(self, call: Call) -> web.StreamResponse:
        """A page of requests, newest first."""
        offset = call.number("from", 0, _MAX_OFFSET)
        found = await self._parts.requests.sent_page(limit=PAGE + 1, offset=offset)
        values: dict[str, Any] = {
            "rows": found[:PAGE],
            "names": self._names(),
            "states": STATES,
            "previous": f"?from={max(offset - PAGE, 0)}" if offset else "",
            "next": f"?from={offset + PAGE}" if len(found) > PAGE else "",
        }
        return self._parts.pages.page(call, "console/clinician/requests.html", **values)

    async def show(self, call: Call) -> web.StreamResponse:
        """One."""
        sent = await self._parts.requests.sent(named_request(call))
        studies = await self._arrived(sent.view)
        values = self._values(call, sent, sent.view) | {
            "is_live": False,
            "studies": [(study, self._parts.studies.put(call.caller, study.study_instance_uid)) for study in studies],
            "said": await self._parts.meter.said_of(sent.asked.request_id),
            "doses": TYPICAL_DOSES,
            "examinations": [(key, dose.words) for key, dose in TYPICAL_DOSES.items()],
            "likely": likely(examined(studies[0])) if studies else OTHER,
        }
        return self._parts.pages.page(call, "console/clinician/request.html", **values)

    async def events(self, call: Call) -> web.StreamResponse:
        """Its state, as often as it changes; when it has ended the page is loaded once more."""
        request_id = named_request(call)
        sent = await self._parts.requests.sent(request_id)

        def values(view: RequestView) -> dict[str, Any]:
            return self._values(call, sent, view) | {"is_live": True}

        follow = self._parts.requests.follow(request_id)
        return await answer_pieces(call, self._parts.pages, "console/clinician/progress.html", follow, values)

    async def cancel(self, call: Call) -> web.StreamResponse:
        """Give it up; what had come is discarded."""
        request_id = named_request(call)
        await self._parts.requests.sent(request_id)
        await self._parts.requests.cancel(request_id, by=call.caller.actor)
        return see_other(f"/console/requests/{request_id}")

    async def deliveries(self, call: Call) -> web.StreamResponse:
        """A page of deliveries, newest first."""
        offset = call.number("from", 0, _MAX_OFFSET)
        found = await self._parts.deliveries.page(limit=PAGE + 1, offset=offset)
        values: dict[str, Any] = {
            "rows": found[:PAGE],
            "states": DELIVERY_STATES,
            "previous": f"?from={max(offset - PAGE, 0)}" if offset else "",
            "next": f"?from={offset + PAGE}" if len(found) > PAGE else "",
        }
        return self._parts.pages.page(call, "console/clinician/deliveries.html", **values)

    async def delivery(self, call: Call) -> web.StreamResponse:
        """One."""
        found = await self._parts.deliveries.view(_named_delivery(call))
        return self._parts.pages.page(call, "console/clinician/delivery.html", **self._delivery_values(call, found))

    async def delivery_events(self, call: Call) -> web.StreamResponse:
        """Its state, as often as it changes."""
        delivery_id = _named_delivery(call)
        await self._parts.deliveries.view(delivery_id)

        def values(view: Delivery) -> dict[str, Any]:
            return self._delivery_values(call, view)

        follow = self._parts.deliveries.follow(delivery_id)
        return await answer_pieces(call, self._parts.pages, "console/clinician/delivery_progress.html", follow, values)

    def _delivery_values(self, call: Call, found: Delivery) -> dict[str, Any]:
        study = self._parts.studies.put(call.caller, found.study) if found.study else ""
        words = words_of(found.code) if found.code else None
        return {"delivery": found, "state": DELIVERY_STATES[found.state.value], "study": study, "words": words}

    def _names(self) -> Mapping[PeerId, str]:
        return {peer.peer_id: peer.name for peer in self._parts.trust.peers()}

    async def _arrived(self, view: RequestView) -> list[StudySummary]:
        uids = view.transfer.studies
        return (
            await self._parts.store.studies(StudyQuery(study_uids=uids)) if uids and view.state == "COMPLETED" else []
        )

    def _values(self, call: Call, sent: SentView, view: RequestView) -> dict[str, Any]:
        subject = sent.asked.subject
        has_subject = subject.patient is not None or bool(subject.demographics.name)
        ref = PatientRef(subject.patient) if subject.patient else PatientRef(None, subject.demographics)
        words, tag, reached = STATES[view.state]
        return {
            "sent": sent,
            "view": view,
            "state": words,
            "tag": tag,
            "reached": reached,
            "facility": self._names().get(sent.asked.holder, sent.asked.holder.short),
            "words": words_of(view.code) if view.code else None,
            "patient": self._parts.patients.put(call.caller, ref) if has_subject else "",
            "request_id": str(view.request_id),
        }


def _named_delivery(call: Call) -> DeliveryId:
    try:
        return DeliveryId.parse(call.parameter("delivery_id"))
    except ValueError as exc:
        raise NoSuchDelivery from exc
