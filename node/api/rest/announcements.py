"""Announcing now instead of at the next interval, new epochs, and feeds of peers that forked."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import Window, cut
from node.api.rest.access import OPERATION, OVERSIGHT
from node.api.rest.shapes.system import AnnouncedShown, EpochsBegun, FeedThawed, ForkList
from node.api.routing import Call, Route
from node.sharing.announce import Announcer
from node.sharing.feeds import FeedReader
from node.sharing.trust import TrustList

_PEER = msgspec.Meta(min_length=1, max_length=128)


class EpochOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose epoch ends; none: every peer's."""

    peer: Annotated[str, _PEER] | None = None


class FeedOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose feed."""

    peer: Annotated[str, _PEER]


class AnnouncementsResource:
    """``announcements``, ``epochs`` and ``feeds``."""

    def __init__(self, announcer: Announcer, reader: FeedReader, trust: TrustList) -> None:
        self._announcer = announcer
        self._reader = reader
        self._trust = trust

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route(
                "POST",
                "/api/v1/announcements",
                self.send,
                OPERATION,
                "Send pending announcements now",
                answer=AnnouncedShown,
            ),
            Route(
                "POST",
                "/api/v1/epochs",
                self.begin_epoch,
                OPERATION,
                "Begin a new epoch of announcements",
                EpochOf,
                answer=EpochsBegun,
            ),
            Route(
                "GET",
                "/api/v1/feeds/forks",
                self.forks,
                OVERSIGHT,
                "Feeds of peers that forked and are frozen",
                query=Window,
                answer=ForkList,
            ),
            Route(
                "POST",
                "/api/v1/feeds/thaw",
                self.thaw,
                OPERATION,
                "Follow a forked feed again",
                FeedOf,
                answer=FeedThawed,
            ),
        ]

    async def send(self, _call: Call) -> AnnouncedShown:
        """Make and sign the batches that are pending; who is there is told at once."""
        report = await self._announcer.announce_now()
        return {"peers": report.peers, "batches": report.batches, "studies": report.studies}

    async def begin_epoch(self, call: Call) -> EpochsBegun:
        """The old keys are destroyed; everything is announced anew with the next batches."""
        wanted: EpochOf = call.body
        peer = None if wanted.peer is None else self._trust.find(wanted.peer)
        return {"peers": await self._announcer.begin_epochs(peer, by=call.caller.actor)}

    async def forks(self, call: Call) -> ForkList:
        """Newest first."""
        found, more = cut(call, await self._reader.forks())
        return {
            "forks": [
                {
                    "peer_id": fork.peer.full,
                    "incarnation": fork.incarnation,
                    "sequence": fork.sequence,
                    "at": fork.at,
                    "proof": "both batches" if fork.first else "the second batch",
                }
                for fork in found
            ],
            "next": more,
        }

    async def thaw(self, call: Call) -> FeedThawed:
        """From where it was left."""
        wanted: FeedOf = call.body
        peer = self._trust.find(wanted.peer)
        await self._reader.thaw(peer, by=call.caller.actor)
        return {"peer_id": peer.full}
