"""What contradicts what is held: both sides, and what becomes of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.api.console.operator.desk import Desk, Question, back, settle
from node.api.rest.access import OPERATION
from node.api.routing import Call, Route
from node.api.web.words import number, person, size
from node.errors.lifecycle import UnknownQuarantined
from node.model.quarantine import Acceptance
from node.sharing.quarantine import Comparison, Quarantine
from node.store.quarantine import Quarantined

_AREA, _LIST = "inbox", "/console/quarantine"
_MAX_DIGITS = 18
_PAGE = 100

_ACCEPTING = {
    Acceptance.REPLACE: "It takes the place of what is held, in a new revision of the study; whoever has that is told.",
    Acceptance.FILE: "It joins its study, under the patient that the study has here.",
    Acceptance.IMPOSSIBLE: "It cannot be accepted: there is no place where it would contradict nothing.",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One fact of both sides."""

    label: str
    held: str
    aside: str

    @property
    def differs(self) -> bool:
        """Whether they are not the same."""
        return self.held != self.aside


class QuarantinePages:
    """``/console/quarantine``."""

    def __init__(self, desk: Desk, quarantine: Quarantine) -> None:
        self._desk = desk
        self._quarantine = quarantine

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{_LIST}/{{number}}"
        return [
            Route("GET", _LIST, self.list, OPERATION, "What was put aside", page=True),
            Route("GET", one, self.show, OPERATION, "Both sides of a contradiction", page=True),
            Route("GET", f"{one}/accept", self.ask_accept, OPERATION, "Ask before accepting", page=True),
            Route("POST", f"{one}/accept", self.accept, OPERATION, "Put it in the place of what is held", page=True),
            Route("GET", f"{one}/discard", self.ask_discard, OPERATION, "Ask before shredding", page=True),
            Route("POST", f"{one}/discard", self.discard, OPERATION, "Shred it", page=True),
        ]

    async def list(self, call: Call) -> object:
        """Last first."""
        offset = call.number("from", 0, 10**9)
        found = await self._quarantine.page(limit=_PAGE + 1, offset=offset)
        return self._desk.page(
            call, "quarantine.html", area=_AREA, found=found[:_PAGE], pager=pages_of(_LIST, offset, len(found))
        )

    async def show(self, call: Call) -> object:
        """Both sides; one that was decided meanwhile leads back to the list."""
        try:
            comparison = await self._quarantine.inspect(_number(call), by=call.caller.actor)
        except UnknownQuarantined as error:
            return back(_LIST, error)
        return self._desk.page(
            call,
            "quarantine_one.html",
            area=_AREA,
            c=comparison,
            lines=_lines(comparison),
            accepting=_ACCEPTING[comparison.acceptance],
            can_accept=comparison.acceptance is not Acceptance.IMPOSSIBLE,
        )

    async def ask_accept(self, call: Call) -> object:
        """Is it right?"""
        return await self._ask(
            call, "Accept it?", ("What was held so far is hidden, not shredded.",), "Accept", "accept"
        )

    async def accept(self, call: Call) -> object:
        """It is."""
        work = self._quarantine.accept(_number(call), by=call.caller.actor)
        return await settle(work, to=_LIST, what="quarantine-accepted", otherwise=_LIST)

    async def ask_discard(self, call: Call) -> object:
        """Is it wrong?"""
        says = ("Its key is destroyed: nobody can read it again. What is held stays as it is.",)
        return await self._ask(call, "Shred it?", says, "Shred for good", "discard")

    async def discard(self, call: Call) -> object:
        """It is."""
        work = self._quarantine.discard(_number(call), by=call.caller.actor)
        return await settle(work, to=_LIST, what="quarantine-discarded", otherwise=_LIST)

    async def _ask(self, call: Call, title: str, says: Sequence[str], label: str, what: str) -> object:
        place = f"{_LIST}/{_number(call)}"
        try:
            comparison = await self._quarantine.inspect(_number(call), by=call.caller.actor)
        except UnknownQuarantined as error:
            return back(_LIST, error)
        if what == "accept":
            says = (_ACCEPTING[comparison.acceptance], *says)
        facts = (("Patient", person(comparison.aside.meta.header.demographics.name)), ("Number", str(_number(call))))
        return self._desk.ask(call, Question(title, says, label, f"{place}/{what}", place, facts), area=_AREA)


def pages_of(place: str, offset: int, found: int, page: int = _PAGE) -> tuple[str, str]:
    """Addresses of the page before and the one after; one more than ``page`` was asked for to know."""
    before = f"{place}?from={max(0, offset - page)}" if offset else ""
    return before, f"{place}?from={offset + page}" if found > page else ""


def _number(call: Call) -> int:
    text = call.parameter("number")
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise UnknownQuarantined
    return int(text)


def _lines(c: Comparison) -> list[Line]:
    ours = _facts(c.aside)
    held = ["" for _ in ours]
    if c.held is not None:
        header = c.held.header
        held = [
            person(header.demographics.name), header.patient.patient_id, header.patient.issuer, header.modality,
            header.study_instance_uid, header.series_instance_uid, header.transfer_syntax_uid,
            f"{number(c.held.size)} bytes ({size(c.held.size)})", str(c.held.digest),
        ]  # fmt: skip
    labels = ("Patient", "Patient id", "Issued by", "Modality", "Study", "Series", "Transfer syntax", "Size", "SHA-256")
    return [Line(*line) for line in zip(labels, held, ours, strict=True)]


def _facts(one: Quarantined) -> list[str]:
    header = one.meta.header
    return [
        person(header.demographics.name), header.patient.patient_id, header.patient.issuer, header.modality,
        header.study_instance_uid, header.series_instance_uid, header.transfer_syntax_uid,
        f"{number(one.meta.size)} bytes ({size(one.meta.size)})", str(one.meta.digest),
    ]  # fmt: skip
