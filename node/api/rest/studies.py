"""What is held, and taking files in for ``leveret import``."""

from collections.abc import Iterable
from typing import Any

from node.api.bodies import read_body
from node.api.rest.access import CLINICAL
from node.api.routing import Call, Route
from node.clock import Clock
from node.errors.access import TooLarge
from node.model.audit import AuditEvent, AuditType
from node.model.instance import StudySummary
from node.sharing.audit import AuditLog
from node.sharing.imports import Imports
from node.sharing.ingest import MAX_INSTANCE_BYTES, Ingest
from node.sharing.reading import caught_up
from node.store.objects import ObjectStore
from node.store.study_queries import StudyQuery

MAX_STUDIES = 10_000  # in one answer


class StudiesResource:
    """``studies`` and, on the admin socket, ``imports``."""

    def __init__(self, *, store: ObjectStore, ingest: Ingest, imports: Imports, audit: AuditLog, clock: Clock) -> None:
        self._store = store
        self._ingest = ingest
        self._imports = imports
        self._audit = audit
        self._clock = clock

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = "/api/v1/imports/{import_id}"
        return [
            Route("GET", "/api/v1/studies", self.list, CLINICAL, "What is held, newest first"),
            Route("POST", "/api/v1/imports", self.begin, CLINICAL, "Begin an import", status=201, socket_only=True),
            Route(
                "POST",
                f"{one}/files",
                self.take,
                CLINICAL,
                "Take in one file",
                socket_only=True,
                quiet=True,
                upload=True,
            ),
            Route("POST", f"{one}/end", self.end, CLINICAL, "End an import", socket_only=True),
        ]

    async def list(self, call: Call) -> object:
        """Studies by ``patient_id`` and ``name`` (``*`` and ``?`` match anything)."""
        query = StudyQuery(
            patient_id=call.query("patient_id"),
            patient_name=call.query("name"),
            limit=call.number("limit", MAX_STUDIES, MAX_STUDIES),
            offset=call.number("offset", 0, 2**62),
        )
        await caught_up(self._store)
        found = await self._store.studies(query)
        event = AuditEvent(
            AuditType.STUDIES_SEARCHED, self._clock.now(), call.caller.actor, detail={"found": len(found)}
        )
        await self._audit.record(event)
        return {"studies": [shown_study(study) for study in found]}

    async def begin(self, _call: Call) -> object:
        """A new import."""
        return {"import_id": self._imports.begin()}

    async def take(self, call: Call) -> object:
        """One Part 10 file as the body; ``outcome`` is ``stored``, ``same`` or ``quarantined``."""
        run, size = call.parameter("import_id"), call.request.content_length
        self._imports.known(run)
        if size is None or size > MAX_INSTANCE_BYTES:
            raise TooLarge
        async with self._ingest.room(size):
            data = await read_body(call.request, MAX_INSTANCE_BYTES)
            taken = await self._imports.take(run, data, actor=call.caller.actor)
        return {"outcome": taken.outcome}

    async def end(self, call: Call) -> object:
        """Close the revisions that it made; its studies."""
        return {"studies": await self._imports.end(call.parameter("import_id"), actor=call.caller.actor)}


def shown_study(study: StudySummary) -> dict[str, Any]:
    """A study as the command line and the console show it."""
    return {
        "study_instance_uid": study.study_instance_uid,
        "patient_id": study.patient.patient_id,
        "issuer_of_patient_id": study.patient.issuer,
        "patient_name": study.demographics.name,
        "birth_date": study.demographics.birth_date,
        "sex": study.demographics.sex,
        "study_date": study.date,
        "modalities": list(study.modalities),
        "description": study.description,
        "series": study.series,
        "instances": study.instances,
        "bytes": study.size,
        "revision": study.revision,
        "revision_open": study.revision_open,
        "origin": study.origin.full if study.origin else None,
        "linked_patient_id": study.linked.patient_id if study.linked else None,
        "linked_issuer_of_patient_id": study.linked.issuer if study.linked else None,
        "report": study.has_report,
    }
