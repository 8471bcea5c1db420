"""What studies were: their revisions, and those of which nothing is shown any more."""

from dataclasses import dataclass

from node.clock import Clock
from node.errors.storage import UnknownStudy
from node.model.audit import AuditEvent, AuditType
from node.model.ids import StudyInstanceUID
from node.model.lifecycle import HiddenReason
from node.store import audit, corrections, hiding, revisions
from node.store.engine import Database
from node.store.hiding import WithdrawnStudy
from node.store.objects import ObjectStore
from node.store.revisions import ClosedRevision


@dataclass(frozen=True, slots=True)
class StudyHistory:
    """A study's closed revisions, last first, and how many of its instances are hidden, by reason."""

    revisions: tuple[ClosedRevision, ...]
    hidden: dict[HiddenReason, int]


class History:
    """Looks back."""

    def __init__(self, db: Database, store: ObjectStore, clock: Clock) -> None:
        self._db = db
        self._store = store
        self._clock = clock

    async def of(self, study: StudyInstanceUID, *, by: str) -> StudyHistory:
        """One study's; also a withdrawn one's. Raises UnknownStudy."""
        await self._store.indexed()
        async with self._db.read() as rx:
            found = StudyHistory(tuple(await revisions.history(rx, study)), await hiding.hidden_counts(rx, study))
            known = found.revisions or found.hidden or await corrections.own_study(rx, study)
        if not known:
            raise UnknownStudy
        await self._record(
            AuditEvent(AuditType.STUDY_READ, self._clock.now(), by, study=study, detail={"what": "history"})
        )
        return found

    async def withdrawn(self, *, by: str) -> list[WithdrawnStudy]:
        """The studies that were withdrawn, here or by where they came from, last first."""
        async with self._db.read() as rx:
            found = await hiding.withdrawn(rx)
        event = AuditEvent(
            AuditType.STUDIES_SEARCHED, self._clock.now(), by, detail={"found": len(found), "what": "withdrawn"}
        )
        await self._record(event)
        return found

    async def _record(self, event: AuditEvent) -> None:
        async with self._db.write() as tx:
            await audit.append(tx, event)
