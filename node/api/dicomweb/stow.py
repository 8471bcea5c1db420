"""STOW-RS: store instances (PS3.18 section 10.5)."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiohttp import web

from node.api.dicomweb.accept import DICOM, DICOM_JSON, RELATED
from node.api.dicomweb.multipart import MediaType, MultipartParser
from node.api.dicomweb.qido import BASE, base_url, study_of
from node.api.encoding import encode_json
from node.api.rest.access import CLINICAL
from node.api.routing import Call, Route, read_body, read_piece
from node.errors.access import InvalidInput, UnsupportedMedia, UploadBroken
from node.errors.base import LeveretError, Retryable
from node.errors.dicom import InstanceMismatch
from node.model.instance import InstanceHeader
from node.sharing.ingest import MAX_INSTANCE_BYTES, Ingest, Source
from node.store.objects import ObjectStore, PutOutcome

IN_FLIGHT = 8  # instances of one request that are being stored at once
MAX_INSTANCES = 100_000  # in one request

# Failure Reason (0008,1197): the statuses of C-STORE (PS3.4 section B.2.3), and PS3.7 C.5.7 for the last.
_CANNOT_UNDERSTAND = 0xC000
_OUT_OF_RESOURCES = 0xA700
_MISMATCH = 0xA900
_DUPLICATE = 0x0111


@dataclass(slots=True)
class _Outcome:
    """What became of the instances of one request."""

    stored: list[InstanceHeader] = field(default_factory=list)
    failed: list[tuple[InstanceHeader | None, int]] = field(default_factory=list)
    passing: list[Retryable] = field(default_factory=list)


class Stow:
    """The store transaction."""

    def __init__(self, ingest: Ingest, store: ObjectStore) -> None:
        self._ingest = ingest
        self._store = store

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("POST", f"{BASE}/studies", self.receive, CLINICAL, "Store instances"),
            Route("POST", f"{BASE}/studies/{{study}}", self.receive, CLINICAL, "Store instances of a study"),
        ]

    async def receive(self, call: Call) -> object:
        """StoreInstances: answered when everything is durable and can be found."""
        kind = MediaType.parse(call.request.headers.get("Content-Type", ""))
        outcome = _Outcome()
        if kind.name == DICOM:
            size = call.request.content_length or MAX_INSTANCE_BYTES
            async with self._ingest.room(size):
                await self._take(call, bytes(await read_body(call.request, MAX_INSTANCE_BYTES)), outcome)
        elif kind.name == RELATED and kind.parameters.get("type", DICOM).lower() == DICOM:
            await self._take_parts(call, kind.parameters.get("boundary", ""), outcome)
        else:
            raise UnsupportedMedia(kind.name[:60])
        if not outcome.stored and not outcome.failed:
            raise InvalidInput("no instance came")
        if outcome.passing and not outcome.stored:
            raise outcome.passing[0]
        await self._store.indexed()
        return _answer(call, outcome)

    async def _take_parts(self, call: Call, boundary: str, outcome: _Outcome) -> None:
        parser = MultipartParser(boundary, max_part_bytes=MAX_INSTANCE_BYTES)
        slots, count = asyncio.Semaphore(IN_FLIGHT), 0

        async def take(data: bytes) -> None:
            try:
                async with self._ingest.room(len(data)):
                    await self._take(call, data, outcome)
            finally:
                slots.release()

        try:
            async with asyncio.TaskGroup() as group:
                while piece := await read_piece(call.request):
                    for part in parser.feed(piece):
                        if part.media_type.name not in {DICOM, ""}:
                            raise UnsupportedMedia(part.media_type.name[:60])
                        count += 1
                        if count > MAX_INSTANCES:
                            raise InvalidInput("too many instances")
                        await slots.acquire()
                        group.create_task(take(part.body))
        except BaseExceptionGroup as exc:
            raise exc.exceptions[0] from exc
        if not parser.done:
            raise UploadBroken("the multipart body has no end")

    async def _take(self, call: Call, data: bytes, outcome: _Outcome) -> None:
        wanted = study_of(call)
        try:
            taken = await self._ingest.take_file(data, source=Source.STOW, actor=call.caller.actor, only=wanted)
        except LeveretError as error:
            if isinstance(error, Retryable):
                outcome.passing.append(error)
            outcome.failed.append((None, _reason(error)))
            return
        if taken.outcome is PutOutcome.QUARANTINED:
            outcome.failed.append((taken.header, _DUPLICATE))
        else:
            outcome.stored.append(taken.header)


def _reason(error: LeveretError) -> int:
    if isinstance(error, Retryable):
        return _OUT_OF_RESOURCES
    return _MISMATCH if isinstance(error, InstanceMismatch) else _CANNOT_UNDERSTAND


def _answer(call: Call, outcome: _Outcome) -> web.Response:
    """PS3.18 section 10.5.3: 200 all stored, 202 some, 409 none."""
    base = base_url(call)
    document: dict[str, object] = {}
    studies = {header.study_instance_uid for header in outcome.stored}
    if len(studies) == 1:
        document["00081190"] = {"vr": "UR", "Value": [f"{base}/studies/{next(iter(studies))}"]}
    if outcome.stored:
        document["00081199"] = {"vr": "SQ", "Value": [_reference(h, base) for h in outcome.stored]}
    named = [(header, reason) for header, reason in outcome.failed if header is not None]
    if named:
        document["00081198"] = {"vr": "SQ", "Value": [{**_names(h), **_failure(r)} for h, r in named]}
    nameless = [reason for header, reason in outcome.failed if header is None]
    if nameless:
        document["0008119A"] = {"vr": "SQ", "Value": [_failure(reason) for reason in nameless]}
    status = 200 if not outcome.failed else 202 if outcome.stored else 409
    return web.Response(status=status, body=encode_json(document), content_type=DICOM_JSON)


def _names(header: InstanceHeader) -> dict[str, object]:
    return {
        "00081150": {"vr": "UI", "Value": [header.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [header.sop_instance_uid]},
    }


def _failure(reason: int) -> dict[str, object]:
    return {"00081197": {"vr": "US", "Value": [reason]}}


def _reference(header: InstanceHeader, base: str) -> dict[str, object]:
    url = f"{base}/studies/{header.study_instance_uid}/series/{header.series_instance_uid}"
    return {**_names(header), "00081190": {"vr": "UR", "Value": [f"{url}/instances/{header.sop_instance_uid}"]}}
