"""A request for release: what a facility asks another for, and the states that it goes through. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from node.model.consent import PurposeOfUse
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID, StudyRef
from node.model.instance import Demographics
from node.model.transitions import step

MAX_TARGETS = 32  # studies in one request: a patient's relevant priors, not an archive
MAX_AGE_SECONDS = 600  # a request arrives within ten minutes of signing
MAX_SKEW_SECONDS = 120  # how far the requester's clock may be ahead

# What a request names: a study by its UID, or by the opaque ref of an announcement.
StudyTarget = StudyInstanceUID | StudyRef


@dataclass(frozen=True, slots=True)
class Subject:
    """Who the requester says the patient is; nothing said if it relies on the share code alone."""

    patient: PatientKey | None = None  # under the requester's or a shared issuer
    demographics: Demographics = field(default_factory=Demographics)


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """What is asked: by whom, of whom, about which studies, for what."""

    request_id: RequestId
    holder: PeerId
    requester: PeerId
    user: str
    role: str
    purpose: PurposeOfUse
    subject: Subject
    targets: tuple[StudyTarget, ...]


@dataclass(frozen=True, slots=True)
class CodeProof:
    """Proof of a share code: its lookup id, and a MAC under its key over request digest, holder and requester."""

    lookup_id: bytes
    mac: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GrantProof:
    """The patient's own grant: a compact JWS by the key that the holder bound to the record."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AttestedProof:
    """The requester's word that it holds the patient's signed form: the form's SHA-256, and who saw it signed."""

    form_digest: bytes
    staff: str


@dataclass(frozen=True, slots=True)
class EmergencyProof:
    """The requester's word that the patient cannot be asked, and why."""

    reason: str = field(repr=False)


# What a request brings as consent; None: it relies on a directive that the holder has on file.
Proof = CodeProof | GrantProof | AttestedProof | EmergencyProof


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it arrived: ``digest`` is SHA-256 of the exact bytes of its body, the same for each retry."""

    request: ReleaseRequest
    body: bytes = field(repr=False)
    digest: bytes
    signed_at: int
    proof: Proof | None


def is_fresh(signed_at: int, now: int) -> bool:
    """Whether a request signed then may be taken at ``now``."""
    return now - MAX_AGE_SECONDS <= signed_at <= now + MAX_SKEW_SECONDS


class RequestState(StrEnum):
    """Where a request stands, at either side."""

    ASKED = "ASKED"  # not answered yet
    REVIEW = "REVIEW"  # a person at the holder decides
    PERMITTED = "PERMITTED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"  # ended without an answer: unreachable, cancelled


class RequestEvent(StrEnum):
    """What moves a request."""

    PERMIT = "permit"
    REFUSE = "refuse"
    REVIEW = "review"
    FAIL = "fail"


_A, _R = RequestState.ASKED, RequestState.REVIEW
_E = RequestEvent

REQUEST_TRANSITIONS: Mapping[tuple[RequestState, RequestEvent], RequestState] = {
    (_A, _E.PERMIT): RequestState.PERMITTED,
    (_A, _E.REFUSE): RequestState.REFUSED,
    (_A, _E.REVIEW): RequestState.REVIEW,
    (_A, _E.FAIL): RequestState.FAILED,
    (_R, _E.PERMIT): RequestState.PERMITTED,
    (_R, _E.REFUSE): RequestState.REFUSED,
    (_R, _E.REVIEW): RequestState.REVIEW,
    (_R, _E.FAIL): RequestState.FAILED,
}


def next_request_state(state: RequestState, event: RequestEvent) -> RequestState:
    """The state after ``event``; raises IllegalTransition."""
    return step(REQUEST_TRANSITIONS, state, event)
