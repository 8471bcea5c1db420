"""What keeps a study from being deleted."""

from node.errors.base import LeveretError


class StudyInUse(LeveretError):
    """The study is needed at this moment, so it is not deleted."""

    code = "study_in_use"
    advice = (
        "Try again once that has ended (`leveret transfers list`), or end it yourself; a revision closes after "
        "[store] stable_age."
    )
    status = 409


class StudyProtected(LeveretError):
    """The study is protected from being deleted."""

    code = "study_protected"
    advice = "Take the protection back first, if it should go (`leveret unprotect`)."
    status = 409


class NotProtected(LeveretError):
    """The study is not protected."""

    code = "not_protected"
    advice = "See `leveret studies --protected`."
    status = 404
