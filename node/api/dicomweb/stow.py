"""STOW-RS: store instances (PS3.18 section 10.5)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from node.api.bodies import read_piece
from node.api.dicomweb.accept import DICOM, DICOM_JSON, RELATED
from node.api.dicomweb.arriving import Arriving, Names, Slots, error_in
from node.api.dicomweb.multipart import MediaType, MultipartParser, PartBegins
from node.api.dicomweb.qido import BASE, base_url, study_of
from node.api.encoding import encode_json
from node.api.rest.access import CLINICAL
from node.api.routing import Call, Route
from node.errors.access import InvalidInput, UnsupportedMedia, UploadBroken
from node.errors.base import LeveretError, Retryable
from node.errors.dicom import InstanceMismatch
from node.model.instance import InstanceHeader
from node.sharing.ingest import Ingest, Source, Taken
from node.store.objects import STREAM_FROM_BYTES, ObjectStore, PutOutcome

ROOM_BYTES = 2 * STREAM_FROM_BYTES  # of one request: what arrives, and what is being stored
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
    failed: list[tuple[Names | None, int]] = field(default_factory=list)
    passing: list[Retryable] = field(default_factory=list)
    foreign: int = 0  # parts of another media type


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
        study_of(call)  # before a byte is read: the address may hold no UID
        try:
            async with self._room(call), asyncio.TaskGroup() as group:
                if kind.name == DICOM:
                    await self._take_alone(call, group, outcome)
                elif kind.name == RELATED and MediaType.parse(kind.parameters.get("type", DICOM)).name == DICOM:
                    await self._take_parts(call, kind.parameters.get("boundary", ""), group, outcome)
                else:
                    raise UnsupportedMedia(kind.name[:60])
        except BaseExceptionGroup as exc:
            raise error_in(exc) from exc
        if not outcome.stored and not outcome.failed:
            raise UnsupportedMedia("of every part") if outcome.foreign else InvalidInput("no instance came")
        if outcome.passing and not outcome.stored:
            raise outcome.passing[0]
        await self._store.indexed()
        return _answer(call, outcome)

    async def _take_alone(self, call: Call, group: asyncio.TaskGroup, outcome: _Outcome) -> None:
        arriving = self._arriving(call, group, outcome, Slots())
        while piece := await read_piece(call.request):
            await arriving.add(piece)
        if arriving.size:
            await arriving.end()

    async def _take_parts(self, call: Call, boundary: str, group: asyncio.TaskGroup, outcome: _Outcome) -> None:
        """Part after part: one is received at a time, while some that are there already are being stored."""
        parser, slots, count = MultipartParser(boundary), Slots(), 0
        arriving: Arriving | None = None
        while piece := await read_piece(call.request):
            for event in parser.feed(piece):
                if isinstance(event, PartBegins):
                    count += 1
                    if count > MAX_INSTANCES:
                        raise InvalidInput("too many instances")
                    arriving = self._arriving(call, group, outcome, slots) if _is_instance(event) else None
                    outcome.foreign += arriving is None
                elif arriving is None:
                    continue  # of a part that is no instance
                elif isinstance(event, bytes):
                    await arriving.add(event)
                else:
                    await arriving.end()
        if not parser.done:
            raise UploadBroken("the multipart body has no end")

    def _room(self, call: Call) -> contextlib.AbstractAsyncContextManager[None]:
        return self._ingest.room(min(call.request.content_length or ROOM_BYTES, ROOM_BYTES))

    def _arriving(self, call: Call, group: asyncio.TaskGroup, outcome: _Outcome, slots: Slots) -> Arriving:
        told: dict[str, Any] = {"source": Source.STOW, "actor": call.caller.actor, "only": study_of(call)}

        async def take(data: bytes | bytearray) -> None:
            await _noting(self._ingest.take_file(data, **told), data, outcome)

        async def take_stream(beginning: bytes | bytearray, rest: AsyncIterator[bytes]) -> None:
            await _noting(self._ingest.take_file_stream(beginning, rest, **told), beginning, outcome)

        return Arriving(group, slots, take, take_stream)


def _is_instance(part: PartBegins) -> bool:
    return part.media_type.name in {DICOM, ""}


async def _noting(taking: Awaitable[Taken], data: bytes | bytearray, outcome: _Outcome) -> None:
    """Wait for an instance to be taken in, and note what became of it."""
    try:
        taken = await taking
    except LeveretError as error:
        if isinstance(error, Retryable):
            outcome.passing.append(error)
        outcome.failed.append((Names.of_file(data), _reason(error)))
        return
    if taken.outcome is PutOutcome.QUARANTINED:
        outcome.failed.append((Names.of(taken.header), _DUPLICATE))
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
    named = [(names, reason) for names, reason in outcome.failed if names is not None]
    if named:
        document["00081198"] = {"vr": "SQ", "Value": [{**_names(n), **_failure(r)} for n, r in named]}
    nameless = [reason for names, reason in outcome.failed if names is None] + [_CANNOT_UNDERSTAND] * outcome.foreign
    if nameless:
        document["0008119A"] = {"vr": "SQ", "Value": [_failure(reason) for reason in nameless]}
    failed = outcome.failed or outcome.foreign
    status = 200 if not failed else 202 if outcome.stored else 409
    return web.Response(status=status, body=encode_json(document), content_type=DICOM_JSON)


def _names(names: Names) -> dict[str, object]:
    return {
        "00081150": {"vr": "UI", "Value": [names.sop_class]},
        "00081155": {"vr": "UI", "Value": [names.sop_instance]},
    }


def _failure(reason: int) -> dict[str, object]:
    return {"00081197": {"vr": "US", "Value": [reason]}}


def _reference(header: InstanceHeader, base: str) -> dict[str, object]:
    url = f"{base}/studies/{header.study_instance_uid}/series/{header.series_instance_uid}"
    return {
        **_names(Names.of(header)),
        "00081190": {"vr": "UR", "Value": [f"{url}/instances/{header.sop_instance_uid}"]},
    }
