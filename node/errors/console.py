"""What can go wrong between two pages of the console."""

from node.errors.base import LeveretError


class AddressEnded(LeveretError):
    """This address has ended: it was good for some hours, for one person."""

    code = "address_ended"
    advice = "Find the patient again; addresses say nothing about patients, so they cannot be kept."
    status = 404
