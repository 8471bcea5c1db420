"""Announcing now instead of at the next interval."""

from collections.abc import Iterable

from node.api.rest.access import OPERATION
from node.api.routing import Call, Route
from node.sharing.announce import Announcer


class AnnouncementsResource:
    """``announcements``."""

    def __init__(self, announcer: Announcer) -> None:
        self._announcer = announcer

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [Route("POST", "/api/v1/announcements", self.send, OPERATION, "Send pending announcements now")]

    async def send(self, _call: Call) -> object:
        """Make and sign the batches that are pending; who is there is told at once."""
        report = await self._announcer.announce_now()
        return {"peers": report.peers, "batches": report.batches, "studies": report.studies}
