"""What each audit event is in DICOM's words: Event ID (PS3.16 CID 400), Event Type (CID 401), action (PS3.15 A.5.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from node.model.audit import AuditType, Outcome


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept of the DICOM controlled terminology."""

    value: str
    meaning: str


APPLICATION = Code("110100", "Application Activity")
ACCESSED = Code("110103", "DICOM Instances Accessed")
TRANSFERRED = Code("110104", "DICOM Instances Transferred")
IMPORTED = Code("110107", "Import")
ORDER = Code("110109", "Order Record")
PATIENT = Code("110110", "Patient Record")
QUERY = Code("110112", "Query")
SECURITY = Code("110113", "Security Alert")
USER = Code("110114", "User Authentication")

STARTED = Code("110120", "Application Start")
STOPPED = Code("110121", "Application Stop")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
CONFIGURATION = Code("110131", "Software Configuration")
OBJECT_SECURITY = Code("110132", "Use of Restricted Function")
USER_SECURITY = Code("110137", "User Security Attributes Changed")

SOURCE_ROLE = Code("110153", "Source Role ID")
DESTINATION_ROLE = Code("110152", "Destination Role ID")
APPLICATION_ROLE = Code("110150", "Application")


class Action(StrEnum):
    """Event Action Code (PS3.15 table A.5.2-1)."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


@dataclass(frozen=True, slots=True)
class Coded:
    """How an event is told."""

    event: Code
    action: Action
    kind: Code | None = None  # Event Type


_C, _R, _U, _D, _E = Action
_T = AuditType
_TRUST = Coded(SECURITY, _E, NODE_AUTHENTICATION)
_PATIENT_UPDATE = Coded(PATIENT, _U)

CODED: Mapping[AuditType, Coded] = {
    _T.NODE_STARTED: Coded(APPLICATION, _E, STARTED),
    _T.NODE_STOPPED: Coded(APPLICATION, _E, STOPPED),
    _T.PEER_INVITED: _TRUST,
    _T.PEER_JOINED: _TRUST,
    _T.PEER_TRUSTED: _TRUST,
    _T.PEER_SUSPENDED: _TRUST,
    _T.PEER_RESUMED: _TRUST,
    _T.PEER_REVOKED: _TRUST,
    _T.PEER_POLICY_CHANGED: Coded(SECURITY, _E, CONFIGURATION),
    _T.PAIRING_REFUSED: _TRUST,
    _T.STUDY_STORED: Coded(IMPORTED, _C),
    _T.STUDY_DELETED: Coded(ACCESSED, _D),
    _T.STUDY_PROTECTED: Coded(ACCESSED, _U),
    _T.STUDY_UNPROTECTED: Coded(ACCESSED, _U),
    _T.DAMAGE_FOUND: Coded(ACCESSED, _E),
    _T.STUDIES_SEARCHED: Coded(QUERY, _E),
    _T.STUDY_READ: Coded(ACCESSED, _R),
    _T.STUDY_RETRIEVED: Coded(TRANSFERRED, _R),
    _T.STUDY_DELIVERED: Coded(TRANSFERRED, _R),
    _T.STUDY_RECEIVED: Coded(TRANSFERRED, _C),
    _T.RELEASED: Coded(TRANSFERRED, _R),
    _T.TRANSFER_STATE: Coded(TRANSFERRED, _E),
    _T.RECEIPT_SENT: Coded(TRANSFERRED, _E),
    _T.REPEAT_SPARED: Coded(ORDER, _U),
    _T.RECEIPT_RECEIVED: Coded(TRANSFERRED, _E),
    _T.STUDY_WITHDRAWN: Coded(ACCESSED, _D),
    _T.WITHDRAWAL_SENT: Coded(ACCESSED, _D),
    _T.WITHDRAWAL_RECEIVED: Coded(ACCESSED, _D),
    _T.REJECTION_NOTE_APPLIED: Coded(ACCESSED, _D),
    _T.INSTANCE_QUARANTINED: Coded(IMPORTED, _C),
    _T.QUARANTINE_DECIDED: Coded(ACCESSED, _U),
    _T.PORTAL_UPLOADED: Coded(IMPORTED, _C),
    _T.PORTAL_UPLOAD_DECIDED: Coded(IMPORTED, _U),
    _T.PORTAL_UPLOAD_DELETED: Coded(ACCESSED, _D),
    _T.PORTAL_INBOX_READ: Coded(PATIENT, _R),
    _T.PRIORS_ASKED: Coded(QUERY, _E),
    _T.QUESTIONS_ANSWERED: Coded(QUERY, _E),
    _T.CONSENTS_READ: Coded(PATIENT, _R),
    _T.STUDY_OFFERED: Coded(ORDER, _C),
    _T.OFFER_RECEIVED: Coded(ORDER, _C),
    _T.OFFER_DECIDED: Coded(ORDER, _U),
    _T.REQUEST_SENT: Coded(ORDER, _C),
    _T.REQUEST_DECIDED: Coded(ORDER, _U),
    _T.DELIVERY_ORDERED: Coded(ORDER, _C),
    _T.USER_CHANGED: Coded(SECURITY, _E, USER_SECURITY),
    _T.TOKEN_ISSUED: Coded(SECURITY, _E, USER_SECURITY),
    _T.ACCESS_DENIED: Coded(SECURITY, _E, OBJECT_SECURITY),
    _T.STUDY_MARKED_SENSITIVE: Coded(ACCESSED, _U),
    _T.STUDY_UNMARKED_SENSITIVE: Coded(ACCESSED, _U),
    _T.BACKUP_MADE: Coded(APPLICATION, _R),
    _T.LOG_RESTARTED: Coded(SECURITY, _E),
    _T.RESTORE_REVIEWED: Coded(SECURITY, _E, CONFIGURATION),
    _T.MASTER_KEY_ROTATED: Coded(SECURITY, _E, CONFIGURATION),
    _T.EPOCH_BEGUN: Coded(SECURITY, _E, CONFIGURATION),
    _T.FEED_FORKED: Coded(SECURITY, _E),
    _T.FEED_THAWED: Coded(SECURITY, _E, CONFIGURATION),
    _T.PEER_LOG_RESTARTED: Coded(SECURITY, _E),
    _T.PEER_LOG_CONFLICT: Coded(SECURITY, _E),
    _T.OWN_LOG_CONFLICT: Coded(SECURITY, _E),
    _T.FEED_REFUSED: Coded(SECURITY, _E),
    _T.SHARE_CODE_FAILED: Coded(SECURITY, _E),
    _T.SHARE_CODE_LOCKED: Coded(SECURITY, _E),
    _T.LINK_OPENED: Coded(TRANSFERRED, _R),
    _T.LINK_REFUSED: Coded(SECURITY, _E, OBJECT_SECURITY),
    _T.PORTAL_ENROLMENT_FAILED: Coded(SECURITY, _E),
    _T.PORTAL_CREDENTIALS_CHANGED: Coded(SECURITY, _E, USER_SECURITY),
    _T.PORTAL_ACCOUNT_RESET: Coded(SECURITY, _E, USER_SECURITY),
    _T.PORTAL_ACCOUNT_CLOSED: Coded(SECURITY, _E, USER_SECURITY),
    _T.PORTAL_ACCOUNTS_READ: Coded(PATIENT, _R),
    _T.PORTAL_HISTORY_READ: Coded(PATIENT, _R),
    _T.AUDIT_READ: Coded(Code("110101", "Audit Log Used"), _R),
    _T.AUDIT_EXPORTED: Coded(Code("110101", "Audit Log Used"), _R),
    _T.PACS_CHANGED: Coded(SECURITY, _E, CONFIGURATION),
}
OTHERS = _PATIENT_UPDATE  # consents, links, corrected identities: changes to what is recorded of a patient


def coded(kind: AuditType) -> Coded:
    """How events of this type are told."""
    return CODED.get(kind, OTHERS)


# Event Outcome Indicator (PS3.15 table A.5.2-1), which FHIR took over: success, minor failure, serious failure.
OUTCOMES: Mapping[Outcome, str] = {Outcome.SUCCESS: "0", Outcome.REFUSED: "4", Outcome.FAILURE: "8"}
