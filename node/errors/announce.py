"""Announcements, feeds and questions about priors."""

from node.errors.base import LeveretError, Retryable


class FeedRefused(LeveretError):
    """A peer's feed of announcements cannot be believed; nothing of it was taken over."""

    code = "feed_refused"
    advice = "Tell the other facility's operator; what was known of it before is still used."
    status = 502


class FeedGap(FeedRefused):
    """A batch is missing from a peer's feed."""

    code = "feed_gap"
    advice = "The node asks again by itself; if it stays so, tell the other facility's operator."


class FeedFork(FeedRefused):
    """A peer signed two different histories of its feed."""

    code = "feed_fork"
    advice = (
        "Do not rely on what this peer announces: its node is faulty, was restored wrongly, or lies. "
        "Talk to its operator before you trust it further."
    )


class FeedReplayed(FeedRefused):
    """A peer sent a part of its feed again that this node has already."""

    code = "feed_replayed"


class FeedRolledBack(FeedRefused):
    """A peer's feed went back to an older incarnation or epoch."""

    code = "feed_rolled_back"


class FeedMisdirected(FeedRefused):
    """A peer sent a feed that is of another node, or for another node."""

    code = "feed_misdirected"


class FeedOversized(FeedRefused):
    """A peer's feed holds more than the protocol allows."""

    code = "feed_oversized"


class FeedBehind(Retryable):
    """A peer's feed is still being pulled; not all that it announced is known here yet."""

    code = "feed_behind"
    advice = "What is known so far is shown; look again in a minute."


class EpochOver(LeveretError):
    """The question was made for another epoch of this feed."""

    code = "epoch_over"
    advice = "Pull the feed and ask again under its present epoch."
    status = 409


class QuestionsRefused(LeveretError):
    """This is not a valid set of questions."""

    code = "questions_refused"
    advice = "Send between one and the allowed number of blinded elements, and a purpose of use."
    status = 400


class AnswerRefused(LeveretError):
    """A peer answered another number of questions than it was asked."""

    code = "answer_refused"
    advice = "Tell the other facility's operator; both nodes may need the same version of leveret."
    status = 502


class QuestionsExhausted(LeveretError):
    """The questions that a peer may ask in a day are used up."""

    code = "questions_exhausted"
    advice = "Try again tomorrow, or ask the other facility to raise `daily_questions` in its policy."
    status = 429


class UnknownPatient(LeveretError):
    """This node holds nothing of such a patient."""

    code = "unknown_patient"
    advice = "Check the id and the issuer, or search by name, birth date and sex."
    status = 404


class PatientNotSearchable(LeveretError):
    """Other facilities cannot be asked about this patient: name, birth date or sex are missing or placeholders."""

    code = "patient_not_searchable"
    advice = "Give the patient's real name, birth date and sex, or an identifier that the facilities share."
    status = 422
