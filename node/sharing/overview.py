"""The node at a glance: what is here, who is there, what moves, and what somebody has to look at.

:func:`alerts` is the one place that says what deserves attention; the console shows it, and what to do about it.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from node.clock import Clock
from node.model.audit import AuditEvent, AuditType
from node.model.delivery import DeliveryState
from node.model.transfer import ENDED, Direction, TransferState
from node.model.trust import Peer, TrustState
from node.peers.presence import Presence
from node.sharing.feeds import FeedReader
from node.sharing.reading import caught_up
from node.sharing.restored import Restored
from node.sharing.trust import TrustList
from node.store import audit, brought, overview, requests, scrub, withdrawals, witness
from node.store.engine import Database
from node.store.objects import ObjectStore
from node.store.overview import LargeStudy, Moved, Share
from node.store.study_queries import Totals

DAYS = 14  # that the chart of transfers shows
MONTHS = 12  # that the chart of growth shows
LARGEST = 20  # studies that the look at the storage names
_DAY = 86_400
_GRACE = 300  # seconds after which a trusted peer that does not answer is worth a word


class AlertKind(StrEnum):
    """What somebody has to look at, most pressing first."""

    DISK_FULL = "disk_full"
    RESTORED = "restored"
    LOG_CONFLICT = "log_conflict"
    FEED_FORKED = "feed_forked"
    DAMAGED = "damaged"
    EMERGENCY = "emergency"
    QUARANTINE = "quarantine"
    INBOX = "inbox"
    OFFERS = "offers"
    PEER_PENDING = "peer_pending"
    PEER_AWAY = "peer_away"
    NOTICE_REFUSED = "notice_refused"
    TRANSFERS_SUSPENDED = "transfers_suspended"
    TRANSFERS_FAILED = "transfers_failed"
    DELIVERY_UNLINKED = "delivery_unlinked"
    DELIVERY_SUSPENDED = "delivery_suspended"


# Something is wrong, here or with a facility.
BROKEN = frozenset(
    {AlertKind.DISK_FULL, AlertKind.RESTORED, AlertKind.LOG_CONFLICT, AlertKind.FEED_FORKED, AlertKind.DAMAGED}
)
# What waits for a person; all others pass by themselves, if slowly.
TO_DECIDE = frozenset(
    {AlertKind.EMERGENCY, AlertKind.QUARANTINE, AlertKind.INBOX, AlertKind.OFFERS, AlertKind.PEER_PENDING}
)


@dataclass(frozen=True, slots=True)
class Alert:
    """One of them, and how many there are."""

    kind: AlertKind
    count: int


@dataclass(frozen=True, slots=True)
class PeerGlance:
    """A peer of the trust list as the network sees it now."""

    peer: Peer
    connected: bool
    problem: str  # code of what went wrong at the last attempt to reach it


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The node as it was at ``at``; sizes in bytes."""

    at: int
    totals: Totals
    free: int
    peers: tuple[PeerGlance, ...]
    transfers: Mapping[TransferState, int]
    failed_today: int
    deliveries: Mapping[DeliveryState, int]
    inbox: int
    offers: int
    emergencies: int
    damaged: int
    log_conflicts: int
    forked_feeds: int
    is_restored: bool  # and nobody has looked it through yet
    notices_waiting: int
    notices_refused: int
    moved: tuple[Moved, ...]
    problems: tuple[str, ...]  # error codes of what keeps the node from working

    @property
    def moving(self) -> int:
        """Transfers that are under way and do not stand still."""
        under_way = sum(count for state, count in self.transfers.items() if state not in ENDED)
        return under_way - self.transfers.get(TransferState.SUSPENDED, 0)

    def in_state(self, state: TrustState) -> list[PeerGlance]:
        """The peers in one state."""
        return [glance for glance in self.peers if glance.peer.state is state]


@dataclass(frozen=True, slots=True)
class StorageView:
    """What takes the room."""

    totals: Totals
    free: int
    origins: tuple[Share, ...]
    months: tuple[Share, ...]
    largest: tuple[LargeStudy, ...]


Problems = Callable[[], Awaitable[list[str]]]


