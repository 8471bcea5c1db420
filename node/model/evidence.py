"""Consents that a request brings along: the patient's signed grant, a facility's attestation, an emergency. Pure.

A grant is verified against a key that the holder bound to the patient in person, so it is as good as a share code.
Attestation and emergency are the requesting facility's word, signed with its request: they identify nobody, so the
match has to be confirmed, and they count only where the operator said that this peer's word counts.
"""

from dataclasses import dataclass, field

from node.model.consent import ConsentId, ConsentKind, PurposeOfUse, RefusalCode
from node.model.directive import Scope
from node.model.ids import PatientKey, PeerId

MAX_GRANT_SECONDS = 366 * 86_400  # a patient's grant lasts a year at most, like a code
EMERGENCY_STUDIES = 5  # studies one emergency may name: what an emergency room opens, not an archive
EMERGENCY_SECONDS = 24 * 3600  # how long an emergency's release stays valid
MAX_REASON = 500  # characters of a clinician's reason


@dataclass(frozen=True, slots=True)
class Grant:
    """A patient's signed grant; signature, holder and recipient were checked when it was read."""

    consent_id: ConsentId  # its jti
    patient: PatientKey  # whom the signing key is bound to here
    recipient: PeerId
    scope: Scope
    purposes: frozenset[PurposeOfUse]
    not_before: int
    expires_at: int
    revoked_at: int | None = None  # the grant, or the key that signed it

    kind = ConsentKind.PATIENT_KEY
    is_proof = True

    def refusal(self, now: int) -> RefusalCode | None:
        """Why it allows nothing new at ``now``; ``None`` if it does."""
        if self.revoked_at is not None:
            return RefusalCode.CONSENT_REVOKED
        if not self.not_before <= now < self.expires_at:
            return RefusalCode.CONSENT_EXPIRED
        return None


@dataclass(frozen=True, slots=True)
class Attestation:
    """The requesting facility says that it holds the patient's signed form."""

    consent_id: ConsentId
    form_digest: bytes = field(repr=False)  # SHA-256 of the signed form, which stays at the requester
    staff: str = ""  # who saw the patient sign

    kind = ConsentKind.ATTESTED
    is_proof = False

    def refusal(self, now: int) -> RefusalCode | None:  # noqa: ARG002 - the kinds share one signature
        """Nothing in itself: it is as old as the request that brings it."""
        return None


@dataclass(frozen=True, slots=True)
class Emergency:
    """Break-glass: a clinician's word that the patient cannot be asked."""

    consent_id: ConsentId
    reason: str = field(repr=False)
    clinician: str = ""

    kind = ConsentKind.EMERGENCY
    is_proof = False

    def refusal(self, now: int) -> RefusalCode | None:  # noqa: ARG002 - the kinds share one signature
        """Nothing in itself: it is as old as the request that brings it."""
        return None
