"""Offers that cannot be made, taken or decided."""

from node.errors.base import LeveretError


class InvalidOffer(LeveretError):
    """An offer cannot be made like that."""

    code = "invalid_offer"
    advice = "Name one to 32 own studies of one patient, and a reason of at most 500 characters."
    status = 400


class NoSuchOffer(LeveretError):
    """There is no such offer."""

    code = "no_such_offer"
    advice = "See `leveret offers list`."
    status = 404


class OfferNotPending(LeveretError):
    """This offer does not wait for a decision."""

    code = "offer_not_pending"
    advice = "See `leveret offers list` for what became of it."
    status = 409


class OfferRefused(LeveretError):
    """An offer is not what the protocol says, is over, or is one too many."""

    code = "offer_refused"
    advice = "Compare the clocks and versions of the two nodes; older offers may be waiting there for a decision."
    status = 409
