"""Requests of other facilities that wait for a person here."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import Window, cut
from node.api.rest.access import CLINICAL, OPERATION
from node.api.rest.patients import shown_person
from node.api.rest.shapes.sharing import InboxList, InboxRefused, InboxReleased, InboxShown
from node.api.routing import Call, Route
from node.errors.sharing import NoSuchRequest
from node.model.decide import ReviewReason
from node.model.ids import RequestId, StudyInstanceUID
from node.model.request import MAX_TARGETS
from node.sharing.inbox import MAX_REASON, Inbox, InboxEntry


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; it stays in this facility's audit log."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON)]


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the studies to release, by UID, and the reasons that were looked at; left out: as put up for review."""

    studies: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_TARGETS)] | None = None
    reasons: Annotated[tuple[str, ...], msgspec.Meta(max_length=len(ReviewReason))] | None = None


class InboxResource:
    """``inbox``."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = "/api/v1/inbox/{request_id}"
        return [
            Route(
                "GET",
                "/api/v1/inbox",
                self.list,
                CLINICAL,
                "Requests that wait for a person, oldest first",
                query=Window,
                answer=InboxList,
            ),
            Route(
                "POST",
                f"{one}/release",
                self.release,
                OPERATION,
                "Release what a request asks for, or a part",
                Release,
                answer=InboxReleased,
            ),
            Route("POST", f"{one}/refuse", self.refuse, OPERATION, "Refuse a request", Refusal, answer=InboxRefused),
        ]

    async def list(self, call: Call) -> InboxList:
        """What waits."""
        found, more = cut(call, await self._inbox.page())
        return {"requests": [_shown(entry) for entry in found], "next": more}

    async def release(self, call: Call) -> InboxReleased:
        """Yes."""
        wanted: Release = call.body
        request_id = named_request(call)
        chosen = None if wanted.studies is None else [StudyInstanceUID.parse(uid) for uid in wanted.studies]
        studies = await self._inbox.release(request_id, by=call.caller.actor, studies=chosen, reasons=wanted.reasons)
        return {"request_id": str(request_id), "state": "PERMITTED", "studies": list(studies)}

    async def refuse(self, call: Call) -> InboxRefused:
        """No."""
        refusal: Refusal = call.body
        request_id = named_request(call)
        await self._inbox.refuse(request_id, reason=refusal.reason, by=call.caller.actor)
        return {"request_id": str(request_id), "state": "REFUSED"}


def named_request(call: Call) -> RequestId:
    """The request in the path; raises NoSuchRequest for what is no id."""
    try:
        return RequestId.parse(call.parameter("request_id"))
    except ValueError as exc:
        raise NoSuchRequest from exc


def _shown(entry: InboxEntry) -> InboxShown:
    return {
        "request_id": str(entry.request_id),
        "peer_id": entry.peer.full,
        "user": entry.user,
        "role": entry.role,
        "purpose": entry.purpose,
        "consent": entry.consent.value,
        "patient": shown_person(entry.patient, entry.demographics),
        "said": shown_person(entry.said.patient, entry.said.demographics),
        "studies": list(entry.studies),
        "reasons": list(entry.reasons),
        "word": entry.word,
        "asked": entry.asked,
        "received_at": entry.received_at,
    }
