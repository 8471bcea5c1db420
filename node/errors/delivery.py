"""Linking received studies to local patients, and sending studies to a PACS."""

from node.errors.base import LeveretError, Retryable


class OwnStudy(LeveretError):
    """This study is the facility's own: it belongs to its patient already."""

    code = "own_study"
    advice = "Only received studies are linked; to move an own one to another patient, correct its identity."
    status = 409


class AlreadyLinked(LeveretError):
    """This study is linked to another local patient."""

    code = "already_linked"
    advice = "See `leveret link --list`; take that link back first: `leveret link --study UID --remove`."
    status = 409


class NotLinked(LeveretError):
    """This study is not linked to a local patient."""

    code = "not_linked"
    advice = "See `leveret link --list`."
    status = 404


class LinkConflict(LeveretError):
    """The local patient and the patient of the study contradict each other."""

    code = "link_conflict"
    advice = "Compare both records with the patient; if it is the same person, link with --despite-differences."
    status = 409


class InvalidLocalPatient(LeveretError):
    """A local patient cannot be described like that."""

    code = "invalid_local_patient"
    advice = "Patient ID and issuer have 64 characters at most, no backslash and no control characters."
    status = 400


class StudyNotLinked(LeveretError):
    """This study came from another facility and is not linked to a local patient."""

    code = "study_not_linked"
    advice = "Link it first: `leveret link --study UID --patient-id ID`; what waits for that is then sent by itself."
    status = 409


class PatientNotNamed(LeveretError):
    """What a request brings can be delivered only for a local patient that the request names."""

    code = "patient_not_named"
    advice = "Give --patient-id with --deliver; or link the study when it is here and use `leveret send`."
    status = 400


class InvalidDelivery(LeveretError):
    """A delivery cannot be ordered like that."""

    code = "invalid_delivery"
    advice = "An accession number has 16 characters at most, and is given for received studies only."
    status = 400


class NoSuchDelivery(LeveretError):
    """There is no such delivery."""

    code = "no_such_delivery"
    advice = "See `leveret send --list`."
    status = 404


class DeliveryIncomplete(LeveretError):
    """The PACS did not take every instance."""

    code = "delivery_incomplete"
    advice = "See which and why above; mend that at the PACS and send the study again."
    status = 502


class DeliveryCancelled(LeveretError):
    """The delivery was cancelled."""

    code = "delivery_cancelled"
    advice = "Order a new one if it is still needed; what the PACS has it keeps."
    status = 409


class PacsOutOfResources(Retryable):
    """The PACS has no room for some instances at the moment."""

    code = "pacs_out_of_resources"
    advice = "It is tried again by itself; look at the free space of the PACS."
