"""The pages on which patients ask the facility for a correction or an amendment, and read what came of it."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.rest.access import PATIENTS
from node.api.routing import Call, Route
from node.api.web.pages import Pages, see_other
from node.errors.base import LeveretError
from node.errors.portal_pages import InvalidMessage, TooManyMessages
from node.model.message import MAX_TEXT, MessageKind, MessageOutcome
from node.sharing.portal.amendments import Amendments
from node.sharing.portal.gallery import Gallery
from node.sharing.portal.plain_words import Words, say

MESSAGES = "/portal/messages"
KINDS: dict[MessageKind, tuple[Words, Words]] = {
    MessageKind.CORRECTION: (say("Something is wrong"), say("For example a name, a date, the wrong side or person.")),
    MessageKind.AMENDMENT: (say("Something is missing"), say("For example a report, or images of yours.")),
    MessageKind.QUESTION: (say("I have a question"), say("About what is stored here. Medical questions: your doctor.")),
}
OUTCOMES: dict[MessageOutcome, tuple[Words, str]] = {
    MessageOutcome.DONE: (say("Done"), "ok"),
    MessageOutcome.DECLINED: (say("Not changed"), "bad"),
    MessageOutcome.ANSWERED: (say("Answered"), "info"),
}
_WRONG: dict[type[LeveretError], Words] = {
    InvalidMessage: say("Write what it is about, in 4000 characters at most."),
    TooManyMessages: say("Several of your messages wait for an answer. In a hurry, call the facility."),
}


class NewMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked, about whom and which study."""

    whose: Annotated[str, msgspec.Meta(max_length=64)] = ""
    study: Annotated[str, msgspec.Meta(max_length=64)] = ""
    kind: MessageKind = MessageKind.QUESTION
    text: Annotated[str, msgspec.Meta(max_length=2 * MAX_TEXT)] = ""


class MessagePages:
    """``/portal/messages``."""

    def __init__(self, pages: Pages, amendments: Amendments, gallery: Gallery) -> None:
        self._pages = pages
        self._amendments = amendments
        self._gallery = gallery

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("GET", MESSAGES, self.list, PATIENTS, "A patient's messages and their answers", page=True),
            Route("GET", f"{MESSAGES}/new", self.ask, PATIENTS, "Write to the facility", page=True),
            Route("POST", MESSAGES, self.send, PATIENTS, "Send a message to the facility", NewMessage, page=True),
        ]

    async def list(self, call: Call) -> web.StreamResponse:
        """All of them."""
        held = await self._gallery.studies(call.caller)
        names = {one.study.study_instance_uid: (one.name, one.study.date) for one in held}
        return self._pages.page(
            call, "portal/messages.html", messages=await self._amendments.mine(call.caller), names=names, kinds=KINDS,
            outcomes=OUTCOMES, done=call.query("done"),
        )  # fmt: skip

    async def ask(self, call: Call) -> web.StreamResponse:
        """The form."""
        return await self._form(call, NewMessage(study=call.query("study")))

    async def send(self, call: Call) -> web.StreamResponse:
        """Into the queue."""
        new: NewMessage = call.body
        held = await self._gallery.find(call.caller, new.study) if new.study else None
        whose = str(held.record.access.access_id) if held else new.whose
        study = held.study.study_instance_uid if held else None
        try:
            await self._amendments.send(call.caller, whose, new.kind, new.text, study)
        except (InvalidMessage, TooManyMessages) as error:
            return await self._form(call, new, error)
        return see_other(f"{MESSAGES}?done=sent")

    async def _form(self, call: Call, new: NewMessage, error: LeveretError | None = None) -> web.StreamResponse:
        return self._pages.page(
            call, "portal/message_new.html", form=new, kinds=KINDS, most=MAX_TEXT,
            studies=await self._gallery.studies(call.caller), records=await self._amendments.records(call.caller),
            wrong=None if error is None else _WRONG[type(error)], status=200 if error is None else error.status,
        )  # fmt: skip
