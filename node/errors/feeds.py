"""Bytes of the announcement protocol that do not follow it."""

from node.errors.base import LeveretError


class BatchMalformed(LeveretError):
    """A batch of announcements does not follow the protocol."""

    code = "batch_malformed"
    advice = "Tell the other facility's operator; both nodes may need the same version of leveret."
    status = 502


class EntryMalformed(LeveretError):
    """An announcement does not open under the key it was found by, or does not follow the protocol."""

    code = "entry_malformed"
    advice = "Tell the other facility's operator; both nodes may need the same version of leveret."
    status = 502


class InvalidElement(LeveretError):
    """A blinded question or a public key is not a valid group element."""

    code = "invalid_element"
    advice = "Both nodes may need the same version of leveret; tell the other facility's operator."
    status = 400


class FalseProof(LeveretError):
    """A peer's answer was not computed with the key that its feed promises."""

    code = "false_proof"
    advice = "Nothing was learned from it; tell the other facility's operator."
    status = 502
