"""Who may do what at the local API, and requests to it that cannot be answered."""

from node.errors.base import LeveretError, Retryable


class Unauthenticated(LeveretError):
    """This needs a user."""

    code = "unauthenticated"
    advice = "Send `Authorization: Bearer TOKEN` with a token of `leveret users token NAME`."
    status = 401


class Forbidden(LeveretError):
    """This user may not do that."""

    code = "forbidden"
    advice = "Ask an operator for a user whose role allows it; docs/operations.md has the table of roles."
    status = 403


class WrongCredentials(LeveretError):
    """This name and password do not belong together."""

    code = "wrong_credentials"
    advice = "Check both; an operator can set a new password (`leveret users password NAME`)."
    status = 401


class LockedOut(LeveretError):
    """Signing in failed too often a moment ago."""

    code = "locked_out"
    advice = "Wait as long as it says, then try again."
    status = 429


class SignInBusy(Retryable):
    """Too many people are signing in at this moment."""

    code = "sign_in_busy"
    advice = "Try again in a few seconds."
    status = 503


class OutOfScope(LeveretError):
    """This token is not good for that."""

    code = "out_of_scope"
    advice = "Make a token with the scope that is named (`leveret users token NAME --scope SCOPE`)."
    status = 403


class UnknownToken(LeveretError):
    """This user has no such token."""

    code = "unknown_token"
    advice = "See `leveret users tokens NAME`; those that expired or were revoked are gone."
    status = 404


class NoSession(LeveretError):
    """There is no session to end: the caller is known by a token or by the system."""

    code = "no_session"
    advice = "Tokens end with `leveret users revoke NAME TOKEN-ID`, or when they expire."
    status = 409


class ForgedRequest(LeveretError):
    """The request did not come from a page of this node, or from one that is out of date."""

    code = "forged_request"
    advice = "Reload the page and try again. Programs use a bearer token, or the X-CSRF-Token of `GET /api/v1/session`."
    status = 403


class WrongHost(LeveretError):
    """The request names a host that this node is not."""

    code = "wrong_host"
    advice = "Use the address that `leveret status` shows, or localhost; other names are set in [api] public_url."
    status = 421


class UnknownUser(LeveretError):
    """There is no such user."""

    code = "unknown_user"
    advice = "See `leveret users list`."
    status = 404


class UserExists(LeveretError):
    """There is a user of this name already."""

    code = "user_exists"
    advice = "Choose another name; names of disabled users stay taken, because the audit log refers to them."
    status = 409


class UserDisabled(LeveretError):
    """This user is disabled."""

    code = "user_disabled"
    advice = "Add another user, or use one that is active (`leveret users list`)."
    status = 409


class InvalidUserName(LeveretError):
    """This cannot be the name of a user."""

    code = "invalid_user_name"
    advice = "Use 1 to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit."
    status = 400


class WeakPassword(LeveretError):
    """This password is too short or too long."""

    code = "weak_password"
    advice = "Use 12 to 1024 bytes; a few words are easier to remember than odd characters."
    status = 400


class InvalidInput(LeveretError):
    """The request does not have the form that is wanted here."""

    code = "invalid_input"
    advice = "Compare it with /api/v1/openapi.json."
    status = 400


class IdempotencyKeyReused(LeveretError):
    """This Idempotency-Key was sent with another request before."""

    code = "idempotency_key_reused"
    advice = "Use a new key for each new request (a random UUID), the same one only to repeat a request."
    status = 422


class StillRunning(Retryable):
    """The request with this Idempotency-Key is still being worked on."""

    code = "still_running"
    advice = "Repeat it in a moment."
    status = 409


class UnknownOutcome(LeveretError):
    """The node was stopped while it worked on the request with this Idempotency-Key."""

    code = "unknown_outcome"
    advice = "Look whether it took effect; if not, send it again with a new key."
    status = 409


class NotFound(LeveretError):
    """There is nothing of that kind here."""

    code = "not_found"
    advice = "Check the address or the id."
    status = 404


class MethodNotAllowed(LeveretError):
    """This address does not take that method."""

    code = "method_not_allowed"
    advice = "Compare it with /api/v1/openapi.json."
    status = 405


class NotAcceptable(LeveretError):
    """This is not available in a form that the request accepts."""

    code = "not_acceptable"
    advice = "Instances are answered as stored: accept transfer-syntax=*. docs/api.md has every form there is."
    status = 406


class RangeNotSatisfiable(LeveretError):
    """The byte range begins after the end."""

    code = "range_not_satisfiable"
    advice = "Ask without a Range to learn the length."
    status = 416


class UnsupportedMedia(LeveretError):
    """Bodies of this media type are not taken here."""

    code = "unsupported_media_type"
    advice = 'Send application/json, or for STOW-RS multipart/related with type="application/dicom".'
    status = 415


class TooLarge(LeveretError):
    """The request is larger than is taken here."""

    code = "too_large"
    advice = "Send smaller parts."
    status = 413


class UploadBroken(LeveretError):
    """The upload ended early or is not what its headers say."""

    code = "upload_broken"
    advice = "Send it again; what was answered as stored is stored."
    status = 400


class ApiNeedsTls(LeveretError):
    """Beyond this machine the local API is reached by TLS alone, or passwords and images would travel in clear."""

    code = "api_needs_tls"
    advice = "Write https:// in [api] public_url; without tls_certificate the node shows a certificate of its own."
    status = 400
