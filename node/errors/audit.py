"""An audit log that does not prove itself."""

from node.errors.base import LeveretError


class AuditLogDamaged(LeveretError):
    """The audit log does not match its own signed checkpoints."""

    code = "audit_damaged"
    advice = "Keep a copy of the data directory as evidence and tell the privacy officer."


class NoSuchEvent(LeveretError):
    """The audit log has no such event, or not so many."""

    code = "no_such_event"
    advice = "See `leveret audit list` for the positions that there are."
    status = 404


class WitnessRefused(LeveretError):
    """A checkpoint does not continue the log that this witness knows."""

    code = "witness_refused"
    advice = "The log was rewritten, cut or restored; both operators should look, the evidence is kept."
    status = 409


class LogAwaitsPeers(LeveretError):
    """This node was restored from a backup and has not asked its peers yet what they saw of its audit log."""

    code = "log_awaits_peers"
    advice = "Start it with `leveret serve`: it asks before anything else."
    status = 503
