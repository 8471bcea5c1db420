"""SMART Health Links: what can go wrong where one is made or opened.

Whoever opens a link that is over, and whoever invents one, hear the same.
"""

from node.errors.base import LeveretError, Retryable


class InvalidHealthLink(LeveretError):
    """A link cannot be made like that."""

    code = "invalid_health_link"
    advice = "Compare what it says with docs/protocol/health-links.md: studies, period, passcode, label and bounds."
    status = 400


class LabelNamesPatient(LeveretError):
    """The label or the passcode says who the patient is."""

    code = "label_names_patient"
    advice = "Choose other words: anybody who sees the link reads its label, and a birth date is no secret."
    status = 400


class NothingToLink(LeveretError):
    """There is no own study of this patient for a link like that."""

    code = "nothing_to_link"
    advice = "See `leveret studies --patient-id ID`; studies that came from other facilities are not handed on."
    status = 404


class NoSuchHealthLink(LeveretError):
    """There is no such link, or it is over."""

    code = "no_such_health_link"
    advice = "Ask whoever gave it to you for a new one. Staff: see `leveret health-link list`."
    status = 404


class WrongPasscode(LeveretError):
    """The passcode is missing or wrong."""

    code = "wrong_passcode"
    advice = "Ask whoever gave you the link; after a few wrong ones it closes for good."
    status = 401

    def __init__(self, remaining: int) -> None:
        """``remaining``: how many more may be wrong before the link closes."""
        super().__init__(f"{remaining} attempts left")
        self.remaining = remaining


class TooManyOpenings(Retryable):
    """Links are being opened too often from there, or this one is."""

    code = "too_many_openings"
    advice = "Wait a minute and try again."
    status = 429
