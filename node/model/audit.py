"""Audit events: who did what to whose images, why, and how it ended.

An event is written in the transaction that does the thing (``store.audit.append``), so neither exists without the
other. It names patients and studies in clear (the index is encrypted, and an auditor must be able to ask "who saw
mine?"); what leaves the node is only its salted leaf hash (RFC 6962), from which nothing can be guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID


class AuditType(StrEnum):
    """What happened. The values are stable: they stand in exports and in old logs."""

    NODE_STARTED = "node_started"
    NODE_STOPPED = "node_stopped"
    # Trust
    PEER_INVITED = "peer_invited"
    PEER_JOINED = "peer_joined"
    PEER_TRUSTED = "peer_trusted"
    PEER_SUSPENDED = "peer_suspended"
    PEER_RESUMED = "peer_resumed"
    PEER_REVOKED = "peer_revoked"
    PEER_POLICY_CHANGED = "peer_policy_changed"
    PAIRING_REFUSED = "pairing_refused"
    # Store
    STUDY_STORED = "study_stored"
    INSTANCE_QUARANTINED = "instance_quarantined"
    QUARANTINE_DECIDED = "quarantine_decided"
    IDENTITY_CORRECTED = "identity_corrected"
    REJECTION_NOTE_APPLIED = "rejection_note_applied"
    STUDY_WITHDRAWN = "study_withdrawn"
    WITHDRAWAL_SENT = "withdrawal_sent"
    WITHDRAWAL_RECEIVED = "withdrawal_received"
    STUDY_DELETED = "study_deleted"
    STUDY_PROTECTED = "study_protected"
    STUDY_UNPROTECTED = "study_unprotected"
    DAMAGE_FOUND = "damage_found"
    STUDIES_SEARCHED = "studies_searched"
    STUDY_READ = "study_read"
    # The facility's DICOM systems
    PACS_CHANGED = "pacs_changed"
    STUDY_RETRIEVED = "study_retrieved"
    COMMITMENT_REQUESTED = "commitment_requested"
    COMMITMENT_REPORTED = "commitment_reported"
    # Received studies and local patients
    STUDY_LINKED = "study_linked"
    STUDY_UNLINKED = "study_unlinked"
    DELIVERY_ORDERED = "delivery_ordered"
    STUDY_DELIVERED = "study_delivered"
    # Announcements
    ANNOUNCED = "announced"
    PRIORS_ASKED = "priors_asked"
    QUESTIONS_ANSWERED = "questions_answered"
    FEED_REFUSED = "feed_refused"
    # Consent, request, release, transfer
    SHARE_CODE_CREATED = "share_code_created"
    SHARE_CODE_REVOKED = "share_code_revoked"
    SHARE_CODE_FAILED = "share_code_failed"
    SHARE_CODE_LOCKED = "share_code_locked"
    CONSENT_RECORDED = "consent_recorded"
    CONSENT_REVOKED = "consent_revoked"
    CONSENTS_READ = "consents_read"
    PATIENT_KEY_BOUND = "patient_key_bound"
    PATIENT_KEY_REVOKED = "patient_key_revoked"
    PATIENT_OPTED_OUT = "patient_opted_out"
    PATIENT_OPTED_IN = "patient_opted_in"
    EMERGENCY_REVIEWED = "emergency_reviewed"
    STUDY_OFFERED = "study_offered"
    OFFER_RECEIVED = "offer_received"
    OFFER_DECIDED = "offer_decided"
    REQUEST_SENT = "request_sent"
    REQUEST_DECIDED = "request_decided"
    RELEASED = "released"
    TRANSFER_STATE = "transfer_state"
    STUDY_RECEIVED = "study_received"
    REPEAT_SPARED = "repeat_spared"  # what a clinician says that a fetched prior changed
    RECEIPT_SENT = "receipt_sent"
    RECEIPT_RECEIVED = "receipt_received"
    # The log itself
    AUDIT_READ = "audit_read"
    AUDIT_EXPORTED = "audit_exported"
    PEER_LOG_CONFLICT = "peer_log_conflict"  # a peer's log shrank or forked
    PEER_LOG_RESTARTED = "peer_log_restarted"  # a peer's log began a new tree, as after a restored backup
    OWN_LOG_CONFLICT = "own_log_conflict"  # a witness knows more of this log, or another one
    # Backups, keys, epochs
    BACKUP_MADE = "backup_made"
    LOG_RESTARTED = "log_restarted"  # the first event after a restore
    RESTORE_REVIEWED = "restore_reviewed"
    MASTER_KEY_ROTATED = "master_key_rotated"
    EPOCH_BEGUN = "epoch_begun"
    FEED_FORKED = "feed_forked"
    FEED_THAWED = "feed_thawed"
    STUDY_MARKED_SENSITIVE = "study_marked_sensitive"
    STUDY_UNMARKED_SENSITIVE = "study_unmarked_sensitive"
    # Access
    USER_CHANGED = "user_changed"
    TOKEN_ISSUED = "token_issued"  # noqa: S105 - the name of an event, not a secret
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - likewise
    ACCESS_DENIED = "access_denied"
    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"
    SIGN_IN_FAILED = "sign_in_failed"
    # Links that patients give to people
    LINK_CREATED = "link_created"
    LINK_OPENED = "link_opened"
    LINK_REFUSED = "link_refused"
    LINK_REVOKED = "link_revoked"
    # The portal
    PORTAL_INVITED = "portal_invited"
    PORTAL_INVITATION_WITHDRAWN = "portal_invitation_withdrawn"
    PORTAL_ENROLLED = "portal_enrolled"
    PORTAL_ENROLMENT_FAILED = "portal_enrolment_failed"
    PORTAL_ACCESS_GIVEN = "portal_access_given"
    PORTAL_ACCESS_ENDED = "portal_access_ended"
    PORTAL_CREDENTIALS_CHANGED = "portal_credentials_changed"
    PORTAL_ACCOUNT_RESET = "portal_account_reset"
    PORTAL_ACCOUNT_CLOSED = "portal_account_closed"
    PORTAL_ACCOUNTS_READ = "portal_accounts_read"
    PORTAL_HISTORY_READ = "portal_history_read"
    PORTAL_RULED = "portal_ruled"  # when a patient sees a study
    PORTAL_ALERTS_CHANGED = "portal_alerts_changed"
    PORTAL_UPLOADED = "portal_uploaded"  # a patient brought images
    PORTAL_UPLOAD_DECIDED = "portal_upload_decided"
    PORTAL_UPLOAD_DELETED = "portal_upload_deleted"
    PORTAL_MESSAGE_SENT = "portal_message_sent"  # a patient asks for a correction
    PORTAL_MESSAGE_ANSWERED = "portal_message_answered"
    PORTAL_INBOX_READ = "portal_inbox_read"  # staff looked at what patients brought or asked


class Outcome(StrEnum):
    """How it ended (PS3.15 A.5 Event Outcome Indicator, in words)."""

    SUCCESS = "success"
    REFUSED = "refused"
    FAILURE = "failure"


NODE_ACTOR = "node"  # what the daemon does of its own accord


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One entry of the log.

    ``actor`` is ``node``, ``user:NAME``, ``os:UID`` (a caller on the admin socket), ``peer:PEERID`` or ``ae:TITLE``;
    ``purpose`` a purpose-of-use code (``TREAT``) or empty; ``code`` the stable error code of a refusal; ``detail``
    small facts.
    """

    type: AuditType
    at: int  # seconds since the epoch
    actor: str = NODE_ACTOR
    outcome: Outcome = Outcome.SUCCESS
    peer: PeerId | None = None
    patient: PatientKey | None = None
    study: StudyInstanceUID | None = None
    request: RequestId | None = None
    purpose: str = ""
    code: str = ""
    detail: Mapping[str, str | int] = field(default_factory=dict)
