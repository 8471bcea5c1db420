"""The audit log in the browser: searched, one event with its proof, the log proved, exports."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from node.api.console.handles import Handles
from node.api.console.operator.desk import Desk, back
from node.api.console.operator.words import event as words_of
from node.api.rest.access import OVERSIGHT
from node.api.routing import Call, Route
from node.api.web.pages import see_other
from node.errors.access import InvalidInput
from node.errors.audit import NoSuchEvent
from node.errors.base import LeveretError
from node.model.audit import AuditType
from node.model.ids import StudyInstanceUID
from node.sharing.audit import AuditLog
from node.sharing.export import ExportFormat
from node.sharing.witness import Witnesses
from node.store.audit import AuditQuery

_AREA, _PLACE = "audit", "/console/audit"
_PAGE = 50
_MAX_DIGITS = 18
_ALL = AuditQuery()


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked for, as typed; dates as the browser's date field gives them, both inclusive."""

    type: Annotated[str, msgspec.Meta(max_length=64)] = ""
    actor: Annotated[str, msgspec.Meta(max_length=128)] = ""
    patient_id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    issuer: Annotated[str, msgspec.Meta(max_length=64)] = ""
    study: Annotated[str, msgspec.Meta(max_length=64)] = ""
    since: Annotated[str, msgspec.Meta(max_length=10)] = ""
    until: Annotated[str, msgspec.Meta(max_length=10)] = ""


class AuditPages:
    """``/console/audit``."""

    def __init__(self, desk: Desk, log: AuditLog, witnesses: Witnesses) -> None:
        self._desk = desk
        self._log = log
        self._witnesses = witnesses
        self._searches: Handles[Search] = Handles(desk.clock)

    def routes(self) -> Iterable[Route]:
        """The routes."""
        event = f"{_PLACE}/events/{{position}}"
        return [
            Route("GET", _PLACE, self.list, OVERSIGHT, "Events, newest first", page=True),
            Route("POST", _PLACE, self.search, OVERSIGHT, "Search the log", Search, page=True),
            Route("GET", f"{_PLACE}/found/{{handle}}", self.found, OVERSIGHT, "What a search found", page=True),
            Route("GET", event, self.show, OVERSIGHT, "One event with its proof", page=True),
            Route("POST", f"{_PLACE}/verification", self.verify, OVERSIGHT, "Prove the whole log", page=True),
        ]

    async def list(self, call: Call) -> object:
        """All, or those of one ``type``, which tells nothing about anybody."""
        kind = call.query("type")
        typed = Search(type=kind if kind in set(AuditType) else "")
        return await self._list(call, typed, f"{_PLACE}?type={typed.type}&" if typed.type else f"{_PLACE}?")

    async def search(self, call: Call) -> object:
        """To the result, under an address that does not say whom it is about."""
        try:
            self._query(call.body)
        except LeveretError as error:
            return await self._list(call, Search(), f"{_PLACE}?", error=error)
        if call.body == Search():
            return see_other(_PLACE)
        return see_other(f"{_PLACE}/found/{self._searches.put(call.caller, call.body)}")

    async def found(self, call: Call) -> object:
        """A page of it."""
        typed = self._searches.get(call.caller, call.parameter("handle"))
        return await self._list(call, typed, f"{_PLACE}/found/{call.parameter('handle')}?")

    async def show(self, call: Call) -> object:
        """What happened, and that it stands in the log."""
        try:
            shown = await self._log.show(_position(call), by=call.caller.actor)
        except NoSuchEvent as error:
            return back(_PLACE, error)
        return self._desk.page(call, "audit_event.html", area=_AREA, shown=shown)

    async def verify(self, call: Call) -> object:
        """Recomputed from the first event on; every witness that can be reached is asked what it knows."""
        proof = await self._log.verify()
        against = await self._witnesses.contradicted_by()
        return self._desk.page(call, "audit_proof.html", area=_AREA, proof=proof, against=against)

    async def _list(self, call: Call, typed: Search, place: str, *, error: LeveretError | None = None) -> object:
        before = call.number("before", 0, 2**62) if call.query("before") else None
        query = _ALL if error else self._query(typed)
        rows = await self._log.find(query, before=before, limit=_PAGE + 1, by=call.caller.actor)
        older = f"{place}before={rows[_PAGE - 1].position}" if len(rows) > _PAGE else ""
        return self._desk.page(
            call,
            "audit.html",
            area=_AREA,
            error=error,
            rows=rows[:_PAGE],
            typed=typed,
            is_filtered=query != _ALL,
            newer=place.rstrip("?&") if before is not None else "",
            older=older,
            types=[("", "anything"), *sorted(((t.value, words_of(t)) for t in AuditType), key=lambda one: one[1])],
            formats=[form.value for form in ExportFormat],
        )

    def _query(self, typed: Search) -> AuditQuery:
        """Raises InvalidInput, InvalidUid: what was typed is none."""
        since, until = _midnight(typed.since), _midnight(typed.until, after=1)
        patient = self._desk.patient(typed.patient_id, typed.issuer) if typed.patient_id.strip() else None
        try:
            types = (AuditType(typed.type),) if typed.type else ()
        except ValueError as exc:
            raise InvalidInput("type") from exc
        study = StudyInstanceUID.parse(typed.study.strip()) if typed.study.strip() else None
        return AuditQuery(types, _actor(typed.actor.strip()), patient, study, since, until)


def _actor(typed: str) -> str:
    """An actor as the log names it; a bare name is a user's."""
    return typed if not typed or ":" in typed or typed == "node" else f"user:{typed}"


def _midnight(date: str, *, after: int = 0) -> int | None:
    """When a day (YYYY-MM-DD) begins on this facility's clock, or so many days later; None for no day."""
    if not date:
        return None
    try:
        begin = datetime.strptime(date, "%Y-%m-%d") + timedelta(days=after)  # noqa: DTZ007 - the facility's own clock
        return int(begin.astimezone().timestamp())
    except (ValueError, OverflowError) as exc:
        raise InvalidInput("a date is wanted, such as 2026-11-24") from exc


def _position(call: Call) -> int:
    text = call.parameter("position")
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise NoSuchEvent
    return int(text)
