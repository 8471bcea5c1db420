"""Two kinds of trouble, two types: our defect and the peer's. Neither leaves the dicom room."""

from node.dicom.upper_layer.codes import AbortReason


class LocalProtocolError(Exception):
    """This node asked for what the association's state does not allow. A defect of ours; nothing has changed."""


class RemoteProtocolError(Exception):
    """The peer does not keep to PS3.8 or PS3.7.

    Args:
        what: a stable word for logs, never anything that the peer sent.
        reason: what an A-ABORT by the service provider gives as its reason.
    """

    def __init__(self, what: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(what)
        self.what = what
        self.reason = reason
