"""Other DICOM systems: calling them, and being asked by them."""

from node.errors.base import LeveretError, Retryable


class DicomUnreachable(Retryable):
    """The DICOM system cannot be reached."""

    code = "dicom_unreachable"
    advice = "Check that it runs, its host and port, and the firewalls between; then `leveret pacs test NAME`."


class DicomTlsFailed(LeveretError):
    """There is no TLS connection to the DICOM system that can be trusted."""

    code = "dicom_tls_failed"
    advice = "Check that its port speaks TLS, and that `--ca` is the authority (or the certificate) it is signed with."
    status = 502


class AssociationRejected(LeveretError):
    """The DICOM system refuses an association with this node."""

    code = "association_rejected"
    advice = "Have its administrator enter this node's AE title and address, and check its own title with `pacs list`."
    status = 502


class AssociationBusy(Retryable):
    """The DICOM system takes no association at the moment."""

    code = "association_busy"
    advice = "It is tried again; if it lasts, ask its administrator how many associations it allows."


class AssociationLost(Retryable):
    """The association with the DICOM system ended before the answer came."""

    code = "association_lost"
    advice = "It is tried again; if it happens often, look at the log of the DICOM system for the same moment."


class NotAccepted(LeveretError):
    """The DICOM system does not offer this service."""

    code = "service_not_accepted"
    advice = "`leveret pacs test NAME` shows what it accepts; its administrator can allow more."
    status = 502


class InvalidPacs(LeveretError):
    """This cannot be entered about a DICOM system."""

    code = "invalid_pacs"
    advice = "See `leveret pacs add --help`."
    status = 400


class PacsExists(LeveretError):
    """A DICOM system of this name or AE title is entered already."""

    code = "pacs_exists"
    advice = "See `leveret pacs list`; remove that one first (`leveret pacs remove NAME`), or choose another."
    status = 409


class UnknownPacs(LeveretError):
    """No DICOM system of this name is entered."""

    code = "unknown_pacs"
    advice = "See `leveret pacs list`; enter it with `leveret pacs add NAME --ae AET --host H --port P`."
    status = 404


class DicomTlsUnusable(LeveretError):
    """A certificate or key for DICOM TLS cannot be used."""

    code = "dicom_tls_unusable"
    advice = "Name PEM files, the key without a password and readable by the node's user alone; see node.example.toml."
    status = 400


class InvalidIdentifier(LeveretError):
    """The identifier of a query or retrieval cannot be read."""

    code = "invalid_identifier"
    advice = "Have the software of the DICOM system that asks looked at."
    status = 400


class IdentifierMismatch(LeveretError):
    """The identifier lacks what a query or retrieval at its level needs."""

    code = "identifier_mismatch"
    advice = "Name a level of the information model, and one value of each unique key above it."
    status = 400


class QueryTooLarge(Retryable):
    """The query matches more than this node tells at once, or takes too long."""

    code = "query_too_large"
    advice = "Ask more precisely: by patient, date or accession number."


class CommitmentNotTaken(LeveretError):
    """The DICOM system did not take a report of storage commitment."""

    code = "commitment_not_taken"
    advice = "Check that it accepts storage commitment reports (as SCU) on a new association from this node's AE title."
    status = 502
