"""Telling other facilities what they must know, for offers and withdrawals alike: one queue a destination.

What must be told is written down by whoever decides it, in its own transaction. A destination that cannot be told is
tried again ever later (``model.messenger``), and at once when it shows up; one that hangs keeps no other waiting.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Protocol

from node.clock import Clock
from node.errors.base import LeveretError
from node.log import Logger
from node.model.ids import PeerId
from node.model.trust import TrustState
from node.peers.ports import PeerDirectory

LOOK_SECONDS = 1.0  # between looks for destinations whose time has come
LEAST_SECONDS = 2.0  # between two attempts at one destination, however often it shows up


class Outbox(Protocol):
    """What waits to be told."""

    async def waiting(self) -> Mapping[PeerId, int]:
        """The destinations for which something waits, and when each may be tried (seconds since the epoch)."""

    async def tell_one(self, peer: PeerId) -> bool:
        """Tell ``peer`` the first thing that waits for it; whether to go on with the next."""


class Messenger:
    """Empties an outbox while ``run`` runs (``peers.ports.TrustListener``). ``what`` names it in the log."""

    def __init__(self, outbox: Outbox, what: str, *, directory: PeerDirectory, clock: Clock, log: Logger) -> None:
        self._outbox = outbox
        self._what = what
        self._directory = directory
        self._clock = clock
        self._log = log
        self._wake = asyncio.Event()
        self._tried: dict[PeerId, float] = {}
        self._seen: set[PeerId] = set()
        self._busy: set[PeerId] = set()

    def wake(self) -> None:
        """Something new waits."""
        self._wake.set()

    def peer_seen(self, peer: PeerId) -> None:
        """The peer is there: it is told what waits for it."""
        self._seen.add(peer)

    def trust_changed(self, peer: PeerId, state: TrustState) -> None:
        """A peer that is trusted again is told at once (``peers.ports.TrustListener``)."""
        if state is TrustState.TRUSTED:
            self.peer_seen(peer)
            self._wake.set()

    async def run(self) -> None:
        """Tell whoever must be told until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                for peer in await self._due():
                    self._busy.add(peer)
                    group.create_task(self._guard(peer), name=self._what)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wake.wait()

    async def _due(self) -> list[PeerId]:
        try:
            waiting = await self._outbox.waiting()
        except LeveretError as error:
            self._log.warning("what waits to be told not looked for", component=self._what, code=error.code)
            return []
        now, moment = self._clock.now(), self._clock.monotonic()
        due = []
        for peer, attempt_at in waiting.items():
            rested = moment - self._tried.get(peer, -LEAST_SECONDS) >= LEAST_SECONDS
            is_time = attempt_at <= now or (peer in self._seen and rested)
            if is_time and peer not in self._busy and self._directory.state_of(peer) is TrustState.TRUSTED:
                due.append(peer)
        self._seen &= set(waiting)
        return due

    async def _guard(self, peer: PeerId) -> None:
        try:
            while await self._outbox.tell_one(peer):
                pass
        except LeveretError as error:  # the index: there is a next time
            self._log.warning("peer not told", component=self._what, peer=peer.log, code=error.code)
        except Exception as exc:  # noqa: BLE001 - a defect that one destination meets must not keep the others waiting
            # its text may name a patient: only the class is logged
            self._log.error("telling failed by a defect", component=self._what, peer=peer.log, error=type(exc).__name__)
        finally:
            self._tried[peer] = self._clock.monotonic()
            self._seen.discard(peer)
            self._busy.discard(peer)
