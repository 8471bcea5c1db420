"""Consent by share code, and the words that all kinds of consent share. Pure.

The other kinds stand in ``directive`` and ``evidence``; ``decide`` weighs them all.

A share code is the patient's consent in a form that can be handed on: whoever proves knowledge of it may have the
studies it was made for. What the code *is* (text, lookup id, MAC key) is ``crypto.sharecode``'s business; here is what
it allows.
"""

from dataclasses import dataclass
from enum import StrEnum

from node.model.ids import PatientKey, RandomId, StudyInstanceUID

DAY_SECONDS = 86_400
MAX_CODE_DAYS = 366  # a code printed at one exam may serve until the yearly control, no longer
DEFAULT_CODE_DAYS = 30
MAX_CODE_USES = 100  # a family's doctors; more would be a publication
MAX_CODE_STUDIES = 200  # studies one code may cover


class ConsentId(RandomId):
    """A consent on file; for a share code its public id, which tells nothing about the code."""


class PurposeOfUse(StrEnum):
    """Why images are asked for (HL7 v3 PurposeOfUse, as BALP and XDS use it)."""

    TREAT = "TREAT"  # treatment
    ETREAT = "ETREAT"  # emergency treatment
    PATRQT = "PATRQT"  # the patient asked
    HOPERAT = "HOPERAT"  # health care operations
    HPAYMT = "HPAYMT"  # payment
    HRESCH = "HRESCH"  # research


SHARE_CODE_PURPOSES = frozenset({PurposeOfUse.TREAT, PurposeOfUse.ETREAT, PurposeOfUse.PATRQT})


class ConsentKind(StrEnum):
    """How a patient's consent comes to the holder."""

    SHARE_CODE = "share_code"
    PATIENT_KEY = "patient_key"
    DIRECTIVE = "directive"
    ATTESTED = "attested"
    EMERGENCY = "emergency"


class RefusalCode(StrEnum):
    """Why a request is refused; each is the code of an error in ``errors.sharing``."""

    NOT_RELEASED = "not_released"  # all that somebody hears who proved nothing
    NO_CONSENT = "no_consent"
    CONSENT_EXPIRED = "consent_expired"
    CONSENT_REVOKED = "consent_revoked"
    CONSENT_DENIED = "consent_denied"
    CONSENT_OTHER_STUDY = "consent_other_study"
    KIND = "consent_kind_not_accepted"
    OPTED_OUT = "patient_opted_out"
    EMERGENCY_LIMIT = "emergency_limit"
    QUOTA = "release_quota_reached"
    EXPIRED = "share_code_expired"
    REVOKED = "share_code_revoked"
    LOCKED = "share_code_locked"
    USED = "share_code_used"
    OTHER_STUDY = "share_code_other_study"
    PURPOSE = "purpose_not_covered"
    OPERATOR = "refused_by_operator"


@dataclass(frozen=True, slots=True)
class CodeConsent:
    """A share code's consent, as it stands now."""

    consent_id: ConsentId
    patient: PatientKey
    studies: frozenset[StudyInstanceUID]
    created_at: int
    expires_at: int
    uses: int  # how many requests it may release
    used: int = 0
    failures: int = 0  # proofs that named this code and were wrong
    locked_at: int | None = None
    revoked_at: int | None = None
    created_by: str = ""

    kind = ConsentKind.SHARE_CODE
    is_proof = True

    def refusal(self, now: int) -> RefusalCode | None:
        """Why it allows nothing new at ``now``; ``None`` if it does."""
        if self.revoked_at is not None:
            return RefusalCode.REVOKED
        if now >= self.expires_at:
            return RefusalCode.EXPIRED
        if self.locked_at is not None:
            return RefusalCode.LOCKED
        if self.used >= self.uses:
            return RefusalCode.USED
        return None


class CodeState(StrEnum):
    """A share code at a glance."""

    OPEN = "OPEN"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"
    LOCKED = "LOCKED"
    USED = "USED"


def code_state(consent: CodeConsent, now: int) -> CodeState:
    """How a list shows it."""
    refusal = consent.refusal(now)
    return CodeState.OPEN if refusal is None else CodeState[refusal.name]
