"""Who read what: each read of a study is on record before the first byte leaves."""

from collections import OrderedDict

from node.clock import Clock
from node.model.access import Caller
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PatientKey, StudyInstanceUID
from node.sharing.audit import AuditLog

SAME_READ_SECONDS = 60.0  # a viewer makes hundreds of requests for one look at a study: that is one event
_REMEMBERED = 10_000


class Reads:
    """Records searches and reads."""

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._recent: OrderedDict[tuple[str, StudyInstanceUID, str], float] = OrderedDict()

    async def searched(self, caller: Caller, found: int, level: str) -> None:
        """A search was answered."""
        detail: dict[str, str | int] = {"found": found, "level": level}
        await self._audit.record(AuditEvent(AuditType.STUDIES_SEARCHED, self._clock.now(), caller.actor, detail=detail))

    async def read(self, caller: Caller, study: StudyInstanceUID, patient: PatientKey, what: str) -> None:
        """``what`` (``instances``, ``metadata``, ``bulkdata``) of a study is about to be answered."""
        key, now = (caller.actor, study, what), self._clock.monotonic()
        at = self._recent.get(key)
        if at is not None and now - at < SAME_READ_SECONDS:
            return
        event = AuditEvent(
            AuditType.STUDY_READ, self._clock.now(), caller.actor, patient=patient, study=study, detail={"what": what}
        )
        await self._audit.record(event)
        self._recent.pop(key, None)
        self._recent[key] = now
        while len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
