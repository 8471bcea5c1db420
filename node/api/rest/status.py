"""The node at a glance."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping

from node import __version__
from node.api.reach import Reach
from node.api.rest.access import EVERYBODY
from node.api.rest.backups import shown_restore
from node.api.rest.shapes.system import CertificateShown, StatusShown
from node.api.routing import Call, Route
from node.crypto.identity import Identity
from node.model.delivery import DeliveryState
from node.model.transfer import ENDED, TransferState
from node.model.trust import TrustState
from node.peers.presence import Presence
from node.sharing.backups import Backups
from node.sharing.deliveries import Deliveries
from node.sharing.emergencies import Emergencies
from node.sharing.feeds import FeedReader
from node.sharing.inbox import Inbox
from node.sharing.reading import caught_up
from node.sharing.requests import Requests
from node.sharing.restored import Restored
from node.sharing.scrub import Scrub
from node.sharing.trust import TrustList
from node.sharing.withdrawals import Withdrawals
from node.store.objects import ObjectStore


class StatusResource:
    """``status``."""

    def __init__(
        self,
        *,
        name: str,
        identity: Identity,
        store: ObjectStore,
        trust: TrustList,
        presence: Presence,
        requests: Requests,
        deliveries: Deliveries,
        inbox: Inbox,
        withdrawals: Withdrawals,
        emergencies: Emergencies,
        scrub: Scrub,
        restored: Restored,
        backups: Backups,
        reader: FeedReader,
        reach: Reach,
        addresses: Callable[[], Mapping[str, str]],
        problems: Callable[[], Awaitable[list[str]]],
    ) -> None:
        """``addresses`` says where the node really listens, ``problems`` what keeps it from working (error codes)."""
        self._reach = reach
        self._name = name
        self._identity = identity
        self._store = store
        self._trust = trust
        self._presence = presence
        self._requests = requests
        self._deliveries = deliveries
        self._inbox = inbox
        self._withdrawals = withdrawals
        self._emergencies = emergencies
        self._scrub = scrub
        self._restored = restored
        self._backups = backups
        self._reader = reader
        self._addresses = addresses
        self._problems = problems

    def routes(self) -> Iterable[Route]:
        """The route."""
        return [
            Route(
                "GET",
                "/api/v1/status",
                self.show,
                EVERYBODY,
                "What is here, who is there, what moves",
                answer=StatusShown,
            )
        ]

    async def show(self, _call: Call) -> StatusShown:
        """Everything."""
        await caught_up(self._store)
        totals = await self._store.totals()
        trusted = [peer for peer in self._trust.peers() if peer.state is TrustState.TRUSTED]
        pending = [peer for peer in self._trust.peers() if peer.state is TrustState.PENDING]
        fingerprint = hashlib.sha256(self._identity.certificate).hexdigest().upper()
        return {
            "peer_id": self._identity.peer_id.full,
            "name": self._name,
            "version": __version__,
            "fingerprint": ":".join(fingerprint[i : i + 2] for i in range(0, len(fingerprint), 2)),
            "studies": totals.studies,
            "instances": totals.instances,
            "bytes": totals.size,
            "disk_bytes": totals.disk_bytes,
            "quarantined": totals.quarantined,
            "damaged": await self._scrub.damaged(),  # objects that do not verify (`leveret doctor --deep`)
            "peers": {
                "trusted": len(trusted),
                "connected": sum(self._presence.connected(peer.peer_id) for peer in trusted),
                "pending": len(pending),
            },
            "transfers": await self._moving(),
            "deliveries": await self._delivering(),
            "inbox": await self._inbox.waiting(),
            "withdrawals": await self._told(),
            "emergencies": await self._emergencies.pending(),  # releases by break-glass that nobody reviewed yet
            "restored": shown_restore(await self._restored.view()),  # a restore that waits for a person
            "backup_at": await self._backups.last_at(),  # when the last backup was made; null: never
            "forked_feeds": [fork.peer.full for fork in await self._reader.forks()],
            "listen": dict(self._addresses()),
            "url": self._reach.url,  # how people reach console and portal
            "certificate": self._certificate(),  # what the API shows; null without TLS
            "problems": await self._problems(),
        }

    def _certificate(self) -> CertificateShown | None:
        shown = self._reach.certificate
        if shown is None:
            return None
        return {"fingerprint": shown.fingerprint, "expires_at": shown.expires_at, "own": shown.is_own}

    async def _told(self) -> dict[str, int]:
        waiting, refused = await self._withdrawals.unsettled()
        return {"waiting": waiting, "refused": refused, "received": len(await self._withdrawals.received())}

    async def _delivering(self) -> dict[str, int]:
        """What does not get on into the PACS: because it is not reached, or because nobody said whose study it is."""
        states = [delivery.state for delivery in await self._deliveries.page()]
        return {
            "suspended": states.count(DeliveryState.SUSPENDED),
            "unlinked": states.count(DeliveryState.UNLINKED),
        }

    async def _moving(self) -> dict[str, int]:
        states = [transfer.state for transfer in await self._requests.transfers()]
        suspended = states.count(TransferState.SUSPENDED)
        return {"active": sum(state not in ENDED for state in states) - suspended, "suspended": suspended}
