"""Signatures, certificates, proofs and signed texts that do not hold."""

from node.errors.base import LeveretError


class BadSignature(LeveretError):
    """A signature is not that of the node it should come from."""

    code = "bad_signature"
    advice = "Nothing of it was believed. Ask for it again; if it stays so, tell the other facility."
    status = 400


class BadCertificate(LeveretError):
    """This is not the certificate of a node."""

    code = "bad_certificate"
    advice = "Compare the versions of the two nodes, and ask the other facility for a new invitation."
    status = 400


class MalformedJws(LeveretError):
    """A signed message does not have the one form that is accepted."""

    code = "malformed_signed_message"
    advice = "Compare the versions of the two nodes; if it was pasted, copy all of it."
    status = 400


class BadJoinProof(LeveretError):
    """Who wants to join does not know the invitation's secret."""

    code = "bad_join_proof"
    advice = "Make a new invitation, and tell the other facility if the old one went astray."
    status = 403


class MalformedNote(LeveretError):
    """This is not a signed checkpoint of a log."""

    code = "malformed_note"
    advice = "Compare the versions of the two nodes."
    status = 400


class ProofRejected(LeveretError):
    """A log does not prove what it claims."""

    code = "proof_rejected"
    advice = "Keep a copy as evidence; the log's owner shows different histories, or was restored from a backup."


class FrontierDamaged(LeveretError):
    """The stored right edge of a log's tree is damaged."""

    code = "frontier_damaged"
    advice = "Restore the index from a backup; `leveret audit verify` shows whether the events themselves are whole."


class TlsKeyUnusable(LeveretError):
    """The TLS library cannot take over this node's key."""

    code = "tls_key_unusable"
    advice = "The key is handed over in memory by way of /proc/self/fd: mount /proc where this node runs."
