"""Pairing, the trust list, and the policies that hang on it."""

from node.errors.base import LeveretError, Retryable


class IllegalTrustChange(LeveretError):
    """This cannot be done with a peer in its present state."""

    code = "illegal_trust_change"
    advice = "See `leveret peers list`; a revoked peer needs a new invitation."
    status = 409


class UnknownPeer(LeveretError):
    """This node has not paired with such a peer."""

    code = "unknown_peer"
    advice = "See `leveret peers list` for the ids and names of the peers."
    status = 404


class AmbiguousPeer(LeveretError):
    """More than one peer is called that."""

    code = "ambiguous_peer"
    advice = "Give the PeerId, or enough of its first characters."
    status = 409


class PeerNotTrusted(LeveretError):
    """This peer is not trusted (any more, or yet)."""

    code = "peer_not_trusted"
    advice = "Confirm or resume it with `leveret peers confirm` or `leveret peers resume`, if that is what you want."
    status = 403


class InvalidPolicy(LeveretError):
    """This is not a policy for a peer."""

    code = "invalid_policy"
    advice = (
        "Known are accept_share_code, accept_patient_key, accept_directive, accept_attested, accept_emergency, "
        "auto_release, auto_accept, label_detail (true or false), max_rate (bytes a second, such as 20MB; 0 for no "
        "limit), daily_questions and daily_releases (whole numbers; 0 releases: no limit), purposes (such as "
        "TREAT,ETREAT) and hours (such as 07:00-19:00); empty for all."
    )
    status = 400


class InvalidAddress(LeveretError):
    """This is not an address of a node."""

    code = "invalid_address"
    advice = "Write host:port, such as pacs.example.org:8443 or [2001:db8::1]:8443."
    status = 400


class InvalidExpiry(LeveretError):
    """An invitation cannot live that long."""

    code = "invalid_expiry"
    advice = "Choose a minute at least and 30 days at most; with --auto-confirm one hour at most."
    status = 400


class InvitationDamaged(LeveretError):
    """This invitation is damaged or is none."""

    code = "invitation_damaged"
    advice = "Use the file as `leveret peers invite` wrote it, from the BEGIN to the END line, or ask for a new one."
    status = 400


class InvitationExpired(LeveretError):
    """This invitation has expired."""

    code = "invitation_expired"
    advice = "Ask the other facility for a new one; if it is fresh, compare the clocks of the two machines."
    status = 410


class InvitationUsed(LeveretError):
    """This invitation was used already, or was withdrawn."""

    code = "invitation_used"
    advice = "Ask the other facility for a new one; tell them if it was not you who used it."
    status = 410


class InvitationForOtherNode(LeveretError):
    """This invitation was made for another node."""

    code = "invitation_for_other_node"
    advice = "Pass it on to the facility it names, or ask for one that is made out to this node."
    status = 403


class OwnInvitation(LeveretError):
    """This node made this invitation itself."""

    code = "own_invitation"
    advice = "Send it to the other facility and let them run `leveret peers join`."
    status = 400


class PairingRefused(LeveretError):
    """The other node does not know this invitation."""

    code = "pairing_refused"
    advice = "Ask the other facility for a new invitation."
    status = 403


class TooManyAttempts(Retryable):
    """Too many attempts to pair in a short time."""

    code = "too_many_attempts"
    advice = "Wait a minute and try again."
    status = 429


class InvalidCard(LeveretError):
    """A peer showed a card that cannot be right."""

    code = "invalid_card"
    advice = "Compare the versions of the two nodes; tell the other facility."
    status = 400
