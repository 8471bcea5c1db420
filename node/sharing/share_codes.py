"""Share codes at the holder: made for a patient, listed, revoked."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from node.clock import Clock
from node.crypto import sharecode
from node.crypto.sharecode import ShareCode
from node.errors.sharing import InvalidShareCodeOrder, NoSuchShareCode, NothingToShare
from node.model.audit import AuditEvent, AuditType
from node.model.consent import (
    DAY_SECONDS,
    DEFAULT_CODE_DAYS,
    MAX_CODE_DAYS,
    MAX_CODE_STUDIES,
    MAX_CODE_USES,
    CodeConsent,
    ConsentId,
)
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import StudySummary
from node.sharing.endings import Effects, Endings
from node.sharing.ingest import Ingest
from node.store import audit, consents
from node.store.engine import Database, Write
from node.store.study_queries import StudyQuery, find_studies


@dataclass(frozen=True, slots=True)
class CreatedCode:
    """A new code. This is the only time that its text is known."""

    code: ShareCode = field(repr=False)
    consent: CodeConsent


class ShareCodes:
    """What the front desk, or the patient in the portal, does with codes."""

    def __init__(self, *, db: Database, ingest: Ingest, endings: Endings, clock: Clock) -> None:
        self._db = db
        self._ingest = ingest
        self._endings = endings
        self._clock = clock

    async def create(
        self,
        patient: PatientKey,
        *,
        by: str,
        studies: Sequence[StudyInstanceUID] = (),
        lifetime: int = DEFAULT_CODE_DAYS * DAY_SECONDS,
        uses: int = 1,
    ) -> CreatedCode:
        """Make a code for ``studies``, all own ones of the patient unless told; closes their open revisions.

        ``lifetime`` in seconds. ``by`` is the actor, as in audit events.

        Raises:
            InvalidShareCodeOrder: lifetime, uses or number of studies out of bounds.
            NothingToShare: no own study of this patient, or one of ``studies`` is not.
        """
        _check_bounds(lifetime, uses)
        async with self._db.read() as rx:
            own = await find_studies(rx, StudyQuery(patients=(patient,), own=True))
        chosen = _choose(own, studies)
        await self._ingest.close_revisions(chosen, actor=by)
        code, now = sharecode.generate(), self._clock.now()
        expires_at = now + lifetime
        consent = CodeConsent(ConsentId.new(), patient, frozenset(chosen), now, expires_at, uses, created_by=by)
        async with self._db.write() as tx:
            await consents.add(tx, consent, lookup_id=code.lookup_id, mac_key=code.mac_key)
            detail: dict[str, str | int] = {"code_id": str(consent.consent_id), "studies": len(chosen), "uses": uses}
            await audit.append(tx, AuditEvent(AuditType.SHARE_CODE_CREATED, now, by, patient=patient, detail=detail))
        return CreatedCode(code, consent)

    async def page(self, patient: PatientKey | None = None) -> list[CodeConsent]:
        """Codes, newest first; of one patient or of all."""
        async with self._db.read() as rx:
            return await consents.page(rx, patient=patient)

    async def revoke(self, consent_id: ConsentId, *, by: str) -> CodeConsent:
        """Revoke a code: nothing new under it, and what is being sent under it ends now. Again is as good.

        Raises:
            NoSuchShareCode: there is no such code.
        """
        async with self._db.write() as tx:
            await self.revoke_within(tx, consent_id, by)
            consent = await consents.get(tx, consent_id)
        assert consent is not None
        return consent

    async def revoke_within(self, tx: Write, consent_id: ConsentId, by: str) -> Effects:
        """The same in the caller's transaction; what it ended. Raises NoSuchShareCode."""
        now = self._clock.now()
        if await consents.get(tx, consent_id) is None:
            raise NoSuchShareCode
        changed = await consents.revoke(tx, consent_id, now)
        if changed:
            await audit.append(tx, await self._revoked_event(tx, consent_id, now, by))
        return await self._endings.revoked(tx, consent_id, by, anew=changed)

    @staticmethod
    async def _revoked_event(tx: Write, consent_id: ConsentId, now: int, by: str) -> AuditEvent:
        consent = await consents.get(tx, consent_id)
        assert consent is not None
        detail = {"code_id": str(consent_id)}
        return AuditEvent(AuditType.SHARE_CODE_REVOKED, now, by, patient=consent.patient, detail=detail)


def _check_bounds(lifetime: int, uses: int) -> None:
    if not 1 <= uses <= MAX_CODE_USES:
        raise InvalidShareCodeOrder("uses")
    if not 1 <= lifetime <= MAX_CODE_DAYS * DAY_SECONDS:
        raise InvalidShareCodeOrder("expiry")


def _choose(own: Sequence[StudySummary], wanted: Sequence[StudyInstanceUID]) -> list[StudyInstanceUID]:
    held = [study.study_instance_uid for study in own]
    chosen = list(dict.fromkeys(wanted)) or held
    if len(chosen) > MAX_CODE_STUDIES:
        raise InvalidShareCodeOrder("too many studies")
    if not chosen or not set(chosen) <= set(held):
        raise NothingToShare
    return chosen
