"""What is held, and taking files in for ``leveret import``."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.bodies import read_body
from node.api.paging import Offset, following
from node.api.rest.access import CLINICAL
from node.api.rest.shapes.images import StudyList, StudyShown
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


class WhichStudies(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Studies by patient; ``*`` and ``?`` match anything."""

    patient_id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    name: Annotated[str, msgspec.Meta(max_length=324)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_STUDIES)] = MAX_STUDIES
    offset: Offset = 0


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
            Route(
                "GET",
                "/api/v1/studies",
                self.list,
                CLINICAL,
                "What is held, newest first",
                query=WhichStudies,
                answer=StudyList,
            ),
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

    async def list(self, call: Call) -> StudyList:
        """A page."""
        asked: WhichStudies = call.asked
        query = StudyQuery(
            patient_id=asked.patient_id, patient_name=asked.name, limit=asked.limit + 1, offset=asked.offset
        )
        await caught_up(self._store)
        found = await self._store.studies(query)
        event = AuditEvent(
            AuditType.STUDIES_SEARCHED,
            self._clock.now(),
            call.caller.actor,
            detail={"found": min(len(found), asked.limit)},
        )
        await self._audit.record(event)
        more = following(call, offset=asked.offset + asked.limit) if len(found) > asked.limit else None
        return {"studies": [shown_study(study) for study in found[: asked.limit]], "next": more}

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


def shown_study(study: StudySummary) -> StudyShown:
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
