"""The page on which patients read who looked, who received, when and why."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.api.rest.access import PATIENTS
from node.api.routing import Call, Route
from node.api.web.pages import Pages
from node.sharing.portal.history import Entry, Kind, PortalHistory
from node.sharing.portal.history_words import facts, sentence
from node.sharing.portal.plain_words import Words

HISTORY = "/portal/history"
_PAGE = 50
_OUTWARD = frozenset({Kind.SENT, Kind.ARRIVED, Kind.LINK_OPENED, Kind.TAKEN})
_WARNING = frozenset({Kind.SIGN_IN_FAILED, Kind.LINK_REFUSED, Kind.CODE_LOCKED, Kind.ENROLMENT_FAILED})


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as it is shown; ``whose`` is a name (PN) where the account stands for several people."""

    at: int
    words: Words
    facts: Sequence[tuple[Words, Words]]
    whose: str
    times: int
    look: str  # out, warn or plain


class HistoryPages:
    """``/portal/history``."""

    def __init__(self, pages: Pages, history: PortalHistory) -> None:
        self._pages = pages
        self._history = history

    def routes(self) -> Iterable[Route]:
        """The route."""
        return [Route("GET", HISTORY, self.show, PATIENTS, "Who looked, who received, when and why", page=True)]

    async def show(self, call: Call) -> object:
        """A page of it, newest first; ``before`` is where the last one ended."""
        before = call.number("before", 0, 2**62) or None
        entries, more = await self._history.page(call.caller, before=before, limit=_PAGE)
        people = {one.record.patient for one in entries if one.record is not None}
        days: list[tuple[str, list[Line]]] = []
        for entry in entries:
            day = time.strftime("%Y%m%d", time.localtime(entry.at))
            if not days or days[-1][0] != day:
                days.append((day, []))
            days[-1][1].append(_line(entry, several=len(people) > 1))
        older = f"{HISTORY}?before={more}" if more else ""
        return self._pages.page(call, "portal/history.html", days=days, older=older, first=before is None)


def _line(entry: Entry, *, several: bool) -> Line:
    look = "out" if entry.kind in _OUTWARD else "warn" if entry.kind in _WARNING else "plain"
    whose = entry.record.demographics.name if several and entry.record is not None else ""
    return Line(entry.at, sentence(entry), facts(entry), whose, entry.times, look)
