"""JSON lines: the position, the leaf hash, and the exact bytes that it is the hash of."""

import msgspec

from node.store.audit import AuditRow


class _Line(msgspec.Struct, frozen=True):
    position: int
    leaf: str
    event: msgspec.Raw


def json_line(row: AuditRow) -> bytes:
    """``{"position", "leaf", "event"}``; SHA-256(00 ‖ the event's bytes as they stand) is ``leaf`` (RFC 6962)."""
    return msgspec.json.encode(_Line(row.position, row.leaf.hex(), msgspec.Raw(row.body)))
