"""What can go wrong with a call to a peer, in this node's words: broken connections, alerts of TLS, refusals."""

import ssl

from node.errors.base import LeveretError
from node.errors.peers import PeerInterrupted, PeerRefusesUs, PeerUnreachable, RemoteBusy, RemoteRefusal
from node.errors.trust import PeerNotTrusted
from node.peers.wire import PROBLEM, Problem, decode

_BUSY = {408, 425, 429, 500, 503, 507}  # what passes by itself


def unreachable(error: Exception) -> LeveretError:
    """Why no connection came about; nothing was sent."""
    if "CERTIFICATE_VERIFY_FAILED" in _tls_reason(error):
        return PeerUnreachable("another node answers at its address")
    return PeerRefusesUs() if _is_refusal(error) else PeerUnreachable("no connection")


def broken(error: BaseException) -> LeveretError:
    """Why a connection broke.

    With TLS 1.3 the server judges the client's certificate after the client believes that the handshake is done, so its
    refusal arrives as an alert on the first read.
    """
    return PeerRefusesUs() if _is_refusal(error) else PeerInterrupted(type(error).__name__)


def refusal(status: int, content_type: str, body: bytes) -> LeveretError:
    """The error that an answer other than success stands for; one whose reason cannot be read is still a refusal."""
    problem = Problem()
    # Compared, not parsed: aiohttp's parser (the mail package's) can be made to raise IndexError.
    if content_type.partition(";")[0].strip().lower() == PROBLEM:
        try:
            problem = decode(body, Problem)
        except LeveretError:
            problem = Problem()
    if problem.code == PeerNotTrusted.code:
        return PeerRefusesUs()
    kind = RemoteBusy if status in _BUSY else RemoteRefusal
    return kind(problem.code, status)


def _is_refusal(error: BaseException) -> bool:
    reason = _tls_reason(error)  # OpenSSL's names for alerts received: TLSV1_ALERT_UNKNOWN_CA, TLSV1_UNRECOGNIZED_NAME
    return "ALERT" in reason or "UNRECOGNIZED_NAME" in reason


def _tls_reason(error: BaseException | None) -> str:
    """OpenSSL's word for what broke, wherever aiohttp wrapped it up; empty if it was not TLS."""
    while error is not None:
        for candidate in (error, getattr(error, "os_error", None), *error.args):
            reason = getattr(candidate, "reason", None)
            if isinstance(candidate, ssl.SSLError) and reason:
                return str(reason).upper().replace(" ", "_")
        error = error.__cause__ or error.__context__
    return ""
