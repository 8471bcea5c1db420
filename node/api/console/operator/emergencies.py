"""Releases by break-glass: what was said, what went out, and whether it was justified."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.console.operator.desk import Desk, back, done
from node.api.rest.access import OVERSIGHT
from node.api.rest.inbox import named_request
from node.api.routing import Call, Route
from node.errors.access import InvalidInput
from node.errors.base import LeveretError
from node.sharing.emergencies import MAX_NOTE, Emergencies

_AREA, _LIST = "inbox", "/console/emergencies"
_SERVER_FAULT = 500


class VerdictForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody found."""

    verdict: Annotated[str, msgspec.Meta(pattern=r"^(justified|unjustified)?\Z")] = ""
    note: Annotated[str, msgspec.Meta(max_length=MAX_NOTE)] = ""
    patient_told: bool = False


class EmergenciesPages:
    """``/console/emergencies``."""

    def __init__(self, desk: Desk, emergencies: Emergencies) -> None:
        self._desk = desk
        self._emergencies = emergencies

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{_LIST}/{{request_id}}"
        return [
            Route("GET", _LIST, self.list, OVERSIGHT, "Releases by break-glass", page=True),
            Route("POST", f"{one}/review", self.review, OVERSIGHT, "Judge one", VerdictForm, page=True),
        ]

    async def list(self, call: Call) -> object:
        """Those that nobody looked at yet, then all others."""
        return await self._list(call)

    async def review(self, call: Call) -> object:
        """The verdict stands."""
        form: VerdictForm = call.body
        if not form.verdict or not form.note.strip():
            return await self._list(call, error=InvalidInput("say whether it was justified, and what you looked at"))
        try:
            await self._emergencies.review(
                named_request(call),
                justified=form.verdict == "justified",
                note=form.note,
                patient_told=form.patient_told,
                by=call.caller.actor,
            )
        except LeveretError as error:
            if error.status >= _SERVER_FAULT:
                raise
            return back(_LIST, error)
        return done(_LIST, "reviewed")

    async def _list(self, call: Call, *, error: LeveretError | None = None) -> object:
        found = await self._emergencies.page(pending=False, by=call.caller.actor)
        waiting = [one for one in found if one.review.reviewed_at is None]
        judged = [one for one in found if one.review.reviewed_at is not None]
        return self._desk.page(
            call, "emergencies.html", area=_AREA, error=error, waiting=waiting, judged=judged, max_note=MAX_NOTE
        )
