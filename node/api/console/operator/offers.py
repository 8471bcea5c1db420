"""Studies that are sent without being asked for: what others offer, and what became of this facility's own offers."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.console.operator.desk import Desk, Question, settle
from node.api.rest.access import OPERATION
from node.api.routing import Call, Route
from node.errors.offers import NoSuchOffer
from node.model.offer import MAX_OFFER_REASON, OfferId, OfferState
from node.model.transfer import Direction
from node.sharing.offers import Offers

_AREA, _LIST = "inbox", "/console/operator/offers"


class RefusalForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; the other facility is told."""

    reason: Annotated[str, msgspec.Meta(max_length=MAX_OFFER_REASON)] = ""


class OffersPages:
    """``/console/offers``."""

    def __init__(self, desk: Desk, offers: Offers) -> None:
        self._desk = desk
        self._offers = offers

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{_LIST}/{{offer_id}}"
        return [
            Route("GET", _LIST, self.list, OPERATION, "Offers in both directions", page=True),
            Route("POST", f"{one}/accept", self.accept, OPERATION, "Take what was offered", page=True),
            Route("GET", f"{one}/refuse", self.ask_refuse, OPERATION, "Ask for the reason", page=True),
            Route("POST", f"{one}/refuse", self.refuse, OPERATION, "Refuse it", RefusalForm, page=True),
        ]

    async def list(self, call: Call) -> object:
        """Those to decide, then all others."""
        views = await self._offers.page()
        waiting = [v for v in views if (v.offer.direction, v.offer.state) == (Direction.IN, OfferState.OFFERED)]
        others = [v for v in views if v not in waiting]
        return self._desk.page(call, "offers.html", area=_AREA, waiting=waiting, others=others[:200])

    async def accept(self, call: Call) -> object:
        """Yes."""
        work = self._offers.accept(_named(call), caller=call.caller)
        return await settle(work, to=_LIST, what="offer-accepted", otherwise=_LIST)

    async def ask_refuse(self, call: Call) -> object:
        """With a reason."""
        return self._ask(call)

    async def refuse(self, call: Call) -> object:
        """No."""
        form: RefusalForm = call.body
        if not form.reason.strip():
            return self._ask(call)
        work = self._offers.refuse(_named(call), form.reason, caller=call.caller)
        return await settle(work, to=_LIST, what="offer-refused", otherwise=_LIST)

    def _ask(self, call: Call) -> object:
        place = f"{_LIST}/{_named(call)}/refuse"
        says = ("The images do not come. The other facility reads your reason.",)
        question = Question("Refuse this offer?", says, "Refuse the offer", place, _LIST, reason="Why")
        return self._desk.ask(call, question, area=_AREA)


def _named(call: Call) -> OfferId:
    try:
        return OfferId.parse(call.parameter("offer_id"))
    except ValueError as exc:
        raise NoSuchOffer from exc
