"""Studies that somebody marked sensitive: no facility is told that they exist, and what was told is taken back."""

from collections.abc import Sequence
from dataclasses import dataclass

from node.clock import Clock
from node.model.audit import AuditEvent, AuditType
from node.model.ids import StudyInstanceUID
from node.store import audit, feeds
from node.store.engine import Database


@dataclass(frozen=True, slots=True)
class SensitiveStudy:
    """A study with the mark, and since when."""

    study: StudyInstanceUID
    at: int


class Sensitivity:
    """The marks. A study that is not held yet may have one: it holds for what comes."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def page(self) -> Sequence[SensitiveStudy]:
        """All that are marked, newest first."""
        async with self._db.read() as rx:
            return [SensitiveStudy(study, at) for study, at in await feeds.sensitive(rx)]

    async def mark(self, study: StudyInstanceUID, *, by: str) -> None:
        """Announce it no more; what was announced is withdrawn with the next batch. Harmless when marked already."""
        now = self._clock.now()
        async with self._db.write() as tx:
            if await feeds.set_sensitive(tx, study, now):
                await audit.append(tx, AuditEvent(AuditType.STUDY_MARKED_SENSITIVE, now, by, study=study))

    async def unmark(self, study: StudyInstanceUID, *, by: str) -> None:
        """It may be announced again. Harmless when it is not marked."""
        async with self._db.write() as tx:
            if await feeds.clear_sensitive(tx, study):
                event = AuditEvent(AuditType.STUDY_UNMARKED_SENSITIVE, self._clock.now(), by, study=study)
                await audit.append(tx, event)
