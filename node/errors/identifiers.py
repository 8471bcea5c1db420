"""Names that do not parse."""

from node.errors.base import LeveretError


class InvalidPeerId(LeveretError):
    """This is not a PeerId."""

    code = "invalid_peer_id"
    advice = "Copy the whole id as `leveret id` prints it at the other facility."
    status = 400


class InvalidUid(LeveretError):
    """This is not a DICOM UID."""

    code = "invalid_uid"
    advice = "A UID has digits and dots, no leading zeros, and 64 characters at most (PS3.5 section 9.1)."
    status = 400
