"""What the meter refuses."""

from node.errors.base import LeveretError


class NothingCame(LeveretError):
    """This request has not brought anything."""

    code = "nothing_came"
    advice = "Only of a request that is completed can be said what it changed."
    status = 409
