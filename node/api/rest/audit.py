"""The audit log, for auditors."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from aiohttp import web

from node.api.rest.access import OVERSIGHT
from node.api.routing import Call, Route
from node.api.server import STARTED
from node.clock import Clock
from node.errors.access import InvalidInput
from node.errors.audit import NoSuchEvent
from node.model.audit import AuditEvent, AuditType
from node.sharing.audit import MAX_PAGE, AuditLog, AuditProof
from node.sharing.export import MEDIA_TYPES, ExportFormat, Source, exporter
from node.sharing.witness import Witnesses
from node.store.audit import AuditRow

_DEFAULT_PAGE = 100
PIECE_BYTES = 64 * 1024  # of an export at once
_MAX_DIGITS = 18  # of a position


class AuditResource:
    """``audit``."""

    def __init__(self, log: AuditLog, witnesses: Witnesses, source: Source, clock: Clock) -> None:
        """``source`` is this node, as exports name it."""
        self._log = log
        self._witnesses = witnesses
        self._source = source
        self._clock = clock

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("GET", "/api/v1/audit", self.list, OVERSIGHT, "Events, newest first"),
            Route("POST", "/api/v1/audit/verification", self.verify, OVERSIGHT, "Prove the log"),
            Route("GET", "/api/v1/audit/{position}/inclusion", self.inclusion, OVERSIGHT, "Prove that it has an event"),
            Route("GET", "/api/v1/audit/export", self.export, OVERSIGHT, "The whole log, a document a line"),
            Route("GET", "/api/v1/audit/consistency", self.consistency, OVERSIGHT, "Prove that it only grew"),
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
        """The proof; every witness that can be reached is asked what it knows."""
        proof = await self._log.verify()
        against = await self._witnesses.contradicted_by()
        if against:
            proof = replace(proof, ok=False, problems=(*proof.problems, *against))
        return shown_proof(proof)

    async def export(self, call: Call) -> object:
        """``format`` is jsonl, fhir or dicom; from position ``from`` on. What was read is an event itself."""
        try:
            form = ExportFormat(call.query("format", ExportFormat.JSON_LINES.value))
        except ValueError as exc:
            raise InvalidInput("format") from exc
        first = call.number("from", 0, 2**62)
        await self._log.record(
            AuditEvent(AuditType.AUDIT_EXPORTED, self._clock.now(), call.caller.actor, detail={"format": form.value})
        )
        line = exporter(form, self._source)
        answer = web.StreamResponse(headers={"Content-Type": MEDIA_TYPES[form], "Cache-Control": "no-store"})
        call.request[STARTED] = True
        await answer.prepare(call.request)
        piece = bytearray()
        async for row in self._log.since(first):
            piece += line(row) + b"\n"
            if len(piece) > PIECE_BYTES:
                await answer.write(bytes(piece))
                piece.clear()
        await answer.write(bytes(piece))
        await answer.write_eof()
        return answer

    async def inclusion(self, call: Call) -> object:
        """Leaf, path and signed head (RFC 6962)."""
        text = call.parameter("position")
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
            raise NoSuchEvent
        proof = await self._log.inclusion(int(text))
        return {
            "position": proof.position,
            "leaf": proof.leaf.hex(),
            "path": [value.hex() for value in proof.path],
            "checkpoint": proof.checkpoint,
        }

    async def consistency(self, call: Call) -> object:
        """The path from the tree of ``old`` events to the one of ``size`` (RFC 6962)."""
        old, size = call.number("old", 1, 2**62), call.number("size", 1, 2**62)
        path = await self._log.consistency(old, size)
        return {"old": old, "size": size, "path": [value.hex() for value in path]}


def shown_proof(proof: AuditProof) -> dict[str, Any]:
    """A proof as JSON shows it."""
    return {
        "ok": proof.ok,
        "size": proof.size,
        "root": proof.root,
        "cosigned_by": [one.peer.full for one in proof.cosigned],
        "cosigned": [{"peer_id": one.peer.full, "size": one.size, "at": one.at} for one in proof.cosigned],
        "checkpoints": proof.checkpoints,
        "incarnation": proof.incarnation,  # of the newest tree; 1: this node was never restored
        "base": proof.base,  # the position at which that tree begins
        "gaps": [{"first": g.first, "next": g.next, "incarnation": g.incarnation} for g in proof.gaps],
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
