"""Reading everything that is stored now and then, slowly: what the disk has lost is found before it is needed."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from node.errors.base import LeveretError
from node.errors.storage import ObjectDamaged
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.ids import ObjectId
from node.sharing.upkeep import UpkeepParts
from node.store import audit, scrub
from node.store.scrub import DamagedStudy, Flaw, PackToCheck, Progress

LOOK_SECONDS = 60.0  # between looks whether a round is due
LEAST_RATE = 2_000_000  # bytes a second: a small store is done in minutes, which nobody notices
MOST_RATE = 50_000_000  # a large one must not starve who works with it
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class ScrubState:
    """How far the round is, and what is known to be damaged."""

    progress: Progress
    total: int  # bytes of all packs
    damaged: list[DamagedStudy]


class Scrub:
    """The look through the packs of one node; where it is survives a restart."""

    def __init__(self, parts: UpkeepParts) -> None:
        self._db, self._store, self._settings = parts.db, parts.store, parts.settings
        self._clock, self._metrics, self._log = parts.clock, parts.metrics, parts.log
        self._wanted = asyncio.Event()  # somebody waits: begin at once and do not pause

    async def state(self) -> ScrubState:
        """Where it is."""
        async with self._db.read() as rx:
            return ScrubState(await scrub.progress(rx), await scrub.volume(rx), await scrub.damaged(rx))

    async def damaged(self) -> int:
        """How many objects are known to be damaged."""
        async with self._db.read() as rx:
            return await scrub.damaged_objects(rx)

    async def begin(self) -> None:
        """Begin a round now, from the first pack, without pauses; ``run`` does it."""
        await self._store.indexed()
        async with self._db.write() as tx:
            await scrub.begin(tx, at=self._clock.now())
        self._wanted.set()

    async def run(self) -> None:
        """A round every ``scrub_days``; ends by cancellation."""
        while True:
            try:
                self._metrics.damaged.set(await self.damaged())
                if await self.is_due():
                    await self.round()
            except LeveretError as error:  # a full disk must not stop the node; there is a next time
                self._log.warning("scrub stopped", component="scrub", code=error.code)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def round(self) -> None:
        """Go on with the round that is under way, to its end."""
        while (pack := await self._next()) is not None:
            await self.check(pack)
        async with self._db.write() as tx:
            await scrub.end(tx, at=self._clock.now())
        self._wanted.clear()
        state = await self.state()
        self._log.info("all packs were verified", count=state.progress.objects, bytes=state.progress.size)

    async def is_due(self) -> bool:
        """Whether a round is under way, or begins now."""
        async with self._db.read() as rx:
            progress = await scrub.progress(rx)
        if progress.ended_at is None:
            return True
        days = self._settings.scrub_days
        if not days or self._clock.now() < progress.began_at + days * _DAY:
            return False
        async with self._db.write() as tx:
            await scrub.begin(tx, at=self._clock.now())
        return True

    async def _next(self) -> PackToCheck | None:
        async with self._db.read() as rx:
            progress = await scrub.progress(rx)
            return await scrub.next_pack(rx, progress.position)

    async def check(self, pack: PackToCheck) -> None:
        """Read one pack and note what is wrong."""
        size, flaws = 0, dict[ObjectId, Flaw]()
        rate = await self._rate()
        steps = self._store.verify(pack)
        try:
            while (step := await asyncio.to_thread(_advance, steps)) is not None:
                size += step[0]
                flaws |= step[1]
                if not self._wanted.is_set():
                    await self._pause(step[0] / rate)
        finally:
            await asyncio.to_thread(steps.close)
        await self._note(pack, flaws, size)

    async def _note(self, pack: PackToCheck, flaws: dict[ObjectId, Flaw], size: int) -> None:
        now = self._clock.now()
        async with self._db.write() as tx:
            new = await scrub.done(tx, pack, flaws, size=size, at=now)
            if new:
                detail: dict[str, str | int] = {"pack": pack.name.hex(), "objects": len(new)}
                event = AuditEvent(
                    AuditType.DAMAGE_FOUND, now, outcome=Outcome.FAILURE, code=ObjectDamaged.code, detail=detail
                )
                await audit.append(tx, event)
        if new:
            self._log.error("stored objects are damaged", code=ObjectDamaged.code, pack=pack.name.hex(), count=len(new))
        self._metrics.damaged.set(await self.damaged())

    async def _rate(self) -> float:
        async with self._db.read() as rx:
            total = await scrub.volume(rx)
        wanted = total / max(1, self._settings.scrub_days * _DAY) * 2  # done in half the time, whatever comes meanwhile
        return min(MOST_RATE, max(LEAST_RATE, wanted))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            return


def _advance(
    steps: Iterator[tuple[int, dict[ObjectId, Flaw]]],
) -> tuple[int, dict[ObjectId, Flaw]] | None:
    return next(steps, None)
