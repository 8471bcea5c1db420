"""What break-glass released, and what the privacy officer found when looking at it afterwards."""

from dataclasses import dataclass, field

from node.clock import Clock
from node.errors.consents import EmergencyReviewed, NoSuchEmergency
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PatientKey, RequestId, StudyInstanceUID
from node.model.request import EmergencyProof
from node.peers.messages import decode_body
from node.peers.proofs import decode_proof
from node.store import audit, brought, requests, transfers
from node.store.brought import EmergencyReview
from node.store.engine import Database, Read

MAX_NOTE = 1000  # characters


@dataclass(frozen=True, slots=True)
class EmergencyEntry:
    """A release by break-glass: who said what, what went out, and the verdict if there is one."""

    review: EmergencyReview
    reason: str = field(repr=False)
    user: str
    patient: PatientKey | None
    studies: tuple[StudyInstanceUID, ...]


class Emergencies:
    """The review queue."""

    def __init__(self, *, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def pending(self) -> int:
        """How many wait for somebody to look at them."""
        async with self._db.read() as rx:
            return len(await brought.reviews(rx, pending=True))

    async def page(self, *, pending: bool, by: str) -> list[EmergencyEntry]:
        """Releases by break-glass, newest first; those that wait, or all. The look is logged."""
        async with self._db.write() as tx:
            found = [await _entry(tx, one) for one in await brought.reviews(tx, pending=pending)]
            event = AuditEvent(AuditType.CONSENTS_READ, self._clock.now(), by, detail={"emergencies": len(found)})
            await audit.append(tx, event)
        return found

    async def review(
        self, request_id: RequestId, *, justified: bool, note: str, patient_told: bool, by: str
    ) -> EmergencyReview:
        """Write the verdict down; it stands.

        Raises:
            NoSuchEmergency: there is none with this id. EmergencyReviewed: somebody was quicker.
        """
        now = self._clock.now()
        async with self._db.write() as tx:
            found = await brought.get_review(tx, request_id)
            if found is None:
                raise NoSuchEmergency
            verdict = "justified" if justified else "unjustified"
            review = EmergencyReview(
                request_id, found.consent_id, found.peer, found.released_at, now, by, verdict, note[:MAX_NOTE],
                now if patient_told else None,
            )  # fmt: skip
            if not await brought.close_review(tx, review):
                raise EmergencyReviewed
            kept = await brought.get(tx, found.consent_id)
            detail: dict[str, str | int] = {"verdict": verdict, "note": review.note, "patient_told": int(patient_told)}
            event = AuditEvent(
                AuditType.EMERGENCY_REVIEWED, now, by, peer=found.peer, patient=kept.patient if kept else None,
                request=request_id, detail=detail,
            )  # fmt: skip
            await audit.append(tx, event)
        return review


async def _entry(rx: Read, review: EmergencyReview) -> EmergencyEntry:
    kept, row = await brought.get(rx, review.consent_id), await requests.get_received(rx, review.request_id)
    transfer = await transfers.get(rx, review.request_id)
    word = decode_proof(kept.proof) if kept is not None else None
    return EmergencyEntry(
        review,
        word.reason if isinstance(word, EmergencyProof) else "",
        decode_body(row.body).user if row is not None else "",
        kept.patient if kept is not None else None,
        transfer.studies if transfer is not None else (),
    )