class Overview:
    """Looks."""

    def __init__(
        self,
        *,
        db: Database,
        store: ObjectStore,
        trust: TrustList,
        presence: Presence,
        reader: FeedReader,
        restored: Restored,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._restored = restored
        self._db = db
        self._store = store
        self._trust = trust
        self._presence = presence
        self._clock = clock

    async def look(self, problems: Sequence[str]) -> Snapshot:
        """Everything at once; ``problems`` are error codes of what keeps the node from working."""
        now = self._clock.now()
        await caught_up(self._store)
        free, totals = await self._store.free(), await self._store.totals()
        forks, restored = await self._reader.forks(), await self._restored.view()
        async with self._db.read() as rx:
            waiting, refused = await withdrawals.unsettled(rx)
            return Snapshot(
                at=now,
                totals=totals,
                free=free,
                peers=self.peers(),
                transfers=await overview.transfer_states(rx),
                failed_today=await overview.failed_since(rx, now - _DAY),
                deliveries=await overview.delivery_states(rx),
                inbox=await requests.count_in_review(rx),
                offers=await overview.offers_to_decide(rx),
                emergencies=await brought.count_reviews(rx),
                damaged=await scrub.damaged_objects(rx),
                log_conflicts=len(await witness.conflicts(rx)),
                forked_feeds=len(forks),
                is_restored=restored is not None,
                notices_waiting=waiting,
                notices_refused=refused,
                moved=tuple(await overview.moved(rx, _midnight(now) - (DAYS - 1) * _DAY)),
                problems=tuple(problems),
            )

    async def moved(self) -> list[tuple[str, int, int]]:
        """What moved in the last DAYS days, as :func:`moved_by_day`."""
        now = self._clock.now()
        async with self._db.read() as rx:
            return _by_day(await overview.moved(rx, _midnight(now) - (DAYS - 1) * _DAY), now)

    def peers(self) -> tuple[PeerGlance, ...]:
        """All peers by name."""
        return tuple(
            PeerGlance(peer, self._presence.connected(peer.peer_id), self._presence.problem(peer.peer_id))
            for peer in self._trust.peers()
        )

    async def storage(self, *, by: str) -> StorageView:
        """What takes the room. Studies are named, so the look is logged."""
        now = self._clock.now()
        await caught_up(self._store)
        free, totals = await self._store.free(), await self._store.totals()
        async with self._db.read() as rx:
            view = StorageView(
                totals,
                free,
                tuple(await overview.by_origin(rx)),
                tuple(await overview.by_month(rx, now - MONTHS * 31 * _DAY)),
                tuple(await overview.largest(rx, LARGEST)),
            )
        event = AuditEvent(AuditType.STUDIES_SEARCHED, now, by, detail={"found": len(view.largest), "what": "largest"})
        async with self._db.write() as tx:
            await audit.append(tx, event)
        return view


def alerts(snapshot: Snapshot) -> list[Alert]:
    """What somebody has to look at, most pressing first."""
    trusted = snapshot.in_state(TrustState.TRUSTED)
    away = [g for g in trusted if not g.connected and snapshot.at - max(g.peer.since, g.peer.last_seen or 0) > _GRACE]
    counts = {
        AlertKind.DISK_FULL: len(snapshot.problems),
        AlertKind.RESTORED: int(snapshot.is_restored),
        AlertKind.LOG_CONFLICT: snapshot.log_conflicts,
        AlertKind.FEED_FORKED: snapshot.forked_feeds,
        AlertKind.DAMAGED: snapshot.damaged,
        AlertKind.EMERGENCY: snapshot.emergencies,
        AlertKind.QUARANTINE: snapshot.totals.quarantined,
        AlertKind.INBOX: snapshot.inbox,
        AlertKind.OFFERS: snapshot.offers,
        AlertKind.PEER_PENDING: len(snapshot.in_state(TrustState.PENDING)),
        AlertKind.PEER_AWAY: len(away),
        AlertKind.NOTICE_REFUSED: snapshot.notices_refused,
        AlertKind.TRANSFERS_SUSPENDED: snapshot.transfers.get(TransferState.SUSPENDED, 0),
        AlertKind.TRANSFERS_FAILED: snapshot.failed_today,
        AlertKind.DELIVERY_UNLINKED: snapshot.deliveries.get(DeliveryState.UNLINKED, 0),
        AlertKind.DELIVERY_SUSPENDED: snapshot.deliveries.get(DeliveryState.SUSPENDED, 0),
    }
    return [Alert(kind, counts[kind]) for kind in AlertKind if counts[kind]]


def moved_by_day(snapshot: Snapshot) -> list[tuple[str, int, int]]:
    """Day (YYYY-MM-DD), bytes received, bytes sent: each of the last DAYS days, also those on which nothing moved."""
    return _by_day(snapshot.moved, snapshot.at)


def _by_day(moved: Sequence[Moved], now: int) -> list[tuple[str, int, int]]:
    sums = {(one.day, one.direction): one.size for one in moved}
    noon = _midnight(now) + _DAY // 2
    days = [time.strftime("%Y-%m-%d", time.localtime(noon - back * _DAY)) for back in range(DAYS - 1, -1, -1)]
    return [(day, sums.get((day, Direction.IN), 0), sums.get((day, Direction.OUT), 0)) for day in days]


def _midnight(now: int) -> int:
    """When the facility's day began."""
    local = time.localtime(now)
    return now - local.tm_hour * 3600 - local.tm_min * 60 - local.tm_sec
