"""After a restore from a backup: what must be looked through before releases and announcements go on."""

from collections.abc import Iterable

from node.api.console.operator.desk import Desk, settle
from node.api.rest.access import OPERATION, OVERSIGHT
from node.api.routing import Call, Route
from node.sharing.restored import Restored

_AREA, _PLACE = "overview", "/console/restored"


class RestoredPages:
    """``/console/restored``."""

    def __init__(self, desk: Desk, restored: Restored) -> None:
        self._desk = desk
        self._restored = restored

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("GET", _PLACE, self.show, OVERSIGHT, "What to look through after a restore", page=True),
            Route("POST", _PLACE, self.confirm, OPERATION, "Everything was looked through", page=True),
        ]

    async def show(self, call: Call) -> object:
        """The list, or that no restore waits."""
        return self._desk.page(call, "restored.html", area=_AREA, view=await self._restored.view())

    async def confirm(self, call: Call) -> object:
        """From now on releases and announcements go on by themselves."""
        work = self._restored.confirm(by=call.caller.actor)
        return await settle(work, to="/console/overview", what="restore-reviewed", otherwise="/console/overview")
