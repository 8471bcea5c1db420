"""The engine that carries every request of this node to its end: ask, wait, pull, admit, sign for it.

What has to be done next is always read from the index, so a step that was torn by a crash, a lost connection or a full
disk is simply done again. One task an unfinished request; it sleeps between attempts, longer each time, and wakes when
the peer shows up.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field

from node.clock import Clock
from node.errors.base import LeveretError, Retryable
from node.errors.peers import RemoteBusy, RemoteRefusal
from node.errors.storage import StoreClosed
from node.errors.trust import PeerNotTrusted
from node.log import Logger
from node.model.ids import PeerId, RequestId
from node.model.trust import TrustState
from node.sharing.inbound import Inbound, Step
from node.sharing.trust import TrustList

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 60.0
LAST_LOOK_SECONDS = 15.0  # between two looks at a request in review
PULLS = 3  # transfers that move at once; others wait their turn
_INTERNAL = "internal_error"


@dataclass(eq=False)
class _Run:
    """One request under way."""

    task: asyncio.Task[None] | None = None
    peer: PeerId | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    delay: float = FIRST_RETRY_SECONDS


class TransferEngine:
    """Drives this node's requests while ``run`` runs (``peers.ports.TrustListener``)."""

    def __init__(self, *, inbound: Inbound, trust: TrustList, clock: Clock, log: Logger) -> None:
        self._inbound = inbound
        self._trust = trust
        self._clock = clock
        self._log = log
        self._group: asyncio.TaskGroup | None = None
        self._runs: dict[RequestId, _Run] = {}
        self._pulls = asyncio.Semaphore(PULLS)
        self._change: asyncio.Future[None] | None = None
        inbound.on_progress = self._notify

    async def run(self) -> None:
        """Resume what is unfinished, and drive what is begun, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for request_id in await self._inbound.unfinished():
                    self.begin(request_id)
                await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            self._group = None

    def begin(self, request_id: RequestId) -> None:
        """Drive a request that was written down; before ``run`` has started it finds it by itself."""
        self._notify()
        if self._group is not None and request_id not in self._runs:
            run = self._runs[request_id] = _Run()
            run.task = self._group.create_task(self._guard(request_id, run), name="transfer")

    def changed(self) -> asyncio.Future[None]:
        """A future that is done at the next change of any request; do not cancel it."""
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_future()
        return self._change

    def peer_seen(self, peer: PeerId) -> None:
        """The peer is there: whatever waits for it need not wait longer."""
        for run in self._runs.values():
            if run.peer == peer:
                run.wake.set()

    def trust_changed(self, peer: PeerId, state: TrustState) -> None:
        """A peer that is trusted again is asked at once, one that is not is found out by the next attempt."""
        del state
        self.peer_seen(peer)

    async def cancel(self, request_id: RequestId, *, by: str) -> None:
        """Give a request up, here and, if the holder can be reached, there; raises NoSuchRequest."""
        row = await self._inbound.row(request_id)
        await self._inbound.cancel(request_id, by=by)
        run = self._runs.get(request_id)
        if run is not None and run.task is not None:
            run.task.cancel()
            await asyncio.wait((run.task,))
        await self._inbound.discard(request_id)
        self._notify()
        if self._group is not None:
            self._group.create_task(self._tell_cancelled(row.peer, request_id), name="transfer-cancel")

    async def _tell_cancelled(self, peer: PeerId, request_id: RequestId) -> None:
        with contextlib.suppress(LeveretError):  # the release ends by itself if the holder is not told
            await self._inbound.tell_cancelled(peer, request_id)

    async def _guard(self, request_id: RequestId, run: _Run) -> None:
        try:
            await self._drive(request_id, run)
        except Exception as exc:  # noqa: BLE001 - a defect that one transfer meets must not end the node
            self._log.error("transfer failed by a defect", transfer=str(request_id), error=type(exc).__name__)
            with contextlib.suppress(LeveretError):
                await self._give_up(request_id, _INTERNAL)
        finally:
            del self._runs[request_id]
            self._notify()

    async def _drive(self, request_id: RequestId, run: _Run) -> None:
        row = await self._inbound.row(request_id)
        run.peer = row.peer
        deadline = self._clock.monotonic() + row.timeout
        while (step := await self._next_step(request_id, run)) is not Step.NOTHING:
            try:
                await self._do(step, request_id, run, deadline - self._clock.monotonic())
            except LeveretError as exc:
                with contextlib.suppress(Retryable):  # a full disk: the step is done again, and stumbles again
                    await self._stumble(step, request_id, exc, deadline)
                await self._sleep(run, deadline if step is Step.ASK else None)
            self._notify()

    async def _next_step(self, request_id: RequestId, run: _Run) -> Step:
        while True:
            try:
                return await self._inbound.next_step(request_id)
            except (Retryable, StoreClosed):  # the index cannot be read just now; what is left to do still stands in it
                await self._sleep(run, None)

    async def _do(self, step: Step, request_id: RequestId, run: _Run, left: float) -> None:
        inbound = self._inbound
        if step is Step.ASK:
            await inbound.ask(request_id, seconds=max(1.0, left))
            run.delay = FIRST_RETRY_SECONDS
        elif step is Step.LOOK_AGAIN:
            self._notify()
            await self._sleep(run, None, most=LAST_LOOK_SECONDS)
            await inbound.look_again(request_id)
        elif step is Step.FETCH_MANIFEST:
            await inbound.fetch_manifest(request_id)
            run.delay = FIRST_RETRY_SECONDS
        elif step is Step.PULL:
            async with self._pulls:
                await inbound.pull(request_id)
            run.delay = FIRST_RETRY_SECONDS
            self._log.info("study received", transfer=str(request_id))
        else:
            await inbound.deliver_receipt(request_id)

    async def _stumble(self, step: Step, request_id: RequestId, error: LeveretError, deadline: float) -> None:
        """Suspend a request after trouble that may pass, give it up after any other."""
        code = error.remote_code if isinstance(error, RemoteRefusal | RemoteBusy) else error.code
        self._log.info("transfer stumbled", transfer=str(request_id), code=code, state=step.name)
        passes = self._passes(request_id, error)
        if step is Step.DELIVER_RECEIPT:
            if not passes:
                await self._inbound.receipt_refused(request_id, code)
        elif passes and (step is not Step.ASK or self._clock.monotonic() < deadline):
            await self._inbound.suspend(request_id, code)
        elif not (passes and await self._fail_over(request_id, code)):
            await self._give_up(request_id, code)

    async def _fail_over(self, request_id: RequestId, code: str) -> bool:
        """Its holder was away for too long: ask another one, if the request names one."""

        def is_trusted(peer: PeerId) -> bool:
            return self._trust.state_of(peer) is TrustState.TRUSTED

        other = await self._inbound.fail_over(request_id, code, is_trusted)
        if other is None:
            return False
        self._log.info("another holder is asked", transfer=str(request_id), code=code)
        self.begin(other)
        return True

    def _passes(self, request_id: RequestId, error: LeveretError) -> bool:
        """Whether the trouble may pass. A suspension is meant to be lifted, a revocation is not."""
        if isinstance(error, PeerNotTrusted):
            run = self._runs.get(request_id)
            peer = None if run is None else run.peer
            return peer is not None and self._trust.state_of(peer) is not TrustState.REVOKED
        return isinstance(error, Retryable | StoreClosed)

    async def _give_up(self, request_id: RequestId, code: str) -> None:
        await self._inbound.fail(request_id, code)
        await self._inbound.discard(request_id)

    async def _sleep(self, run: _Run, deadline: float | None, *, most: float = LAST_RETRY_SECONDS) -> None:
        """Wait before the next attempt: a part of it in any case, the rest until the peer shows up."""
        delay = run.delay
        run.delay = min(2 * run.delay, most)
        if deadline is not None:
            delay = min(delay, max(0.05, deadline - self._clock.monotonic()))
        least = min(delay, FIRST_RETRY_SECONDS)
        await asyncio.sleep(least)
        run.wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay - least):
                await run.wake.wait()

    def _notify(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)
