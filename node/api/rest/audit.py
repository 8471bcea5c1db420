"""The audit log, for auditors."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.paging import MAX_OFFSET, following, given
from node.api.rest.access import OVERSIGHT
from node.api.rest.shapes.system import ConsistencyShown, EventList, EventShown, InclusionShown, ProofShown
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


class EventQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which events: ``types`` comma-separated, older than position ``before``."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = _DEFAULT_PAGE
    before: Annotated[int, msgspec.Meta(ge=0, le=MAX_OFFSET)] | msgspec.UnsetType = msgspec.UNSET
    types: Annotated[str, msgspec.Meta(max_length=4096)] = ""


class ExportQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """In which form, and from which position on."""

    format: ExportFormat = ExportFormat.JSON_LINES
    first: Annotated[int, msgspec.Meta(ge=0, le=MAX_OFFSET)] = msgspec.field(default=0, name="from")


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Numbers of events."""

    old: Annotated[int, msgspec.Meta(ge=1, le=MAX_OFFSET)] = 1
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_OFFSET)] = 1


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
            Route(
                "GET", "/api/v1/audit", self.list, OVERSIGHT, "Events, newest first", query=EventQuery, answer=EventList
            ),
            Route("POST", "/api/v1/audit/verification", self.verify, OVERSIGHT, "Prove the log", answer=ProofShown),
            Route(
                "GET",
                "/api/v1/audit/{position}/inclusion",
                self.inclusion,
                OVERSIGHT,
                "Prove that it has an event",
                answer=InclusionShown,
            ),
            Route(
                "GET",
                "/api/v1/audit/export",
                self.export,
                OVERSIGHT,
                "The whole log, a document a line",
                query=ExportQuery,
                media=tuple(MEDIA_TYPES.values()),
            ),
            Route(
                "GET",
                "/api/v1/audit/consistency",
                self.consistency,
                OVERSIGHT,
                "Prove that it only grew",
                query=Sizes,
                errors=(404,),
                answer=ConsistencyShown,
            ),
        ]

    async def list(self, call: Call) -> EventList:
        """A page."""
        asked: EventQuery = call.asked
        try:
            types = tuple(AuditType(name) for name in asked.types.split(",") if name)
        except ValueError as exc:
            raise InvalidInput("types") from exc
        rows = await self._log.page(before=given(asked.before), limit=asked.limit, types=types)
        more = len(rows) == asked.limit and rows[-1].position > 0
        return {
            "events": [_shown(row) for row in rows],
            "next": following(call, before=rows[-1].position) if more else None,
        }

    async def verify(self, _call: Call) -> ProofShown:
        """The proof; every witness that can be reached is asked what it knows."""
        proof = await self._log.verify()
        against = await self._witnesses.contradicted_by()
        if against:
            proof = replace(proof, ok=False, problems=(*proof.problems, *against))
        return shown_proof(proof)

    async def export(self, call: Call) -> object:
        """What was read is an event itself."""
        asked: ExportQuery = call.asked
        form, first = asked.format, asked.first
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

    async def inclusion(self, call: Call) -> InclusionShown:
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

    async def consistency(self, call: Call) -> ConsistencyShown:
        """The path from the tree of ``old`` events to the one of ``size`` (RFC 6962)."""
        sizes: Sizes = call.asked
        path = await self._log.consistency(sizes.old, sizes.size)
        return {"old": sizes.old, "size": sizes.size, "path": [value.hex() for value in path]}


def shown_proof(proof: AuditProof) -> ProofShown:
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


def _shown(row: AuditRow) -> EventShown:
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
