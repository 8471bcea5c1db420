"""The engine that carries every delivery to its end: wait for the study, for its link, for the PACS; send; send again.

What has to be done next is always read from the index, and an instance with an outcome is not sent again, so a delivery
goes on after a crash where it was. One delivery at a time to each PACS; between attempts that got nothing done the
pause grows.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from node.clock import Clock
from node.errors.base import LeveretError, Retryable
from node.errors.delivery import DeliveryCancelled, StudyNotLinked
from node.errors.storage import StoreClosed
from node.log import Logger
from node.model.delivery import ENDED, DeliveryEvent, DeliveryId, DeliveryState
from node.model.ids import SOPInstanceUID, StudyInstanceUID
from node.sharing.delivering import Attempt, Delivering, Next

FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 300.0
PATIENCE_SECONDS = 7 * 86_400  # from the order on; then a PACS that cannot be reached ends the delivery
LOOK_SECONDS = 30.0  # between looks at what is waited for, if nothing wakes it
_INTERNAL = "internal_error"

Changes = Callable[[], "asyncio.Future[None]"]  # a future that is done at the next change of any transfer


@dataclass(eq=False)
class _Run:
    """One delivery under way."""

    task: asyncio.Task[None] | None = None
    attempt: asyncio.Task[None] | None = None
    study: StudyInstanceUID | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    losses: Counter[SOPInstanceUID] = field(default_factory=Counter)


class DeliveryEngine:
    """Drives deliveries while ``run`` runs."""

    def __init__(self, *, delivering: Delivering, transfers_changed: Changes, clock: Clock, log: Logger) -> None:
        self._delivering = delivering
        self._transfers_changed = transfers_changed
        self._clock = clock
        self._log = log
        self._group: asyncio.TaskGroup | None = None
        self._runs: dict[DeliveryId, _Run] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._change: asyncio.Future[None] | None = None
        delivering.on_progress = self._notify
        delivering.on_begun = self.begin

    async def run(self) -> None:
        """Resume what is unfinished, and drive what is begun, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for delivery_id in await self._delivering.unfinished():
                    self.begin(delivery_id)
                await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            self._group = None

    def begin(self, delivery_id: DeliveryId) -> None:
        """Drive a delivery that was written down; before ``run`` has started it finds it by itself."""
        self._notify()
        if self._group is not None and delivery_id not in self._runs:
            run = self._runs[delivery_id] = _Run()
            run.task = self._group.create_task(self._guard(delivery_id, run), name="delivery")

    def changed(self) -> asyncio.Future[None]:
        """A future that is done at the next change of any delivery; do not cancel it."""
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_future()
        return self._change

    def link_changed(self, study: StudyInstanceUID) -> None:
        """A study was linked or is no longer: what waits for that goes on, what is being sent is looked at anew."""
        for run in self._runs.values():
            if run.study == study:
                run.wake.set()
                if run.attempt is not None:
                    run.attempt.cancel()

    async def cancel(self, delivery_id: DeliveryId, *, by: str) -> None:
        """Give a delivery up, unless it has ended."""
        await self._delivering.end(delivery_id, DeliveryEvent.CANCEL, DeliveryCancelled.code, by=by)
        run = self._runs.get(delivery_id)
        if run is not None and run.task is not None:
            run.task.cancel()
            await asyncio.wait((run.task,))
        self._notify()

    async def _guard(self, delivery_id: DeliveryId, run: _Run) -> None:
        try:
            await self._drive(delivery_id, run)
        except Exception as exc:  # noqa: BLE001 - a defect that one delivery meets must not end the node
            self._log.error("delivery failed by a defect", delivery=str(delivery_id), error=type(exc).__name__)
            with contextlib.suppress(LeveretError):
                await self._delivering.end(delivery_id, DeliveryEvent.FAIL, _INTERNAL)
        finally:
            del self._runs[delivery_id]
            self._notify()

    async def _drive(self, delivery_id: DeliveryId, run: _Run) -> None:
        while True:
            run.wake.clear()
            changed = self._transfers_changed()
            try:
                step = await self._delivering.next_step(delivery_id)
                run.study = step.delivery.study
                if step.delivery.state in ENDED:
                    return
                if step.what is Next.WAIT:
                    self._notify()
                    await self._wait(run, changed)
                    continue
                async with self._turns[step.delivery.pacs]:
                    await self._attempt(delivery_id, run)
            except (Retryable, StoreClosed) as exc:
                await self._stumble(delivery_id, run, exc)
            except LeveretError as exc:
                await self._delivering.end(delivery_id, DeliveryEvent.FAIL, exc.code)
            self._notify()

    async def _attempt(self, delivery_id: DeliveryId, run: _Run) -> None:
        """One attempt, which a change of the link cuts short."""
        attempt = run.attempt = asyncio.create_task(self._send(delivery_id, run), name="delivery-attempt")
        try:
            await asyncio.wait((attempt,))
        except asyncio.CancelledError:
            attempt.cancel()
            await asyncio.wait((attempt,))
            raise
        finally:
            run.attempt = None
        if attempt.cancelled():
            self._log.info("delivery interrupted", delivery=str(delivery_id), code=StudyNotLinked.code)
            await self._delivering.interrupted(delivery_id, StudyNotLinked.code)
            return
        attempt.result()

    async def _send(self, delivery_id: DeliveryId, run: _Run) -> None:
        step = await self._delivering.next_step(delivery_id)  # it may have waited long for its turn
        if step.what is Next.SEND:
            await self._delivering.attempt(Attempt(step, run.losses))

    async def _stumble(self, delivery_id: DeliveryId, run: _Run, error: LeveretError) -> None:
        """Suspend it and wait, longer each time nothing got done; give it up when it has lasted too long."""
        self._log.info("delivery stumbled", delivery=str(delivery_id), code=error.code)
        attempts = 0
        with contextlib.suppress(Retryable, StoreClosed):  # a full disk: it is read again from what stands there
            delivery = await self._delivering.interrupted(delivery_id, error.code)
            attempts = delivery.attempts
            if delivery.state is DeliveryState.SUSPENDED and self._clock.now() > delivery.created_at + PATIENCE_SECONDS:
                await self._delivering.end(delivery_id, DeliveryEvent.FAIL, error.code)
                return
        self._notify()
        delay = min(FIRST_RETRY_SECONDS * 2 ** min(attempts, 16), LAST_RETRY_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await run.wake.wait()

    async def _wait(self, run: _Run, changed: "asyncio.Future[None]") -> None:
        """Until a transfer or the link has changed, or for a while."""
        woken = asyncio.create_task(run.wake.wait())
        try:
            await asyncio.wait((woken, changed), timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            await asyncio.wait((woken,))

    def _notify(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)
