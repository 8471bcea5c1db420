"""Share codes, requests, releases and transfers: what can go wrong between two facilities and a patient's consent.

Whoever proved a valid share code learns why it was refused; anybody else hears ``not_released``, always the same.
"""

from node.errors.base import LeveretError, Retryable


class NotReleased(LeveretError):
    """The other facility does not release this."""

    code = "not_released"
    advice = "Check the code, or what the patient consented to, or ask the other facility; it says no more on purpose."
    status = 403


class ShareCodeExpired(LeveretError):
    """This share code has expired."""

    code = "share_code_expired"
    advice = "Ask the patient for a new code from the facility that made it."
    status = 403


class ShareCodeRevoked(LeveretError):
    """This share code was revoked."""

    code = "share_code_revoked"
    advice = "Ask the patient whether the images may still be shared, and for a new code."
    status = 403


class ShareCodeLocked(LeveretError):
    """This share code is locked after too many failed attempts."""

    code = "share_code_locked"
    advice = "Ask the facility that made it for a new one."
    status = 403


class ShareCodeUsed(LeveretError):
    """This share code was used as often as it may be."""

    code = "share_code_used"
    advice = "Ask the facility that made it for a new one."
    status = 403


class ShareCodeOtherStudy(LeveretError):
    """This share code is for other studies."""

    code = "share_code_other_study"
    advice = "Ask for a study that the code was made for, or for a code that covers this one."
    status = 403


class PurposeNotCovered(LeveretError):
    """This consent does not cover that purpose of use."""

    code = "purpose_not_covered"
    advice = "A share code covers treatment, emergency treatment and requests of the patient (TREAT, ETREAT, PATRQT)."
    status = 403


class NoConsent(LeveretError):
    """No consent on file covers what was asked."""

    code = "no_consent"
    advice = "Ask the patient for a share code, or record the patient's directive (`leveret consent add`)."
    status = 403


class ConsentExpired(LeveretError):
    """The consent is no longer, or not yet, valid."""

    code = "consent_expired"
    advice = "Ask the patient for a new one."
    status = 403


class ConsentDenied(LeveretError):
    """The patient forbade that these images are given to this facility for this purpose."""

    code = "consent_denied"
    advice = "Speak with the patient; only the patient can lift it, at the facility that holds the images."
    status = 403


class ConsentOtherStudy(LeveretError):
    """The consent does not cover the studies that were asked for."""

    code = "consent_other_study"
    advice = "Ask for the studies that the patient allowed, or ask the patient for a wider consent."
    status = 403


class ConsentKindNotAccepted(LeveretError):
    """This kind of consent is not accepted from this facility."""

    code = "consent_kind_not_accepted"
    advice = "Use a share code; which kinds count is `leveret peers policy` at the facility that holds the images."
    status = 403


class PatientOptedOut(LeveretError):
    """The patient wants nothing shared without being asked."""

    code = "patient_opted_out"
    advice = "Ask the patient for a share code."
    status = 403


class EmergencyLimit(LeveretError):
    """Break-glass access is off, used up for today, or asks for too much at once."""

    code = "emergency_limit"
    advice = "Ask for five studies at most, or call the other facility; `[consent] emergency_daily` there is the cap."
    status = 403


class ReleaseQuotaReached(LeveretError):
    """This facility had as many releases today as its policy allows."""

    code = "release_quota_reached"
    advice = "Try tomorrow, or call the other facility's operator."
    status = 429


class NoSuchShareCode(LeveretError):
    """There is no share code with this id."""

    code = "no_such_share_code"
    advice = "See `leveret share-code list`."
    status = 404


class InvalidShareCodeOrder(LeveretError):
    """A share code cannot be made like that."""

    code = "invalid_share_code_order"
    advice = "Name own studies of one patient, between 1 and 100 uses, and an expiry of at most a year."
    status = 400


class NothingToShare(LeveretError):
    """This facility holds no study of its own that such a code could cover."""

    code = "nothing_to_share"
    advice = "Check the patient id, the issuer and the study with `leveret studies`."
    status = 404


class InvalidRequest(LeveretError):
    """A request cannot be made like that."""

    code = "invalid_request"
    advice = "Name one to 32 studies by UID or by the ref that `leveret priors` shows."
    status = 400


class RequestMalformed(LeveretError):
    """A signed message is not what the protocol says."""

    code = "request_malformed"
    advice = "Compare the versions of the two nodes."
    status = 400


