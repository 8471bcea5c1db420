"""What takes the room, whether it is still whole, and what is let go by itself."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated

import msgspec

from node.api.console.operator.desk import Desk, Question, back, done, settle
from node.api.rest.access import OPERATION, OVERSIGHT
from node.api.routing import Call, Route
from node.api.web.charts import Part, Series, area, bars, ring
from node.api.web.words import size
from node.config import StoreSettings
from node.errors.access import InvalidInput
from node.errors.base import LeveretError
from node.model.access import Role
from node.model.ids import StudyInstanceUID
from node.sharing.overview import Overview, StorageView
from node.sharing.retention import MAX_REASON, Retention
from node.sharing.scrub import Scrub

_AREA, _PLACE = "system", "/console/storage"
_SERVER_FAULT = 500
_LEAST_MONTHS = 3  # fewer points make no line


class StudyForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A study, and why; ``sure``: it was asked again."""

    study: Annotated[str, msgspec.Meta(max_length=64)] = ""
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""
    sure: bool = False


class StoragePages:
    """``/console/storage``."""

    def __init__(
        self, desk: Desk, overview: Overview, *, retention: Retention, scrub: Scrub, settings: StoreSettings
    ) -> None:
        self._desk = desk
        self._overview = overview
        self._retention = retention
        self._scrub = scrub
        self._settings = settings

    def routes(self) -> Iterable[Route]:
        """The routes."""
        delete, protect = f"{_PLACE}/delete", f"{_PLACE}/protect"
        return [
            Route("GET", _PLACE, self.show, OVERSIGHT, "What takes the room", page=True),
            Route("POST", f"{_PLACE}/scrub", self.verify, OPERATION, "Verify all stored objects now", page=True),
            Route("POST", delete, self.delete, OPERATION, "Delete a study, asked again", StudyForm, page=True),
            Route("POST", protect, self.protect, OPERATION, "Protect a study", StudyForm, page=True),
            Route("POST", f"{protect}/end", self.unprotect, OPERATION, "Protect it no more", StudyForm, page=True),
        ]

    async def show(self, call: Call) -> object:
        """Space, growth, the largest studies, what is damaged, protected, and let go by itself."""
        view = await self._overview.storage(by=call.caller.actor)
        if call.caller.role is not Role.OPERATOR:
            view = replace(view, largest=())  # auditors look no studies up
        return self._desk.page(
            call,
            "storage.html",
            area=_AREA,
            view=view,
            ring=_ring(view),
            growth=_growth(view),
            growth_rows=[(share.name, str(share.studies), size(share.size)) for share in reversed(view.months)],
            scrub=await self._scrub.state(),
            protections=await self._retention.protections(),
            settings=self._settings,
        )

    async def verify(self, _call: Call) -> object:
        """From the first object on."""
        return await settle(self._scrub.begin(), to=_PLACE, what="scrub-begun", otherwise=_PLACE)

    async def delete(self, call: Call) -> object:
        """First asked again, with the reason; then nobody can read it again."""
        form: StudyForm = call.body
        try:
            study = StudyInstanceUID.parse(form.study)
            if not form.sure:
                return self._desk.ask(call, self._question(form), area=_AREA)
            if not form.reason.strip():
                raise InvalidInput("a reason")
            await self._retention.delete(study, form.reason, by=call.caller.actor)
        except LeveretError as error:
            if error.status >= _SERVER_FAULT:
                raise
            return back(_PLACE, error)
        return done(_PLACE, "deleted")

    async def protect(self, call: Call) -> object:
        """Nobody may delete it."""
        form: StudyForm = call.body
        reason = form.reason.strip() or "protected in the console"
        work = self._retention.protect(StudyInstanceUID.parse(form.study), reason, by=call.caller.actor)
        return await settle(work, to=_PLACE, what="protected", otherwise=_PLACE)

    async def unprotect(self, call: Call) -> object:
        """It may be deleted again."""
        form: StudyForm = call.body
        work = self._retention.unprotect(StudyInstanceUID.parse(form.study), by=call.caller.actor)
        return await settle(work, to=_PLACE, what="unprotected", otherwise=_PLACE)

    def _question(self, form: StudyForm) -> Question:
        says = (
            "Its key is destroyed: nobody can read it again, here or from the disk. It may be stored again.",
            "Other facilities that have it are not told. If it must disappear there too, withdraw it first.",
        )
        hidden = {"study": form.study, "sure": "true"}
        return Question(
            "Delete this study for ever?", says, "Delete it", f"{_PLACE}/delete", _PLACE,
            (("Study Instance UID", form.study),), reason="Why", hidden=hidden,
        )  # fmt: skip


def _ring(view: StorageView) -> object:
    """The disk: what is stored, what else fills it, what is free."""
    parts = [Part("stored here", "a", view.totals.disk_bytes), Part("free", "c", view.free)]
    return ring("disk", "The disk", parts, size, size(view.totals.disk_bytes))


def _growth(view: StorageView) -> object:
    months = [share.name for share in view.months]
    series = Series("came", "a", [share.size for share in view.months])
    if len(months) < _LEAST_MONTHS:
        return bars("growth", "What came month by month and is still held", months, [series], size)
    return area("growth", "What came month by month and is still held", months, series, size)
