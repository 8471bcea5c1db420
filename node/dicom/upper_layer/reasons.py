"""Why associations and presentation contexts are refused, in words (PS3.8 tables 9-18 and 9-21)."""

from collections.abc import Mapping

from node.dicom.upper_layer.codes import ContextResult
from node.dicom.upper_layer.pdu import AssociateRj

_REJECTIONS: Mapping[tuple[int, int], str] = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized: it does not know this node",
    (1, 7): "called AE title not recognized: it has another title than the one entered here",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "its limit of associations is reached",
}

_RESULTS: Mapping[int, str] = {
    ContextResult.ACCEPTANCE: "accepted",
    ContextResult.USER_REJECTION: "refused for this caller",
    ContextResult.NO_REASON: "refused without a reason",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "transfer syntax not supported",
}


def explain_rejection(answer: AssociateRj) -> str:
    """Why an association was rejected."""
    return _REJECTIONS.get((answer.source, answer.reason), f"unknown reason {answer.source}.{answer.reason}")


def explain_result(result: int) -> str:
    """What became of a presentation context."""
    return _RESULTS.get(result, f"unknown result {result}")
