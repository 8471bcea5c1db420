"""What patients see, share, bring and ask for in the portal, and what staff decide about it."""

from node.errors.base import LeveretError


class NothingToDownload(LeveretError):
    """There is nothing to download."""

    code = "nothing_to_download"
    advice = "Choose a study that can be opened."
    status = 404


class TooMuchToDownload(LeveretError):
    """This is too much for one download."""

    code = "too_much_to_download"
    advice = "Download the studies one by one."
    status = 413


class NotYoursToShare(LeveretError):
    """This account may look at the images, and not give them to others."""

    code = "not_yours_to_share"
    advice = "The patient, or the facility, can allow it."
    status = 403


class NothingChosen(LeveretError):
    """No study is chosen."""

    code = "nothing_chosen"
    advice = "Choose at least one examination."
    status = 400


class UploadTooLarge(LeveretError):
    """This is more than one upload may hold."""

    code = "upload_too_large"
    advice = "Send it in several parts, or bring the CD to the facility."
    status = 413


class TooManyUploads(LeveretError):
    """Several uploads of this account are not decided yet."""

    code = "too_many_uploads"
    advice = "Wait until the facility has looked at them, or delete one."
    status = 409


class UploadBusy(LeveretError):
    """Another file of this upload is arriving."""

    code = "upload_busy"
    advice = "Send one file after the other."
    status = 409


class EmptyUpload(LeveretError):
    """There is no medical image in this upload."""

    code = "empty_upload"
    advice = "Choose the whole folder of the CD, or a ZIP of it."
    status = 400


class NoSuchUpload(LeveretError):
    """There is no such upload."""

    code = "no_such_upload"
    advice = "It may have been deleted by the patient; look at the list again."
    status = 404


class UploadDecided(LeveretError):
    """This upload was decided already, or is still arriving."""

    code = "upload_decided"
    advice = "Look at the list of uploads again."
    status = 409


class UploadIdentityDiffers(LeveretError):
    """The images name another person than the record they are to be stored under."""

    code = "upload_identity_differs"
    advice = "Compare both sides; accept them only if you are sure, and say so."
    status = 409


class InvalidMessage(LeveretError):
    """This message cannot be sent."""

    code = "invalid_message"
    advice = "Write at least a word and at most 4000 characters."
    status = 400


class TooManyMessages(LeveretError):
    """Several messages of this account wait for an answer."""

    code = "too_many_messages"
    advice = "Wait for an answer; in a hurry, call the facility."
    status = 409


class NoSuchMessage(LeveretError):
    """There is no such message."""

    code = "no_such_message"
    advice = "Look at the list of messages again."
    status = 404


class MessageAnswered(LeveretError):
    """This message was answered already."""

    code = "message_answered"
    advice = "The first answer stands; look at the list of messages again."
    status = 409
