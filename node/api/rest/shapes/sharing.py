"""Answers about consents, requests and what moves."""

from typing import Any, TypedDict

from node.api.rest.shapes.images import PersonShown


class ScopeShown(TypedDict):
    """What a consent is about; empty and null: no limit."""

    studies: list[str]
    modalities: list[str]
    body_parts: list[str]
    from_date: str | None
    to_date: str | None


class ConsentShown(TypedDict):
    """A consent of any kind."""

    consent_id: str
    kind: str
    patient_id: str
    issuer_of_patient_id: str
    effect: str
    to: str
    scope: ScopeShown
    purpose: str | None
    starts_at: int | None
    until: int | None
    recorded_at: int
    recorded_by: str
    revoked_at: int | None


class ConsentList(TypedDict):
    """Consents of every kind, newest first."""

    consents: list[ConsentShown]
    next: str | None


class EffectsShown(TypedDict):
    """What ended at once; ``copies_at`` are the facilities whose copies nobody can call back."""

    transfers_stopped: int
    requests_refused: int
    copies_at: list[str]


class ConsentRecorded(EffectsShown):
    """A new directive, and how many studies held here it is about."""

    consent_id: str
    studies_held: int


class ConsentRevoked(ConsentShown, EffectsShown):
    """A revoked consent and what ended with it."""


class FhirConsent(TypedDict):
    """A FHIR R4 Consent."""

    resourceType: str


class PatientKeyShown(TypedDict):
    """A key whose grants count for a patient."""

    public_key: str
    patient_id: str
    issuer_of_patient_id: str
    bound_at: int
    bound_by: str
    revoked_at: int | None


class PatientKeyList(TypedDict):
    """The keys of a patient."""

    keys: list[PatientKeyShown]
    next: str | None


class PatientKeyRevoked(PatientKeyShown, EffectsShown):
    """A revoked key and what ended with it."""


class EmergencyShown(TypedDict):
    """A release by break-glass; ``verdict`` null: nobody looked at it yet."""

    request_id: str
    consent_id: str
    peer_id: str
    user: str
    reason: str
    patient_id: str | None
    studies: list[str]
    released_at: int
    reviewed_at: int | None
    reviewed_by: str
    verdict: str | None
    note: str
    patient_told_at: int | None


class EmergencyList(TypedDict):
    """Releases by break-glass, newest first."""

    emergencies: list[EmergencyShown]
    next: str | None


class EmergencyReviewed(TypedDict):
    """The verdict that stands."""

    request_id: str
    verdict: str
    reviewed_at: int | None


class ShareCodeShown(TypedDict):
    """A share code without its text, which is not kept."""

    code_id: str
    patient_id: str
    issuer_of_patient_id: str
    studies: list[str]
    created_at: int
    expires_at: int
    uses: int
    used: int
    failures: int
    state: str


class ShareCodeMade(ShareCodeShown):
    """A new share code: its text, shown this once, and what its QR code says."""

    code: str
    qr: str


class ShareCodeList(TypedDict):
    """Share codes, newest first."""

    share_codes: list[ShareCodeShown]
    next: str | None


class RequestNamed(TypedDict):
    """A request that was made."""

    request_id: str


class RequestShown(TypedDict):
    """How a request of this facility stands; ``ended``: nothing more comes."""

    request_id: str
    state: str
    code: str
    advice: str
    peer_id: str
    studies: list[str]
    instances: int
    bytes: int
    wire_bytes: int
    seconds: float
    instances_done: int
    instances_total: int
    bytes_done: int
    bytes_total: int
    ended: bool
    continued_as: str | None


class RequestOnRecord(RequestShown):
    """The same in a list: who asked, for what purpose, when."""

    user: str
    purpose: str
    created_at: int


class RequestList(TypedDict):
    """Requests of this facility, newest first."""

    requests: list[RequestOnRecord]
    next: str | None


class InboxShown(TypedDict):
    """A request that waits for a person: ``patient`` as held here, ``said`` as the request has it."""

    request_id: str
    peer_id: str
    user: str
    role: str
    purpose: str
    consent: str
    patient: PersonShown
    said: PersonShown
    studies: list[str]
    reasons: list[str]
    word: Any
    asked: Any
    received_at: int


class InboxList(TypedDict):
    """Requests that wait, oldest first."""

    requests: list[InboxShown]
    next: str | None


class InboxReleased(TypedDict):
    """A request that was released, and which studies of it."""

    request_id: str
    state: str
    studies: list[str]


class InboxRefused(TypedDict):
    """A request that was refused."""

    request_id: str
    state: str


class TransferShown(TypedDict):
    """A transfer in either direction."""

    transfer_id: str
    direction: str
    peer_id: str
    study_instance_uid: str | None
    studies: list[str]
    state: str
    code: str
    instances_done: int
    instances_total: int
    bytes_done: int
    bytes_total: int
    wire_bytes: int
    seconds: float
    created_at: int
    updated_at: int


class TransferList(TypedDict):
    """Transfers, newest first."""

    transfers: list[TransferShown]
    next: str | None


class DeliveryNamed(TypedDict):
    """A delivery that was ordered."""

    delivery_id: str


class DeliveryShown(TypedDict):
    """A study on its way to a PACS; ``sent``, ``warning``, ``refused`` and ``not_convertible`` count its instances."""

    delivery_id: str
    study_instance_uid: str | None
    pacs: str
    request_id: str | None
    patient_id: str | None
    issuer_of_patient_id: str | None
    state: str
    code: str
    advice: str
    sent: int
    warning: int
    refused: int
    not_convertible: int
    instances_done: int
    instances_total: int
    bytes_done: int
    bytes_total: int
    ordered_by: str
    created_at: int
    updated_at: int
    ended: bool


class DeliveryList(TypedDict):
    """Deliveries, newest first."""

    deliveries: list[DeliveryShown]
    next: str | None


class DeliveredShown(TypedDict):
    """What became of one instance; ``status`` is the DIMSE status, hexadecimal."""

    sop_instance_uid: str
    outcome: str
    status: str | None
    code: str
    transfer_syntax_uid: str | None
    converted: str
    bytes: int


class DeliveredList(TypedDict):
    """The instances of a delivery."""

    instances: list[DeliveredShown]
    next: str | None


class OfferedStudyShown(TypedDict):
    """A study that is offered."""

    study_instance_uid: str
    study_date: str
    modalities: list[str]
    description: str
    instances: int


class OfferShown(TypedDict):
    """An offer in either direction."""

    offer_id: str
    direction: str
    peer_id: str
    state: str
    reason: str
    refusal: str
    user: str
    consent_id: str | None
    request_id: str | None
    created_at: int
    expires_at: int
    code: str
    patient: PersonShown
    studies: list[OfferedStudyShown]


class OfferList(TypedDict):
    """Offers, newest first."""

    offers: list[OfferShown]
    next: str | None


class OfferRefused(TypedDict):
    """An offer that was refused."""

    offer_id: str
    state: str
