"""WADO-RS: retrieve instances, metadata and bulk data (PS3.18 section 10.4)."""

from collections.abc import AsyncIterator, Iterable, Sequence

from aiohttp import web

from node.api.dicomweb.accept import (
    DICOM,
    DICOM_JSON,
    OCTETS,
    require_json,
    wanted_instances,
    wants_multipart_octets,
)
from node.api.dicomweb.multipart import new_boundary
from node.api.dicomweb.qido import BASE, base_url, series_of, study_of
from node.api.dicomweb.reads import Reads
from node.api.rest.access import IMAGES
from node.api.routing import Call, Route
from node.api.server import STARTED
from node.dicom.part10 import part10_header
from node.dicom.pool import ParserPool
from node.errors.access import NotAcceptable
from node.errors.storage import UnknownInstance, UnknownStudy
from node.model.ids import SOPInstanceUID
from node.model.instance import StoredInstance
from node.sharing.reading import caught_up
from node.store.objects import ObjectStore
from node.store.reading import ObjectReader
from node.store.study_queries import InstanceQuery, StudyQuery

READERS_AT_ONCE = 200  # instances whose place is looked up with one question to the index


class Wado:
    """The retrieve transactions."""

    def __init__(self, store: ObjectStore, pool: ParserPool, reads: Reads) -> None:
        self._store = store
        self._pool = pool
        self._reads = reads

    def routes(self) -> Iterable[Route]:
        """The routes."""
        study = f"{BASE}/studies/{{study}}"
        series = f"{study}/series/{{series}}"
        instance = f"{series}/instances/{{instance}}"
        bulk = f"{instance}/bulkdata/{{element:[0-9A-Fa-f/]+}}"
        levels = ((study, "a study"), (series, "a series"), (instance, "an instance"))
        return [
            *(Route("GET", path, self.instances, IMAGES, f"Retrieve {what}") for path, what in levels),
            *(Route("GET", f"{path}/metadata", self.metadata, IMAGES, f"Metadata of {what}") for path, what in levels),
            Route("GET", bulk, self.bulk_data, IMAGES, "One large value of an instance"),
        ]

    async def instances(self, call: Call) -> object:
        """RetrieveStudy, RetrieveSeries, RetrieveInstance: as stored, byte for byte."""
        wanted = wanted_instances(call.request.headers.get("Accept", ""), call.query("accept"))
        found = await self._found(call, "instances")
        wanted.check(i.header.transfer_syntax_uid for i in found)
        if not wanted.multipart:
            if len(found) != 1:
                raise NotAcceptable("several instances come as multipart/related")
            return await self._single(call, found[0])
        return await self._multipart(call, found)

    async def metadata(self, call: Call) -> object:
        """RetrieveMetadata: DICOM JSON without bulk data."""
        require_json(call.request.headers.get("Accept", ""), call.query("accept"))
        found = await self._found(call, "metadata")
        answer = await _start(call, DICOM_JSON)
        opening = b"["
        async for instance, reader in self._readers(found):
            header = instance.header
            place = f"{base_url(call)}/studies/{header.study_instance_uid}/series/{header.series_instance_uid}"
            uri = f"{place}/instances/{header.sop_instance_uid}/bulkdata"
            await answer.write(opening + await self._pool.to_json(reader, header.transfer_syntax_uid, uri))
            opening = b",\n"
        await answer.write(b"]" if opening != b"[" else b"[]")
        await answer.write_eof()
        return answer

    async def bulk_data(self, call: Call) -> object:
        """RetrieveBulkdata: the value that a BulkDataURI names."""
        in_parts = wants_multipart_octets(call.request.headers.get("Accept", ""), call.query("accept"))
        (instance,) = await self._found(call, "bulkdata")
        reader = await self._store.reader(instance.header.sop_instance_uid)
        syntax = instance.header.transfer_syntax_uid
        value = await self._pool.locate(reader, syntax, call.parameter("element").upper())
        boundary = new_boundary()
        kind = f'multipart/related; type="{OCTETS}"; boundary={boundary}' if in_parts else OCTETS
        answer = await _start(call, kind)
        if in_parts:
            await answer.write(_part_head(boundary, OCTETS))
        async for piece in reader.chunks(value.offset, value.offset + value.length):
            await answer.write(piece)
        if in_parts:
            await answer.write(_closing(boundary))
        await answer.write_eof()
        return answer

    async def _found(self, call: Call, what: str) -> Sequence[StoredInstance]:
        study, series = study_of(call), series_of(call)
        assert study is not None
        named = call.request.match_info.get("instance")
        query = InstanceQuery(
            studies=StudyQuery(study_uids=(study,)),
            series_uids=(series,) if series else (),
            instance_uids=(SOPInstanceUID.parse(named),) if named else (),
        )
        await caught_up(self._store)
        found = await self._store.instances(query)
        if not found:
            raise UnknownInstance if named else UnknownStudy
        await self._reads.read(call.caller, study, found[0].header.patient, what)
        return found

    async def _readers(self, found: Sequence[StoredInstance]) -> AsyncIterator[tuple[StoredInstance, ObjectReader]]:
        for start in range(0, len(found), READERS_AT_ONCE):
            some = found[start : start + READERS_AT_ONCE]
            readers = await self._store.readers([i.header.sop_instance_uid for i in some])
            for instance in some:
                yield instance, readers[instance.header.sop_instance_uid]

    async def _single(self, call: Call, instance: StoredInstance) -> web.StreamResponse:
        reader = await self._store.reader(instance.header.sop_instance_uid)
        head = _file_head(instance)
        answer = await _start(call, DICOM, length=len(head) + reader.size)
        await answer.write(head)
        async for piece in reader.chunks():
            await answer.write(piece)
        await answer.write_eof()
        return answer

    async def _multipart(self, call: Call, found: Sequence[StoredInstance]) -> web.StreamResponse:
        boundary = new_boundary()
        answer = await _start(call, f'multipart/related; type="{DICOM}"; boundary={boundary}')
        async for instance, reader in self._readers(found):
            kind = f"{DICOM}; transfer-syntax={instance.header.transfer_syntax_uid}"
            await answer.write(_part_head(boundary, kind) + _file_head(instance))
            async for piece in reader.chunks():
                await answer.write(piece)
        await answer.write(_closing(boundary))
        await answer.write_eof()
        return answer


async def _start(call: Call, content_type: str, *, length: int | None = None) -> web.StreamResponse:
    """A streamed answer; from here on an error cuts the connection off, so that half is never taken for whole."""
    answer = web.StreamResponse(headers={"Content-Type": content_type})
    answer.content_length = length
    call.request[STARTED] = True
    await answer.prepare(call.request)
    return answer


def _file_head(instance: StoredInstance) -> bytes:
    header = instance.header
    return part10_header(
        instance.file_meta,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
    )


def _part_head(boundary: str, content_type: str) -> bytes:
    return f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode("ascii")


def _closing(boundary: str) -> bytes:
    return f"\r\n--{boundary}--\r\n".encode("ascii")
