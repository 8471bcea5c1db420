"""What goes wrong between two nodes, and what a node answers to a peer that misbehaves."""

import re
from typing import ClassVar

from node.errors.base import LeveretError, Retryable

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


class PeerUnreachable(Retryable):
    """The peer cannot be reached."""

    code = "peer_unreachable"
    advice = "Look whether the other node runs and whether its address and port are open (`leveret doctor`)."
    status = 503


class PeerRefusesUs(Retryable):
    """The peer does not trust this node (any more, or yet)."""

    code = "not_trusted_by_peer"
    advice = "Ask the other facility to confirm or resume this node."
    status = 503


class PeerInterrupted(Retryable):
    """The connection to the peer broke in the middle of an answer."""

    code = "peer_interrupted"
    advice = "Try again; a transfer resumes by itself where it stopped."
    status = 503


class PeerProtocolViolation(LeveretError):
    """The peer answered something that the protocol does not allow."""

    code = "peer_protocol_violation"
    advice = "Compare the versions of the two nodes; tell the other facility."
    status = 502


def _checked(code: str) -> str:
    return code if _CODE.fullmatch(code) else "unknown"


class RemoteRefusal(LeveretError):
    """The peer refused."""

    code: ClassVar[str] = "refused_by_peer"
    advice = "The code in brackets says why; the other facility's log has more."
    status = 502

    def __init__(self, remote_code: str, status: int) -> None:
        """Keep the peer's error code (one that is no code becomes ``unknown``) and HTTP status."""
        self.remote_code = _checked(remote_code)
        self.remote_status = status
        super().__init__(self.remote_code)


class RemoteBusy(Retryable):
    """The peer cannot do this just now."""

    code: ClassVar[str] = "peer_busy"
    advice = "It is tried again later; the other facility's log has more."
    status = 503

    def __init__(self, remote_code: str, status: int) -> None:
        """Keep the peer's error code (one that is no code becomes ``unknown``) and HTTP status."""
        self.remote_code = _checked(remote_code)
        self.remote_status = status
        super().__init__(self.remote_code)


class BodyTooLarge(LeveretError):
    """More bytes came than are allowed here."""

    code = "body_too_large"
    advice = "Compare the versions of the two nodes."
    status = 413


class BodyTooSlow(Retryable):
    """The bytes came too slowly, or stopped."""

    code = "body_too_slow"
    advice = "Look at the network between the two facilities."
    status = 408


class EncodingRefused(LeveretError):
    """Compressed or otherwise encoded bodies are not accepted here."""

    code = "content_encoding_refused"
    advice = "Send the body as it is, without Content-Encoding."
    status = 415


class MalformedMessage(LeveretError):
    """A message does not have the form that the protocol gives it."""

    code = "malformed_message"
    advice = "Compare the versions of the two nodes."
    status = 400


class NoSuchRoute(LeveretError):
    """There is nothing here."""

    code = "no_such_route"
    advice = "Compare the versions of the two nodes."
    status = 404
