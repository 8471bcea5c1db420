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
