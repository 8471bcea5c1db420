"""Requests that wait for a person: both identities side by side, why a person must look, and the decision."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from node.api.console.operator.desk import Desk, back, done, settle
from node.api.console.operator.words import MARKS
from node.api.rest.access import CLINICAL, OPERATION
from node.api.rest.inbox import named_request
from node.api.routing import Call, Route
from node.api.web.words import day, person, sex
from node.errors.access import InvalidInput
from node.errors.base import LeveretError
from node.errors.sharing import NoSuchRequest, RequestNotPending, ReviewChanged
from node.model.decide import ReviewReason
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.request import MAX_TARGETS
from node.sharing.inbox import MAX_REASON, Inbox, InboxEntry

_AREA, _LIST = "inbox", "/console/inbox"
_SERVER_FAULT = 500


class ReleaseForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The studies that were ticked, and the reasons that stood on the page."""

    studies: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_TARGETS)] = ()
    reasons: Annotated[tuple[str, ...], msgspec.Meta(max_length=len(ReviewReason))] = ()


class RefuseForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; it stays in this facility's audit log."""

    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the comparison. ``differs``: this is what a person must look at; ``agrees``: both say the same."""

    label: str
    theirs: str
    ours: str
    differs: bool
    agrees: bool


class InboxPages:
    """``/console/inbox``."""

    def __init__(self, desk: Desk, inbox: Inbox) -> None:
        self._desk = desk
        self._inbox = inbox

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{_LIST}/{{request_id}}"
        return [
            Route("GET", _LIST, self.list, CLINICAL, "Requests that wait for a person", page=True),
            Route("GET", one, self.show, CLINICAL, "Both identities side by side", page=True),
            Route("POST", f"{one}/release", self.release, OPERATION, "Release all or a part", ReleaseForm, page=True),
            Route("POST", f"{one}/refuse", self.refuse, OPERATION, "Refuse it", RefuseForm, page=True),
        ]

    async def list(self, call: Call) -> object:
        """What waits, oldest first."""
        return self._desk.page(call, "inbox.html", area=_AREA, entries=await self._inbox.page())

    async def show(self, call: Call) -> object:
        """One; one that was decided meanwhile leads back to the list."""
        try:
            return await self._show(call)
        except (NoSuchRequest, RequestNotPending) as error:
            return back(_LIST, error)

    async def release(self, call: Call) -> object:
        """Yes, to what was ticked."""
        form: ReleaseForm = call.body
        studies = [StudyInstanceUID.parse(uid) for uid in form.studies]
        request_id = named_request(call)
        try:
            await self._inbox.release(request_id, by=call.caller.actor, studies=studies, reasons=form.reasons)
        except ReviewChanged as error:
            return back(f"{_LIST}/{request_id}", error)
        except InvalidInput:
            return await self._show(call, error=InvalidInput("tick at least one study"))
        except LeveretError as error:
            if error.status >= _SERVER_FAULT:
                raise
            return back(_LIST, error)
        return done(_LIST, "released")

    async def refuse(self, call: Call) -> object:
        """No."""
        form: RefuseForm = call.body
        if not form.reason:
            return await self._show(call, error=InvalidInput("say why; it stays in this facility's audit log"))
        work = self._inbox.refuse(named_request(call), reason=form.reason, by=call.caller.actor)
        return await settle(work, to=_LIST, what="refused", otherwise=_LIST)

    async def _show(self, call: Call, error: LeveretError | None = None) -> object:
        entry = await self._inbox.one(named_request(call))
        return self._desk.page(
            call, "inbox_one.html", area=_AREA, error=error, entry=entry, lines=compare(entry), max_reason=MAX_REASON
        )


def compare(entry: InboxEntry) -> list[Line]:
    """The two identities line by line; what to look at is what the decision says, not what this page makes of it."""
    said, held = entry.said.demographics, entry.demographics
    pairs = (
        ("name", "Name", person(said.name) if said.name else "", person(held.name) if held.name else ""),
        ("birth_date", "Born", _day(said.birth_date), _day(held.birth_date)),
        ("sex", "Sex", sex(said.sex), sex(held.sex)),
        ("patient_id", "Patient id", _id(entry.said.patient), _id(entry.patient)),
        ("issuer", "Issued by", _issuer(entry.said.patient), _issuer(entry.patient)),
    )
    reasons = set(entry.reasons)
    return [
        Line(
            label,
            theirs,
            ours,
            bool(MARKS.get(name, frozenset()) & reasons),
            bool(theirs) and theirs == ours,
        )
        for name, label, theirs, ours in pairs
    ]


def _day(date: str) -> str:
    return day(date) if date else ""


def _id(patient: PatientKey | None) -> str:
    return patient.patient_id if patient else ""


def _issuer(patient: PatientKey | None) -> str:
    return patient.issuer if patient else ""
