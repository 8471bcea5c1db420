"""Correcting who a patient is, as a HIS does with ADT A40 (merge) and A08 (update), and moving a study to another one.

Stored bytes stay as they are. The index says who it really is, each study gets a new revision, everybody it was
released to is told, and the correction is written down with what was said before, so that it can be undone.
"""

from collections.abc import Sequence

from node.errors.announce import UnknownPatient
from node.errors.lifecycle import CorrectionSuperseded, NothingToCorrect, NotOwnStudy, PatientTaken, UnknownCorrection
from node.errors.storage import UnknownStudy
from node.model.audit import AuditEvent, AuditType
from node.model.correction import Changes, Correction, CorrectionId, CorrectionKind, FormerIdentity
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import Demographics
from node.model.withdrawal import CorrectedIdentity, WithdrawalKind
from node.sharing.withdrawals import Matter, WithdrawalParts, Withdrawals
from node.store import audit, corrections, identity
from node.store.engine import Write

MAX_FORMERLY = 64  # told to a recipient; a study that had more patients has other troubles


class Corrections:
    """Corrects identities; only one's own studies are touched."""

    def __init__(self, parts: WithdrawalParts, withdrawals: Withdrawals) -> None:
        self._parts = parts
        self._withdrawals = withdrawals

    async def merge(self, patient: PatientKey, into: PatientKey, reason: str, *, by: str) -> Correction:
        """Two patients are one: the studies of ``patient`` are those of ``into``, later ones too (ADT A40).

        Raises:
            UnknownPatient: no own study of one of them is held. NothingToCorrect: they are one already.
        """
        await self._parts.store.indexed()
        async with self._parts.db.write() as tx:
            into = await identity.survivor(tx, into)
            studies = await corrections.own_studies(tx, patient)
            known = await corrections.own_studies(tx, into)
            if patient == into:
                raise NothingToCorrect
            if not studies or not known:
                raise UnknownPatient
            await corrections.carry_refusals(tx, patient, into, at=self._parts.clock.now())
            return await self._apply(
                tx,
                CorrectionKind.MERGE,
                patient,
                into,
                said=known[0].demographics,
                studies=studies,
                reason=reason,
                by=by,
            )

    async def correct(self, patient: PatientKey, changes: Changes, reason: str, *, by: str) -> Correction:
        """What was said of ``patient`` was wrong (ADT A08); the id and its issuer may be part of it (A47).

        Raises:
            UnknownPatient: no own study is held. PatientTaken: the new id is somebody's. NothingToCorrect.
        """
        await self._parts.store.indexed()
        async with self._parts.db.write() as tx:
            studies = await corrections.own_studies(tx, patient)
            if not studies:
                raise UnknownPatient
            into, said = changes.key_of(patient), changes.said_of(studies[0].demographics)
            if not into.patient_id or (into == patient and all(said == s.demographics for s in studies)):
                raise NothingToCorrect
            if into != patient:
                if await corrections.own_studies(tx, into):
                    raise PatientTaken
                await corrections.carry_refusals(tx, patient, into, at=self._parts.clock.now())
            return await self._apply(
                tx, CorrectionKind.CORRECT, patient, into, said=said, studies=studies, reason=reason, by=by
            )

    async def move(self, study: StudyInstanceUID, into: PatientKey, reason: str, *, by: str) -> Correction:
        """A study was filed under the wrong patient: it is ``into``'s. What the wrong one permitted does not go along.

        Raises:
            UnknownStudy, NotOwnStudy. UnknownPatient: no own study of ``into`` is held. NothingToCorrect.
        """
        await self._parts.store.indexed()
        async with self._parts.db.write() as tx:
            found = await corrections.own_study(tx, study)
            if found is None:
                raise UnknownStudy
            former, is_own = found
            if not is_own:
                raise NotOwnStudy
            into = await identity.survivor(tx, into)
            if former.patient == into:
                raise NothingToCorrect
            known = await corrections.own_studies(tx, into)
            if not known:
                raise UnknownPatient
            said = known[0].demographics
            return await self._apply(
                tx, CorrectionKind.MOVE, former.patient, into, said=said, studies=[former], reason=reason, by=by
            )

    async def undo(self, correction_id: CorrectionId, *, by: str) -> Correction:
        """Take a correction back: every study says again what it said before.

        Raises:
            UnknownCorrection: none, or undone already. CorrectionSuperseded: a study was corrected again since.
        """
        now = self._parts.clock.now()
        await self._parts.store.indexed()
        async with self._parts.db.write() as tx:
            correction = await corrections.get(tx, correction_id)
            if correction is None or correction.undone_at is not None:
                raise UnknownCorrection
            if await corrections.has_later(tx, correction):
                raise CorrectionSuperseded
            await corrections.set_undone(tx, correction, at=now)
            if correction.kind is not CorrectionKind.MOVE and correction.patient != correction.into:
                await corrections.share_refusals(tx, correction.into, correction.patient)
            for former in correction.studies:
                await self._say(tx, former.study, former.patient, former.demographics, correction.reason, by=by)
            await audit.append(tx, _event(correction, now, by, undone=True))
            undone = await corrections.get(tx, correction_id)
            assert undone is not None
            return undone

    async def page(self) -> list[Correction]:
        """Corrections, last first."""
        async with self._parts.db.read() as rx:
            return await corrections.page(rx)

    async def _apply(
        self,
        tx: Write,
        kind: CorrectionKind,
        patient: PatientKey,
        into: PatientKey,
        *,
        said: Demographics,
        studies: Sequence[FormerIdentity],
        reason: str,
        by: str,
    ) -> Correction:
        now = self._parts.clock.now()
        correction = Correction(CorrectionId.new(), kind, patient, into, said, reason, now, by, tuple(studies))
        await corrections.add(tx, correction)
        for former in studies:
            await self._say(tx, former.study, into, said, reason, by=by)
        await audit.append(tx, _event(correction, now, by, undone=False))
        return correction

    async def _say(
        self, tx: Write, study: StudyInstanceUID, patient: PatientKey, said: Demographics, reason: str, *, by: str
    ) -> None:
        """Say whose ``study`` is, here and to everybody it was released to."""
        manifest = await corrections.apply(tx, study, patient, said, now=self._parts.clock.now())
        tx.after_commit(lambda: self._parts.store.corrected(study, patient))
        former = tuple(await identity.formerly(tx, study))[:MAX_FORMERLY]
        new = CorrectedIdentity(patient, said, former)
        matter = Matter(study, WithdrawalKind.CORRECTION, None, reason, identity=new)
        await self._withdrawals.tell(tx, matter, count=0 if manifest is None else len(manifest.entries), by=by)


def _event(correction: Correction, now: int, by: str, *, undone: bool) -> AuditEvent:
    detail: dict[str, str | int] = {
        "correction": str(correction.correction_id),
        "kind": correction.kind.value,
        "into_issuer": correction.into.issuer,
        "into_patient_id": correction.into.patient_id,
        "reason": correction.reason,
        "studies": len(correction.studies),
        "undone": int(undone),
    }
    return AuditEvent(AuditType.IDENTITY_CORRECTED, now, by, patient=correction.patient, detail=detail)
