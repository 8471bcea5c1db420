"""Withdrawals, quarantine and corrected identities: what can go wrong when what is held turns out to be wrong."""

from node.errors.base import LeveretError


class StudyChanged(LeveretError):
    """The study was withdrawn or corrected by its holder while it was on its way."""

    code = "study_changed"
    advice = "Look for it anew with `leveret priors`, and ask again if it is still there."
    status = 410


class WithdrawalRefused(LeveretError):
    """This node released no such study, so it cannot withdraw it."""

    code = "withdrawal_refused"
    advice = "Only who released a study can withdraw it; ask the facility that it came from."
    status = 403


class NotOwnStudy(LeveretError):
    """The study belongs to another facility."""

    code = "not_own_study"
    advice = "Ask the facility that it came from to withdraw or correct it; every recipient is told then."
    status = 409


class UnknownQuarantined(LeveretError):
    """Nothing in quarantine has this number."""

    code = "unknown_quarantined"
    advice = "See `leveret quarantine list`."
    status = 404


class QuarantineNotAcceptable(LeveretError):
    """This cannot be accepted: there is no place in which it would contradict nothing."""

    code = "quarantine_not_acceptable"
    advice = "Have it sent again under UIDs of its own, and discard it here (`leveret quarantine discard`)."
    status = 409


class PatientTaken(LeveretError):
    """Another patient is held under that id."""

    code = "patient_taken"
    advice = "If the two are one person, use `leveret patient merge`; otherwise choose another id."
    status = 409


class NothingToCorrect(LeveretError):
    """That changes nothing."""

    code = "nothing_to_correct"
    advice = "Say what is to be corrected with --set, or name two different patients."
    status = 400


class UnknownCorrection(LeveretError):
    """There is no such correction, or it was undone already."""

    code = "unknown_correction"
    advice = "See `leveret patient corrections`."
    status = 404


class CorrectionSuperseded(LeveretError):
    """What was corrected has been corrected again since."""

    code = "correction_superseded"
    advice = "Undo the later corrections first (`leveret patient corrections`)."
    status = 409
