"""A light sign of life between peers: who is there now, and where.

Each trusted peer is called every few seconds with this node's card; it answers with its own. So a node that comes
back on another port is found again by everybody it can still reach, and an operator sees who is connected. Failures
back off.
"""

import asyncio
import random
from dataclasses import dataclass

from node.clock import Clock
from node.errors.base import LeveretError
from node.log import Logger
from node.metrics import Metrics
from node.model.ids import PeerId
from node.model.trust import TrustState
from node.peers import limits
from node.peers.client import PeerClients
from node.peers.handlers_pairing import CARD_PATH
from node.peers.ports import PeerDirectory

_FRESH_SECONDS = 1.2 * limits.PRESENCE_SECONDS  # a contact this young counts, whatever failed since
_STALE_SECONDS = 2.5 * limits.PRESENCE_SECONDS  # and one this old counts for nothing


@dataclass(slots=True)
class _Link:
    contact: float | None = None  # monotonic; the last proof of life, in either direction
    failure: float | None = None
    problem: str = ""  # code of the last failure, until the next success
    failures: int = 0


class Presence:
    """Keeps in touch with every trusted peer while ``run`` runs (``ports.TrustListener``)."""

    def __init__(
        self, *, clients: PeerClients, directory: PeerDirectory, clock: Clock, metrics: Metrics, log: Logger
    ) -> None:
        self._clients = clients
        self._directory = directory
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._links: dict[PeerId, _Link] = {}
        self._wake: dict[PeerId, asyncio.Event] = {}
        self._changed = asyncio.Event()

    def connected(self, peer: PeerId) -> bool:
        """Whether the peer was heard of a moment ago, and nothing speaks against it since."""
        link = self._links.get(peer)
        if link is None or link.contact is None or self._directory.state_of(peer) is not TrustState.TRUSTED:
            return False
        age = self._clock.monotonic() - link.contact
        failed_since = link.failure is not None and link.failure > link.contact
        return age < (_FRESH_SECONDS if failed_since else _STALE_SECONDS)

    def problem(self, peer: PeerId) -> str:
        """Code of what went wrong at the last attempt to reach the peer; empty if nothing did."""
        link = self._links.get(peer)
        return "" if link is None else link.problem

    def trust_changed(self, peer: PeerId, state: TrustState) -> None:
        """Begin or stop to keep in touch."""
        if state is not TrustState.TRUSTED:
            self._links.pop(peer, None)
        self._changed.set()
        self.poke(peer)

    def seen(self, peer: PeerId) -> None:
        """The peer proved who it is; if it was out of reach, it is called back at once."""
        link = self._links.setdefault(peer, _Link())
        was_away = not self.connected(peer)
        link.contact = self._clock.monotonic()
        if was_away:
            self.poke(peer)
            self._count()

    def poke(self, peer: PeerId) -> None:
        """Call the peer now, not at its next turn."""
        if peer in self._wake:
            self._wake[peer].set()

    async def run(self) -> None:
        """Keep in touch until cancelled."""
        async with asyncio.TaskGroup() as group:
            tasks: dict[PeerId, asyncio.Task[None]] = {}
            while True:
                self._changed.clear()
                trusted = set(self._directory.trusted())
                for peer in tasks.keys() - trusted:
                    tasks.pop(peer).cancel()
                    del self._wake[peer]
                for peer in trusted - tasks.keys():
                    self._wake[peer] = asyncio.Event()
                    tasks[peer] = group.create_task(self._keep_in_touch(peer, self._wake[peer]))
                self._count()
                await self._changed.wait()

    async def _keep_in_touch(self, peer: PeerId, wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            pause = await self._beat(peer)
            self._count()
            try:
                async with asyncio.timeout(pause):
                    await wake.wait()
            except TimeoutError:
                continue

    async def _beat(self, peer: PeerId) -> float:
        """One exchange of cards; returns the seconds until the next."""
        link = self._links.setdefault(peer, _Link())
        try:
            client = self._clients.get(peer)
            card = await client.call(
                "POST", CARD_PATH, body=self._directory.own_card().encode(), max_bytes=limits.PAIRING_BYTES
            )
            await self._directory.take_card(peer, card.decode("ascii", "replace"))
        except Exception as error:  # noqa: BLE001 - whatever one peer does, the others are kept in touch with
            if not isinstance(error, LeveretError):
                self._log.error("presence failed by a defect", peer=peer.log, error=type(error).__name__)
            link.failure = self._clock.monotonic()
            link.problem = error.code if isinstance(error, LeveretError) else LeveretError.code
            link.failures += 1
            pause = min(limits.PRESENCE_FIRST_RETRY * 2.0 ** min(link.failures - 1, 10), limits.PRESENCE_LAST_RETRY)
            return pause * random.uniform(0.8, 1.2)  # noqa: S311 - spreads calls, no secret
        link.contact, link.problem, link.failures = self._clock.monotonic(), "", 0
        return limits.PRESENCE_SECONDS * random.uniform(0.8, 1.0)  # noqa: S311 - spreads calls, no secret

    def _count(self) -> None:
        self._metrics.peers_connected.set(sum(self.connected(peer) for peer in self._links))
