"""The meter: its page, and what a clinician says of a completed request."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.rest.access import EVERYBODY, IMAGES
from node.api.rest.inbox import named_request
from node.api.routing import Call, Route
from node.api.web.pages import Pages, see_other
from node.clock import Clock
from node.errors.access import InvalidInput
from node.sharing.meter import LEAST_SPARED, MONTH_SECONDS, MOST_SPARED, SOURCES, Meter
from node.store.meter import Effect


class Changed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the prior changed; ``effect`` empty: nothing after all."""

    effect: Annotated[str, msgspec.Meta(max_length=20)] = ""
    examination: Annotated[str, msgspec.Meta(max_length=40)] = ""


class MeterPages:
    """``/console/meter``, and the answer to "what did it change?"."""

    def __init__(self, pages: Pages, meter: Meter, clock: Clock) -> None:
        self._pages = pages
        self._meter = meter
        self._clock = clock

    def routes(self) -> Iterable[Route]:
        """The routes."""
        changed = "/console/requests/{request_id}/changed"
        return [
            Route("GET", "/console/meter", self.show, EVERYBODY, "What fetching priors brought", page=True),
            Route("POST", changed, self.say, IMAGES, "Say what a fetched prior changed", Changed, page=True),
        ]

    async def show(self, call: Call) -> web.StreamResponse:
        """The last month and all time."""
        since = self._clock.now() - MONTH_SECONDS
        return self._pages.page(
            call,
            "console/clinician/meter.html",
            whole=await self._meter.read(),
            month=await self._meter.read(since),
            least=LEAST_SPARED,
            most=MOST_SPARED,
            sources=SOURCES,
        )

    async def say(self, call: Call) -> web.StreamResponse:
        """Write it down, or take it back."""
        said: Changed = call.body
        request_id = named_request(call)
        if not said.effect:
            await self._meter.take_back(request_id, by=call.caller.actor)
            return see_other(f"/console/requests/{request_id}")
        try:
            effect = Effect(said.effect)
        except ValueError as exc:
            raise InvalidInput("effect") from exc
        await self._meter.confirm(request_id, effect, said.examination, by=call.caller.actor)
        return see_other(f"/console/requests/{request_id}")
