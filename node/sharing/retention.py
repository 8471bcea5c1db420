"""Deleting studies: because somebody wants it, because they are old enough, because the disk fills up."""

import asyncio

from node.errors.base import LeveretError
from node.errors.retention import NotProtected, StudyInUse, StudyProtected
from node.errors.storage import UnknownStudy
from node.model.audit import NODE_ACTOR, AuditEvent, AuditType
from node.model.ids import StudyInstanceUID
from node.sharing.upkeep import UpkeepParts
from node.store import audit, retention
from node.store.engine import Write
from node.store.retention import OldStudy, Protection

LOOK_SECONDS = 60.0  # between looks for what is old enough, and at the disk
MAX_AT_ONCE = 100  # studies in one look
MAX_REASON = 200  # characters
_DAY = 86_400


class Retention:
    """Deletes, protects, and (``run``) lets go what the settings say."""

    def __init__(self, parts: UpkeepParts) -> None:
        self._db, self._store, self._settings = parts.db, parts.store, parts.settings
        self._clock, self._metrics, self._log = parts.clock, parts.metrics, parts.log

    async def delete(self, study: StudyInstanceUID, reason: str, *, by: str) -> None:
        """Delete a study for ever: nobody can read it again when this returns. It may be stored again later.

        Raises:
            UnknownStudy: not held.
            StudyProtected, StudyInUse: it stays.
        """

        async def record(tx: Write) -> None:
            if await retention.is_protected(tx, study):
                raise StudyProtected
            use = await retention.use_of(tx, study)
            if use:
                raise StudyInUse(use)
            event = AuditEvent(
                AuditType.STUDY_DELETED, self._clock.now(), by, study=study, detail={"reason": reason[:MAX_REASON]}
            )
            await audit.append(tx, event)

        await self._store.delete_study(study, record=record)
        self._metrics.deleted.labels("node" if by == NODE_ACTOR else "person").inc()
        self._log.info("study deleted", reason=reason if by == NODE_ACTOR else "person")

    async def protect(self, study: StudyInstanceUID, reason: str, *, by: str) -> Protection:
        """Nobody may delete it until ``unprotect``. It need not be held yet."""
        protection = Protection(study, reason[:MAX_REASON], self._clock.now(), by)
        async with self._db.write() as tx:
            await retention.protect(tx, protection)
            detail = {"reason": protection.reason}
            await audit.append(tx, AuditEvent(AuditType.STUDY_PROTECTED, protection.at, by, study=study, detail=detail))
        return protection

    async def unprotect(self, study: StudyInstanceUID, *, by: str) -> None:
        """It may be deleted again. Raises NotProtected."""
        async with self._db.write() as tx:
            if not await retention.is_protected(tx, study):
                raise NotProtected
            await retention.unprotect(tx, study)
            await audit.append(tx, AuditEvent(AuditType.STUDY_UNPROTECTED, self._clock.now(), by, study=study))

    async def protections(self) -> list[Protection]:
        """What is protected, newest first."""
        async with self._db.read() as rx:
            return await retention.protections(rx)

    async def run(self) -> None:
        """Delete what the settings say, a little at a time; ends by cancellation."""
        while True:
            try:
                await self.look()
            except LeveretError as error:  # a failing disk must not stop the node; there is a next time
                self._log.warning("retention stopped", component="retention", code=error.code)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> int:
        """One look; how many studies it deleted."""
        s, deleted = self._settings, 0
        for own, days in ((False, s.retention_days_received), (True, s.retention_days)):
            if days:
                deleted += await self._delete_older(days, own=own)
        for own, least in ((False, s.retain_free), (True, s.retain_free_own)):
            if least:
                deleted += await self._make_room(least, own=own)
        return deleted

    async def _delete_older(self, days: int, *, own: bool) -> int:
        before = self._clock.now() - days * _DAY
        return sum([await self._let_go(one, "age") for one in await self._oldest(before, own=own)])

    async def _make_room(self, least: int, *, own: bool) -> int:
        deleted = 0
        if await self._store.free() >= least:
            return 0
        for one in await self._oldest(self._clock.now() + 1, own=own):
            deleted += await self._let_go(one, "space")
            if await self._store.free() >= least:
                return deleted
        self._log.warning("too little space is free, and nothing more may go", component="retention")
        return deleted

    async def _oldest(self, before: int, *, own: bool) -> list[OldStudy]:
        async with self._db.read() as rx:
            return await retention.oldest(rx, own=own, before=before, limit=MAX_AT_ONCE)

    async def _let_go(self, one: OldStudy, reason: str) -> bool:
        try:
            await self.delete(one.study, reason, by=NODE_ACTOR)
        except (StudyInUse, StudyProtected, UnknownStudy):  # since it was listed
            return False
        return True
