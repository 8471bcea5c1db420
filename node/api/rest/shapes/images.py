"""Answers about patients, studies, and what becomes of images."""

from typing import TypedDict


class PersonShown(TypedDict):
    """A person; dates as YYYYMMDD, names as DICOM writes them."""

    patient_id: str | None
    issuer_of_patient_id: str | None
    name: str
    birth_date: str
    sex: str


class StudyShown(TypedDict):
    """A study that is held here. ``origin`` null: an own one; ``linked_…``: the local patient it belongs to."""

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    study_date: str
    modalities: list[str]
    description: str
    series: int
    instances: int
    bytes: int
    revision: int
    revision_open: bool
    origin: str | None
    linked_patient_id: str | None
    linked_issuer_of_patient_id: str | None
    report: bool


class StudyList(TypedDict):
    """What is held, newest first."""

    studies: list[StudyShown]
    next: str | None


class PriorShown(TypedDict):
    """A study elsewhere; null is what its holder does not tell before there is consent."""

    ref: str
    study_instance_uid: str | None
    study_date: str | None
    year: int | None
    modalities: list[str]
    regions: list[str]
    description: str | None
    instances: int | None
    report: bool | None
    revision: int | None
    match: str
    consent_on_file: bool
    held: bool


class PeerPriorsShown(TypedDict):
    """What one peer announced; ``status`` is ``ok`` or an error code."""

    peer_id: str
    name: str
    status: str
    studies: list[PriorShown]


class PriorsShown(TypedDict):
    """Studies of a patient here and elsewhere."""

    local: list[StudyShown]
    peers: list[PeerPriorsShown]


class HandleShown(TypedDict):
    """An opaque id for a patient, good for an hour, for this caller."""

    id: str


class LinkShown(TypedDict):
    """A received study that belongs to a local patient; ``origin_…``: as it came."""

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    linked_at: int
    linked_by: str
    origin: str | None
    origin_patient_id: str
    origin_issuer_of_patient_id: str
    origin_patient_name: str
    study_date: str
    modalities: list[str]
    description: str


class LinkMade(LinkShown):
    """A new link; ``known_here`` false: no study of this facility names that patient, so look at the id again."""

    known_here: bool


class LinkList(TypedDict):
    """Links, newest first."""

    links: list[LinkShown]
    next: str | None


class StudyNamed(TypedDict):
    """The study that something was done to."""

    study_instance_uid: str


class ProtectionShown(TypedDict):
    """A study that must not be deleted."""

    study_instance_uid: str
    reason: str
    at: int
    by: str


class ProtectionList(TypedDict):
    """Protections, newest first."""

    protections: list[ProtectionShown]
    next: str | None


class DamageShown(TypedDict):
    """A study of which stored objects do not verify."""

    ref: str
    study_instance_uid: str | None
    origin: str | None
    flaw: str
    objects: int
    found_at: int


class ScrubShown(TypedDict):
    """How far the look through all stored objects is, and what it found."""

    running: bool
    began_at: int | None
    ended_at: int | None
    objects: int
    bytes: int
    total_bytes: int
    damaged: list[DamageShown]


class SideShown(TypedDict):
    """One of two instances that contradict each other."""

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    modality: str
    transfer_syntax_uid: str
    digest: str
    bytes: int


class QuarantinedShown(SideShown):
    """An instance that was put aside, and why."""

    number: int
    reason: str
    source: str
    origin: str | None
    received_at: int


class QuarantineList(TypedDict):
    """What was put aside, last first."""

    quarantine: list[QuarantinedShown]
    next: str | None


class DifferenceShown(TypedDict):
    """An attribute in which the two differ."""

    tag: str
    vr: str
    held: str | None
    aside: str | None


class ComparisonShown(TypedDict):
    """Both sides; ``accepting``: what accepting would do, null if it cannot be."""

    aside: QuarantinedShown
    held: SideShown | None
    accepting: str | None
    differences: list[DifferenceShown]
    unreadable: str | None


class QuarantineAccepted(TypedDict):
    """It took the place of what it contradicted."""

    number: int
    study_instance_uid: str
    state: str


class QuarantineDiscarded(TypedDict):
    """It is gone."""

    number: int
    state: str


class CorrectionShown(TypedDict):
    """A corrected identity."""

    correction_id: str
    kind: str
    patient_id: str
    issuer_of_patient_id: str
    into_patient_id: str
    into_issuer_of_patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    reason: str
    studies: list[str]
    at: int
    by: str
    undone_at: int | None


class CorrectionList(TypedDict):
    """Corrections, last first, undone ones too."""

    corrections: list[CorrectionShown]
    next: str | None


class NoticeShown(TypedDict):
    """How a withdrawal stands at one recipient."""

    peer_id: str
    state: str
    outcome: str | None
    code: str | None
    settled_at: int | None
    attempts: int
    next_attempt_at: int | None


class WithdrawalShown(TypedDict):
    """A withdrawal with the state at each recipient."""

    withdrawal_id: str
    study_instance_uid: str
    kind: str
    reason: str | None
    words: str
    instances: int
    at: int
    by: str
    recipients: list[NoticeShown]


class WithdrawalList(TypedDict):
    """What was withdrawn here, last first."""

    withdrawals: list[WithdrawalShown]
    next: str | None


class ReceivedNoticeShown(TypedDict):
    """What another facility withdrew."""

    notice_id: str
    peer_id: str
    study_instance_uid: str
    kind: str
    reason: str | None
    words: str
    instances: int
    outcome: str
    received_at: int


class ReceivedNoticeList(TypedDict):
    """What others withdrew, last first."""

    withdrawals: list[ReceivedNoticeShown]
    next: str | None


class WithdrawnStudyShown(TypedDict):
    """A study of which nothing is shown any more."""

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    study_date: str
    modalities: list[str]
    description: str
    instances: int
    revision: int
    origin: str | None
    reason: str
    words: str
    withdrawn_at: int


class WithdrawnStudyList(TypedDict):
    """Withdrawn studies, last first."""

    studies: list[WithdrawnStudyShown]
    next: str | None


class RevisionShown(TypedDict):
    """A closed revision of a study."""

    revision: int
    closed_at: int
    cause: str
    instances: int
    bytes: int


class RevisionsShown(TypedDict):
    """The revisions of a study, last first, and how much of it is hidden, by reason."""

    study_instance_uid: str
    revisions: list[RevisionShown]
    hidden: dict[str, int]
