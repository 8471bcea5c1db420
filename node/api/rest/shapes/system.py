"""Answers about the node itself: peers, users' systems, the log."""

from typing import Any, TypedDict


class Alive(TypedDict):
    """The daemon answers, and can work."""

    status: str


class NotReady(TypedDict):
    """What keeps the node from taking and giving images, as error codes."""

    status: str
    problems: list[str]


class PeersCounted(TypedDict):
    """How many facilities are trusted, connected, and waiting to be confirmed."""

    trusted: int
    connected: int
    pending: int


class CertificateShown(TypedDict):
    """What the local API shows: SHA-256, end, and whether the node made it itself."""

    fingerprint: str
    expires_at: int
    own: bool


class StatusShown(TypedDict):
    """The node at a glance."""

    peer_id: str
    name: str
    version: str
    fingerprint: str
    studies: int
    instances: int
    bytes: int
    disk_bytes: int
    quarantined: int
    damaged: int
    peers: PeersCounted
    transfers: dict[str, int]
    deliveries: dict[str, int]
    inbox: int
    withdrawals: dict[str, int]
    emergencies: int
    restored: Any
    backup_at: int | None
    forked_feeds: list[str]
    listen: dict[str, str]
    url: str
    certificate: CertificateShown | None
    problems: list[str]


class AnnouncedShown(TypedDict):
    """What was announced to how many."""

    peers: int
    batches: int
    studies: int


class PeerShown(TypedDict):
    """A facility."""

    peer_id: str
    name: str
    trust: str
    safety_phrase: str
    connected: bool
    last_seen: int | None
    since: int
    problem: str | None
    addresses: list[str]


class PeerList(TypedDict):
    """All facilities by name."""

    peers: list[PeerShown]
    next: str | None


class PeerJoined(PeerShown):
    """The maker of an invitation; ``confirmed``: it trusts this node already."""

    confirmed: bool


class NearbyShown(TypedDict):
    """A node that announces itself on the local network."""

    peer_id: str
    addresses: list[str]
    version: str
    trust: str | None
    seen_at: int


class NearbyList(TypedDict):
    """Nodes on the local network."""

    nearby: list[NearbyShown]
    next: str | None


class InvitationMade(TypedDict):
    """An invitation; its text is shown this once."""

    invitation: str
    expires_at: int
    auto_confirm: bool


class PolicyShown(TypedDict):
    """What a facility is allowed."""

    peer_id: str
    name: str
    policy: dict[str, Any]


class PacsShown(TypedDict):
    """A DICOM system."""

    name: str
    ae_title: str
    host: str
    port: int
    calls_from: list[str]
    tls: bool
    same_association: bool
    added_at: int


class PacsList(TypedDict):
    """DICOM systems by name, and this node's AE title."""

    pacs: list[PacsShown]
    ae_title: str
    next: str | None


class PacsRemoved(TypedDict):
    """It is forgotten."""

    name: str
    removed: bool


class FindingShown(TypedDict):
    """One thing that was tried."""

    what: str
    ok: bool
    said: str
    advice: str


class PacsTested(TypedDict):
    """What a DICOM system accepts."""

    name: str
    ok: bool
    code: str
    findings: list[FindingShown]


class NamedPatient(TypedDict):
    """A patient as the log names one."""

    issuer: str
    id: str


class EventShown(TypedDict):
    """An event of the audit log."""

    position: int
    at: int
    type: str
    actor: str
    outcome: str
    peer_id: str | None
    patient: NamedPatient | None
    study_instance_uid: str | None
    request_id: str | None
    purpose: str | None
    code: str
    detail: dict[str, Any]


class EventList(TypedDict):
    """Events, newest first."""

    events: list[EventShown]
    next: str | None


class CosignedShown(TypedDict):
    """A witness, up to which size and when it signed."""

    peer_id: str
    size: int
    at: int


class GapShown(TypedDict):
    """Where a restored backup left events out."""

    first: int
    next: int
    incarnation: int


class ProofShown(TypedDict):
    """Whether the log is what it was, and who else says so."""

    ok: bool
    size: int
    root: str
    cosigned_by: list[str]
    cosigned: list[CosignedShown]
    checkpoints: int
    incarnation: int
    base: int
    gaps: list[GapShown]
    problems: list[str]


class InclusionShown(TypedDict):
    """That the tree holds an event (RFC 6962); hashes hexadecimal."""

    position: int
    leaf: str
    path: list[str]
    checkpoint: str


class ConsistencyShown(TypedDict):
    """That the tree of ``size`` events begins with the one of ``old``."""

    old: int
    size: int
    path: list[str]


class RestorationShown(TypedDict):
    """A restore that waits for a person; null: none does."""

    restoration: Any


class Described(TypedDict):
    """An OpenAPI 3.1 document."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


class EpochsBegun(TypedDict):
    """For how many facilities a new epoch of announcements begins."""

    peers: int


class ForkShown(TypedDict):
    """A feed that said two things at one place; ``proof``: what is kept of it."""

    peer_id: str
    incarnation: int
    sequence: int
    at: int
    proof: str


class ForkList(TypedDict):
    """Forked feeds, newest first."""

    forks: list[ForkShown]
    next: str | None


class FeedThawed(TypedDict):
    """The facility whose feed is followed again."""

    peer_id: str
