"""The staff's page about what patients ask to be corrected or completed."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.rest.access import CLINICAL
from node.api.routing import Call, Route
from node.api.web.pages import Pages, see_other
from node.errors.portal_pages import InvalidMessage
from node.model.message import MAX_TEXT, MessageKind, MessageOutcome
from node.sharing.portal.amendments import Amendments

AMENDMENTS = "/console/amendments"
KINDS = {
    MessageKind.CORRECTION: "Correction",
    MessageKind.AMENDMENT: "Something is missing",
    MessageKind.QUESTION: "Question",
}
OUTCOMES = {
    MessageOutcome.DONE: "Done as asked",
    MessageOutcome.DECLINED: "Declined",
    MessageOutcome.ANSWERED: "Answered",
}


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the patient reads."""

    outcome: MessageOutcome = MessageOutcome.ANSWERED
    text: Annotated[str, msgspec.Meta(max_length=2 * MAX_TEXT)] = ""


class AmendmentPages:
    """``/console/amendments``."""

    def __init__(self, pages: Pages, amendments: Amendments) -> None:
        self._pages = pages
        self._amendments = amendments

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("GET", AMENDMENTS, self.list, CLINICAL, "What patients ask to be corrected", page=True),
            Route("POST", f"{AMENDMENTS}/{{message}}", self.answer, CLINICAL, "Answer a patient", Answer, page=True),
        ]

    async def list(self, call: Call) -> web.StreamResponse:
        """What waits, or (``answered=1``) what was answered."""
        return await self._page(call)

    async def answer(self, call: Call) -> web.StreamResponse:
        """The patient reads it at once."""
        said: Answer = call.body
        name = call.parameter("message")
        try:
            await self._amendments.answer(name, said.outcome, said.text, by=call.caller.actor)
        except InvalidMessage:
            return await self._page(call, wrong=name, said=said)
        return see_other(f"{AMENDMENTS}?done=answered")

    async def _page(self, call: Call, *, wrong: str = "", said: Answer | None = None) -> web.StreamResponse:
        is_open = call.query("answered") != "1"
        found = await self._amendments.page(is_open=is_open, by=call.caller.actor)
        return self._pages.page(
            call, "console/portal/amendments.html", messages=found, is_open=is_open, kinds=KINDS, outcomes=OUTCOMES,
            done=call.query("done"), wrong=wrong, said=said or Answer(), status=400 if wrong else 200,
        )  # fmt: skip
