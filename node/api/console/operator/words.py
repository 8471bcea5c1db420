"""Codes, states and reasons in words: filters of the operator's templates, which begin with ``say_``."""

from collections.abc import Callable, Mapping

from node.api.web.words import moment, size
from node.errors.base import all_codes, describe_class
from node.model.audit import AuditType
from node.model.consent import ConsentKind, PurposeOfUse
from node.model.decide import ReviewReason

REASONS: Mapping[ReviewReason, str] = {
    ReviewReason.NAME_CONFLICT: "The name that they give is not the name held here.",
    ReviewReason.BIRTH_DATE_CONFLICT: "The birth dates differ.",
    ReviewReason.BIRTH_DATE_SWAPPED: "Day and month of the birth date have changed places: a slip, or another person.",
    ReviewReason.SEX_CONFLICT: "The sex that they give is not the one held here.",
    ReviewReason.PATIENT_ID_CONFLICT: "They give another patient id of the same issuer.",
    ReviewReason.NOT_IDENTIFIED: "Nothing contradicts, but too little agrees to be sure that it is the same person.",
    ReviewReason.NAMESAKES: "More than one patient here fits what they say.",
    ReviewReason.POLICY: "The policy for this facility says that a person looks at every request.",
    ReviewReason.RESTORED: "This node was restored from a backup, and nobody has looked yet what was revoked since.",
    ReviewReason.OUTSIDE_HOURS: "It came outside the hours in which releases to this facility go out by themselves.",
}

# Which line of the comparison a reason is about.
MARKS: Mapping[str, frozenset[str]] = {
    "name": frozenset({ReviewReason.NAME_CONFLICT}),
    "birth_date": frozenset({ReviewReason.BIRTH_DATE_CONFLICT, ReviewReason.BIRTH_DATE_SWAPPED}),
    "sex": frozenset({ReviewReason.SEX_CONFLICT}),
    "patient_id": frozenset({ReviewReason.PATIENT_ID_CONFLICT}),
}

PURPOSES: Mapping[str, str] = {
    PurposeOfUse.TREAT: "treatment",
    PurposeOfUse.ETREAT: "emergency treatment",
    PurposeOfUse.PATRQT: "request of the patient",
    PurposeOfUse.HOPERAT: "health care operations",
    PurposeOfUse.HPAYMT: "payment",
    PurposeOfUse.HRESCH: "research",
}

KINDS: Mapping[str, str] = {
    ConsentKind.SHARE_CODE: "share code of the patient",
    ConsentKind.PATIENT_KEY: "grant signed by the patient",
    ConsentKind.DIRECTIVE: "directive on file here",
    ConsentKind.ATTESTED: "signed form at the other facility",
    ConsentKind.EMERGENCY: "break-glass: the patient cannot be asked",
}

# State of anything to the kind of its tag; what is not here is plain.
TAGS: Mapping[str, str] = {
    **dict.fromkeys(
        ("TRUSTED", "COMPLETED", "ACCEPTED", "OPEN", "ACKNOWLEDGED", "connected", "success", "active"), "ok"
    ),
    **dict.fromkeys(
        (
            "PENDING",
            "SUSPENDED",
            "QUEUED",
            "OFFERED",
            "UNLINKED",
            "EXPECTED",
            "INCOMPLETE",
            "REVIEW",
            "away",
            "WAITING",
        ),
        "wait",
    ),
    **dict.fromkeys(("REVOKED", "FAILED", "REFUSED", "LOCKED", "DENY", "failure", "refused", "damaged"), "bad"),
    **dict.fromkeys(("AUTHORIZED", "TRANSFERRING", "VERIFYING", "SENDING", "PERMIT"), "info"),
}

STATES: Mapping[str, str] = {
    "PENDING": "to be confirmed",
    "TRUSTED": "trusted",
    "SUSPENDED": "suspended",
    "REVOKED": "revoked",
    "QUEUED": "waiting",
    "AUTHORIZED": "released",
    "TRANSFERRING": "moving",
    "VERIFYING": "verifying",
    "COMPLETED": "complete",
    "INCOMPLETE": "incomplete",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "OFFERED": "to be decided",
    "ACCEPTED": "accepted",
    "REFUSED": "refused",
    "EXPIRED": "expired",
    "WITHDRAWN": "taken back",
    "UNLINKED": "to be linked",
    "EXPECTED": "expected",
    "SENDING": "being sent",
    "OPEN": "open",
    "LOCKED": "locked",
    "USED": "used up",
    "ACKNOWLEDGED": "acknowledged",
    "PERMIT": "allows",
    "DENY": "forbids",
}

_TYPES: Mapping[str, str] = {
    AuditType.NODE_STARTED: "Node started",
    AuditType.NODE_STOPPED: "Node stopped",
    AuditType.PEER_POLICY_CHANGED: "Policy for a facility changed",
    AuditType.PAIRING_REFUSED: "Pairing refused",
    AuditType.STUDIES_SEARCHED: "Studies searched for",
    AuditType.PRIORS_ASKED: "Priors looked for at peers",
    AuditType.QUESTIONS_ANSWERED: "Questions of a peer answered",
    AuditType.FEED_REFUSED: "Announcements of a peer refused",
    AuditType.RELEASED: "Study released",
    AuditType.TRANSFER_STATE: "Transfer ended or stopped",
    AuditType.PEER_LOG_CONFLICT: "A facility's log contradicts itself",
    AuditType.OWN_LOG_CONFLICT: "A witness contradicts this log",
    AuditType.EMERGENCY_REVIEWED: "Break-glass reviewed",
}


def reason(code: str) -> str:
    """Why a person must look; the code of a newer node as it stands."""
    return REASONS.get(ReviewReason(code), code) if code in set(ReviewReason) else code


def purpose(code: str) -> str:
    """A purpose of use."""
    return PURPOSES.get(code, code)


def kind(value: str) -> str:
    """A kind of consent."""
    return KINDS.get(value, value)


def state(value: str) -> str:
    """A state of whatever."""
    return STATES.get(value, value.replace("_", " ").lower())


def tag(value: str) -> str:
    """The kind of tag that a state wears."""
    return TAGS.get(value, "plain")


def event(value: str) -> str:
    """A type of audit event."""
    return _TYPES.get(value) or value.replace("_", " ").capitalize()


def trouble(code: str) -> str:
    """What an error code means and what to do; empty for none."""
    known = all_codes().get(code)
    return describe_class(known).rpartition(" [")[0] if known is not None and code else code


def actor(value: str) -> str:
    """Who did something, as people say it."""
    kind_of, _, name = value.partition(":")
    words = {"user": name, "os": "command line", "peer": f"facility {name[:7]}", "ae": f"DICOM system {name}"}
    words |= {"patient": f"patient account {name[:8]}", "link": f"recipient of link {name[:8]}"}
    return words.get(kind_of, value) if name else {"node": "this node"}.get(value, value)


def second(seconds: int) -> str:
    """A point in time to the second, on the clock of this facility: what auditors compare."""
    return f"{moment(seconds)}:{seconds % 60:02}"


def rate(count: int, seconds: float) -> str:
    """Bytes a second."""
    return f"{size(round(count / seconds))}/s" if seconds > 0 else ""


FILTERS: dict[str, Callable[..., str]] = {
    "say_reason": reason,
    "say_purpose": purpose,
    "say_kind": kind,
    "say_state": state,
    "say_event": event,
    "say_trouble": trouble,
    "say_actor": actor,
    "say_rate": rate,
    "say_second": second,
    "tag_of": tag,
}