class RequestStale(LeveretError):
    """The request was signed too long ago, or in the future."""

    code = "request_stale"
    advice = "Compare the clocks of the two machines (`leveret doctor`)."
    status = 400


class WrongHolder(LeveretError):
    """The message was made for another facility."""

    code = "wrong_holder"
    advice = "Send it to the facility that it names."
    status = 403


class SignerMismatch(LeveretError):
    """The message was not signed by the facility that sent it."""

    code = "signer_mismatch"
    advice = "Each facility signs for itself; nothing is passed on for others."
    status = 403


class NoSuchRequest(LeveretError):
    """There is no such request."""

    code = "no_such_request"
    advice = "See `leveret transfers list` and `leveret inbox list`."
    status = 404


class RequestNotPending(LeveretError):
    """This request does not wait for a decision."""

    code = "request_not_pending"
    advice = "See `leveret inbox list` for those that do."
    status = 409


class ReviewChanged(LeveretError):
    """Something changed since the request was put up for review."""

    code = "review_changed"
    advice = "Look at its reasons in `leveret inbox list` again, then decide."
    status = 409


class RefusedByOperator(LeveretError):
    """A person at the other facility refused the request."""

    code = "refused_by_operator"
    advice = "Ask the other facility's staff."
    status = 403


class ReleaseExpired(LeveretError):
    """The release is no longer valid."""

    code = "release_expired"
    advice = "Make a new request; a release lasts 14 days and no longer than the consent behind it."
    status = 403


class ConsentRevoked(LeveretError):
    """The consent behind this release was revoked."""

    code = "consent_revoked"
    advice = "Nothing more is sent; ask the patient whether the images may still be shared."
    status = 403


class TransferCancelled(LeveretError):
    """The transfer was cancelled."""

    code = "transfer_cancelled"
    advice = "Make a new request if the study is still needed."
    status = 409


class ObjectUnavailable(LeveretError):
    """The holder no longer has an instance that it released."""

    code = "object_unavailable"
    advice = "Ask the other facility's operator: the study was changed, deleted or damaged there."
    status = 410


class ManifestRefused(LeveretError):
    """A release cannot be believed."""

    code = "manifest_refused"
    advice = "Nothing was taken in; tell the other facility's operator."
    status = 502


class ReleaseMismatch(LeveretError):
    """A received instance is not the one that was released."""

    code = "release_mismatch"
    advice = "Nothing of this transfer was admitted; tell the other facility's operator."
    status = 502


class InstanceConflict(LeveretError):
    """This node holds other bytes under an instance UID of this transfer."""

    code = "instance_conflict"
    advice = "Nothing of this transfer was admitted; compare the study at both facilities."
    status = 409


class FrameError(LeveretError):
    """A stream of objects is not framed as the protocol says."""

    code = "frame_error"
    advice = "Compare the versions of the two nodes; tell the other facility's operator."
    status = 502


class StreamCut(Retryable):
    """A stream of objects ended early."""

    code = "stream_cut"
    advice = "The transfer resumes by itself."
    status = 503


class TooManyStreams(Retryable):
    """Too many object streams are open at once."""

    code = "too_many_streams"
    advice = "The transfer goes on with fewer."
    status = 429


class TooManyRequests(Retryable):
    """This facility asked for more than the other one answers in a short time."""

    code = "too_many_requests"
    advice = "It is tried again by itself for a while; ask for fewer at once, or later."
    status = 429


class ReceiptRefused(LeveretError):
    """A receipt does not fit what was released."""

    code = "receipt_refused"
    advice = "Compare the transfer at both facilities."
    status = 400


class NoSuchTransfer(LeveretError):
    """There is no such transfer."""

    code = "no_such_transfer"
    advice = "See `leveret transfers list`."
    status = 404


class IllegalTransition(LeveretError):
    """This cannot be done in the present state of the request or transfer."""

    code = "illegal_transition"
    advice = "See `leveret transfers list` for its state."
    status = 409


class RequestIdReused(LeveretError):
    """A request id was used for two different requests."""

    code = "request_id_reused"
    advice = "Make a new request."
    status = 409


class FallbackImpossible(LeveretError):
    """What is asked for, or the consent for it, means something to one facility alone."""

    code = "fallback_impossible"
    advice = "Name studies by UID and rely on a directive on file, an attestation or an emergency; or ask one facility."
    status = 400
