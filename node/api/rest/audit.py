"""The audit log, for auditors."""

from collections.abc import Iterable
from typing import Any

from node.api.rest.access import OVERSIGHT
from node.api.routing import Call, Route
from node.errors.access import InvalidInput
from node.model.audit import AuditType
from node.sharing.audit import MAX_PAGE, AuditLog, AuditProof
from node.store.audit import AuditRow

_DEFAULT_PAGE = 100


class AuditResource:
    """``audit``."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("GET", "/api/v1/audit", self.list, OVERSIGHT, "Events, newest first"),
            Route("POST", "/api/v1/audit/verification", self.verify, OVERSIGHT, "Prove the log"),
        ]

    async def list(self, call: Call) -> object:
        """A page: ``limit`` events of ``types`` (comma-separated), older than position ``before``."""
        before = call.number("before", 0, 2**62) if call.query("before") else None
        try:
            types = tuple(AuditType(name) for name in call.query("types").split(",") if name)
        except ValueError as exc:
            raise InvalidInput("types") from exc
        rows = await self._log.page(before=before, limit=call.number("limit", _DEFAULT_PAGE, MAX_PAGE), types=types)
        return {"events": [_shown(row) for row in rows]}

    async def verify(self, _call: Call) -> object:
        """The proof."""
        return shown_proof(await self._log.verify())


def shown_proof(proof: AuditProof) -> dict[str, Any]:
    """A proof as JSON shows it."""
    return {
        "ok": proof.ok,
        "size": proof.size,
        "root": proof.root,
        "cosigned_by": list(proof.cosigned_by),
        "checkpoints": proof.checkpoints,
        "problems": list(proof.problems),
    }


def _shown(row: AuditRow) -> dict[str, Any]:
    event = row.event
    return {
        "position": row.position,
        "at": event.at,
        "type": event.type,
        "actor": event.actor,
        "outcome": event.outcome,
        "peer_id": event.peer.full if event.peer else None,
        "patient": {"issuer": event.patient.issuer, "id": event.patient.patient_id} if event.patient else None,
        "study_instance_uid": event.study,
        "request_id": str(event.request) if event.request else None,
        "purpose": event.purpose,
        "code": event.code,
        "detail": dict(event.detail),
    }
