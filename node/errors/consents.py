"""Consents on file, patients' keys, and break-glass: what can go wrong where they are kept."""

from node.errors.base import LeveretError


class InvalidDirective(LeveretError):
    """A consent cannot be recorded like that."""

    code = "invalid_directive"
    advice = "Name a patient, at most 200 studies and 32 modalities or body parts, and a period that lies ahead."
    status = 400


class NoSuchConsent(LeveretError):
    """There is no consent with this id."""

    code = "no_such_consent"
    advice = "See `leveret consent list`."
    status = 404


class ConsentNotExpressible(LeveretError):
    """This FHIR Consent says something that cannot be kept here."""

    code = "consent_not_expressible"
    advice = "Record what the patient decided with `leveret consent add`; docs/operations.md says what is understood."
    status = 400


class InvalidPatientKey(LeveretError):
    """This is no Ed25519 key."""

    code = "invalid_patient_key"
    advice = "Give the public key as 64 hexadecimal digits; `leveret consent new-key` makes a pair."
    status = 400


class PatientKeyKnown(LeveretError):
    """This key is bound already, or was."""

    code = "patient_key_known"
    advice = "See `leveret consent keys`; a revoked key is never bound again: make a new one."
    status = 409


class NoSuchPatientKey(LeveretError):
    """No such key is bound to a patient."""

    code = "no_such_patient_key"
    advice = "See `leveret consent keys --patient-id ID`."
    status = 404


class NoSuchEmergency(LeveretError):
    """There is no such release by break-glass."""

    code = "no_such_emergency"
    advice = "See `leveret consent emergencies list --all`."
    status = 404


class EmergencyReviewed(LeveretError):
    """This release by break-glass was reviewed already."""

    code = "emergency_reviewed"
    advice = "The first verdict stands; see `leveret consent emergencies list --all`."
    status = 409
