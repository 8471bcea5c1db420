"""An audit log that does not prove itself."""

from node.errors.base import LeveretError


class AuditLogDamaged(LeveretError):
    """The audit log does not match its own signed checkpoints."""

    code = "audit_damaged"
    advice = "Keep a copy of the data directory as evidence and tell the privacy officer."
