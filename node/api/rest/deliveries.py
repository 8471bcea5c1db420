"""Sending studies to a PACS: ordered, watched, given up."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import Window, cut, given, part
from node.api.rest.access import CLINICAL
from node.api.rest.events import EVENTS, answer_events
from node.api.rest.shapes.sharing import DeliveredList, DeliveredShown, DeliveryList, DeliveryNamed, DeliveryShown
from node.api.routing import Call, Route
from node.errors.access import InvalidInput
from node.errors.base import all_codes
from node.errors.delivery import NoSuchDelivery
from node.model.delivery import Delivery, DeliveryId, InstanceOutcome, Sent
from node.model.ids import RequestId, StudyInstanceUID
from node.sharing.deliveries import Deliveries, DeliveryOrder


class NewDelivery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Send ``study`` to the DICOM system ``pacs``; ``accession``: under this local accession number."""

    study: Annotated[str, msgspec.Meta(max_length=64)]
    pacs: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    accession: Annotated[str, msgspec.Meta(max_length=16)] = ""


class WhichDeliveries(Window, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All, or those of one ``request``."""

    request: Annotated[str, msgspec.Meta(max_length=64)] | msgspec.UnsetType = msgspec.UNSET


class WhichInstances(Window, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All, or those of one ``outcome``."""

    outcome: Sent | msgspec.UnsetType = msgspec.UNSET


class DeliveriesResource:
    """``deliveries``."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    def routes(self) -> Iterable[Route]:
        """The routes."""
        deliveries, one = "/api/v1/deliveries", "/api/v1/deliveries/{delivery_id}"
        return [
            Route(
                "GET",
                deliveries,
                self.list,
                CLINICAL,
                "Studies sent to a PACS, newest first",
                query=WhichDeliveries,
                answer=DeliveryList,
            ),
            Route(
                "POST",
                deliveries,
                self.order,
                CLINICAL,
                "Send a study to a PACS",
                NewDelivery,
                201,
                answer=DeliveryNamed,
            ),
            Route("GET", one, self.show, CLINICAL, "How a delivery stands", answer=DeliveryShown),
            Route(
                "GET",
                f"{one}/instances",
                self.instances,
                CLINICAL,
                "What became of its instances",
                query=WhichInstances,
                answer=DeliveredList,
            ),
            Route(
                "GET",
                f"{one}/events",
                self.events,
                CLINICAL,
                "The same as an event stream, until it is settled",
                media=EVENTS,
            ),
            Route("POST", f"{one}/cancel", self.cancel, CLINICAL, "Give a delivery up", answer=DeliveryShown),
        ]

    async def list(self, call: Call) -> DeliveryList:
        """A page of all, or of those of one request."""
        asked: WhichDeliveries = call.asked
        request = given(asked.request)
        if request is None:
            found, more = part(call, await self._deliveries.page(limit=asked.ahead, offset=asked.offset))
        else:
            try:
                found, more = cut(call, await self._deliveries.of_request(RequestId.parse(request)))
            except ValueError as exc:
                raise InvalidInput("request") from exc
        return {"deliveries": [_shown(delivery) for delivery in found], "next": more}

    async def order(self, call: Call) -> DeliveryNamed:
        """Order one."""
        new: NewDelivery = call.body
        order = DeliveryOrder(study=StudyInstanceUID.parse(new.study), pacs=new.pacs, accession=new.accession)
        return {"delivery_id": str(await self._deliveries.order(order, by=call.caller.actor))}

    async def show(self, call: Call) -> DeliveryShown:
        """One."""
        return _shown(await self._deliveries.view(_named(call)))

    async def instances(self, call: Call) -> DeliveredList:
        """Its instances, or those of one outcome."""
        asked: WhichInstances = call.asked
        outcome = given(asked.outcome)
        kinds = [] if outcome is None else [outcome]
        outcomes = await self._deliveries.outcomes(_named(call), kinds=kinds, limit=asked.ahead, offset=asked.offset)
        found, more = part(call, outcomes)
        return {"instances": [_shown_instance(outcome) for outcome in found], "next": more}

    async def events(self, call: Call) -> object:
        """Server-sent events: the delivery now and after each change."""
        delivery_id = _named(call)
        await self._deliveries.view(delivery_id)  # an unknown one is refused before the stream begins
        return await answer_events(call, self._deliveries.follow(delivery_id), _shown)

    async def cancel(self, call: Call) -> DeliveryShown:
        """Give it up."""
        return _shown(await self._deliveries.cancel(_named(call), by=call.caller.actor))


def _shown(delivery: Delivery) -> DeliveryShown:
    error = all_codes().get(delivery.code)
    return {
        "delivery_id": str(delivery.delivery_id),
        "study_instance_uid": delivery.study,
        "pacs": delivery.pacs,
        "request_id": str(delivery.request_id) if delivery.request_id else None,
        "patient_id": delivery.patient.patient_id if delivery.patient else None,
        "issuer_of_patient_id": delivery.patient.issuer if delivery.patient else None,
        "state": delivery.state,
        "code": delivery.code,
        "advice": error.advice if error and delivery.code else "",
        "sent": delivery.counts.get(Sent.SENT, 0),
        "warning": delivery.counts.get(Sent.WARNING, 0),
        "refused": delivery.counts.get(Sent.REFUSED, 0),
        "not_convertible": delivery.counts.get(Sent.NOT_CONVERTIBLE, 0),
        "instances_done": delivery.instances_done,
        "instances_total": delivery.instances_total,
        "bytes_done": delivery.bytes_done,
        "bytes_total": delivery.bytes_total,
        "ordered_by": delivery.ordered_by,
        "created_at": delivery.created_at,
        "updated_at": delivery.updated_at,
        "ended": delivery.settled,
    }


def _shown_instance(outcome: InstanceOutcome) -> DeliveredShown:
    return {
        "sop_instance_uid": outcome.instance,
        "outcome": outcome.outcome,
        "status": None if outcome.status is None else f"{outcome.status:04X}",
        "code": outcome.code,
        "transfer_syntax_uid": outcome.syntax or None,
        "converted": outcome.converted,
        "bytes": outcome.size,
    }


def _named(call: Call) -> DeliveryId:
    try:
        return DeliveryId.parse(call.parameter("delivery_id"))
    except ValueError as exc:
        raise NoSuchDelivery from exc
