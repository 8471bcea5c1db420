"""Studies that move: between facilities, and to the PACS."""

from collections.abc import Iterable

from node.api.console.operator.desk import Desk, Question, back, settle
from node.api.console.operator.quarantine import pages_of
from node.api.rest.access import CLINICAL, EVERYBODY, OPERATION
from node.api.routing import Call, Route
from node.api.web.charts import Series, bars
from node.api.web.words import day, size
from node.errors.delivery import NoSuchDelivery
from node.errors.sharing import NoSuchTransfer
from node.model.delivery import DeliveryId
from node.model.ids import RequestId
from node.model.transfer import ENDED
from node.sharing.deliveries import Deliveries
from node.sharing.overview import Overview
from node.sharing.requests import Requests

_AREA, _TRANSFERS, _DELIVERIES = "transfers", "/console/transfers", "/console/operator/deliveries"
_PAGE = 50


class TransfersPages:
    """``/console/transfers``."""

    def __init__(self, desk: Desk, requests: Requests, overview: Overview) -> None:
        self._desk = desk
        self._requests = requests
        self._overview = overview

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{_TRANSFERS}/{{transfer_id}}"
        return [
            Route("GET", _TRANSFERS, self.list, EVERYBODY, "Transfers in both directions", page=True),
            Route("GET", one, self.show, EVERYBODY, "One transfer", page=True),
            Route("GET", f"{one}/cancel", self.ask_cancel, CLINICAL, "Ask before giving up", page=True),
            Route("POST", f"{one}/cancel", self.cancel, CLINICAL, "Give it up at both ends", page=True),
        ]

    async def list(self, call: Call) -> object:
        """Newest first, and what moved in the last days."""
        offset = call.number("from", 0, 10**9)
        found = await self._requests.transfers(limit=_PAGE + 1, offset=offset)
        days = await self._overview.moved()
        labels = [day(date.replace("-", "")).rpartition(" ")[0] for date, _, _ in days]
        series = [Series("received", "a", [one[1] for one in days]), Series("sent", "b", [one[2] for one in days])]
        return self._desk.page(
            call,
            "transfers.html",
            area=_AREA,
            found=found[:_PAGE],
            pager=pages_of(_TRANSFERS, offset, len(found), _PAGE),
            chart=bars("moved", "Images exchanged in the last two weeks", labels, series, size),
            days=[(day(date.replace("-", "")), size(came), size(went)) for date, came, went in reversed(days)],
            is_anything_moved=any(came or went for _, came, went in days),
        )

    async def show(self, call: Call) -> object:
        """One."""
        try:
            transfer = await self._requests.transfer(_transfer(call))
        except NoSuchTransfer as error:
            return back(_TRANSFERS, error)
        return self._desk.page(call, "transfer.html", area=_AREA, transfer=transfer, ended=transfer.state in ENDED)

    async def ask_cancel(self, call: Call) -> object:
        """At both ends."""
        place = f"{_TRANSFERS}/{_transfer(call)}"
        says = (
            "It ends at both facilities. What has arrived of it is discarded; it takes a new request to try again.",
        )
        question = Question("Give this transfer up?", says, "Cancel the transfer", f"{place}/cancel", place)
        return self._desk.ask(call, question, area=_AREA)

    async def cancel(self, call: Call) -> object:
        """An ended one stays as it is."""
        transfer_id = _transfer(call)
        work = self._requests.cancel(transfer_id, by=call.caller.actor)
        return await settle(work, to=f"{_TRANSFERS}/{transfer_id}", what="cancelled", otherwise=_TRANSFERS)


class DeliveriesPages:
    """``/console/deliveries``."""

    def __init__(self, desk: Desk, deliveries: Deliveries) -> None:
        self._desk = desk
        self._deliveries = deliveries

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{_DELIVERIES}/{{delivery_id}}"
        return [
            Route("GET", _DELIVERIES, self.list, OPERATION, "Studies sent to a PACS", page=True),
            Route("GET", one, self.show, OPERATION, "One delivery", page=True),
            Route("GET", f"{one}/cancel", self.ask_cancel, OPERATION, "Ask before giving up", page=True),
            Route("POST", f"{one}/cancel", self.cancel, OPERATION, "Give it up", page=True),
        ]

    async def list(self, call: Call) -> object:
        """Newest first."""
        offset = call.number("from", 0, 10**9)
        found = await self._deliveries.page(limit=_PAGE + 1, offset=offset)
        pager = pages_of(_DELIVERIES, offset, len(found), _PAGE)
        return self._desk.page(call, "deliveries.html", area=_AREA, found=found[:_PAGE], pager=pager)

    async def show(self, call: Call) -> object:
        """One, with the instances that were not simply taken."""
        try:
            delivery = await self._deliveries.view(_delivery(call))
            outcomes = await self._deliveries.outcomes(delivery.delivery_id, limit=_PAGE)
        except NoSuchDelivery as error:
            return back(_DELIVERIES, error)
        troubled = [one for one in outcomes if one.code or one.status]
        return self._desk.page(call, "delivery.html", area=_AREA, delivery=delivery, troubled=troubled)

    async def ask_cancel(self, call: Call) -> object:
        """What the PACS has it keeps."""
        place = f"{_DELIVERIES}/{_delivery(call)}"
        says = ("Nothing more is sent. What the PACS has already, it keeps.",)
        question = Question("Give this delivery up?", says, "Cancel the delivery", f"{place}/cancel", place)
        return self._desk.ask(call, question, area=_AREA)

    async def cancel(self, call: Call) -> object:
        """An ended one stays as it is."""
        delivery_id = _delivery(call)
        work = self._deliveries.cancel(delivery_id, by=call.caller.actor)
        place = f"{_DELIVERIES}/{delivery_id}"
        return await settle(work, to=place, what="delivery-cancelled", otherwise=_DELIVERIES)


def _transfer(call: Call) -> RequestId:
    try:
        return RequestId.parse(call.parameter("transfer_id"))
    except ValueError as exc:
        raise NoSuchTransfer from exc


def _delivery(call: Call) -> DeliveryId:
    try:
        return DeliveryId.parse(call.parameter("delivery_id"))
    except ValueError as exc:
        raise NoSuchDelivery from exc
