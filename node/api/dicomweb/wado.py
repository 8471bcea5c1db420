"""WADO-RS: retrieve instances and metadata (PS3.18 section 10.4)."""

from collections.abc import AsyncIterator, Iterable, Sequence

from aiohttp import web

from node.api.dicomweb.accept import DICOM, DICOM_JSON, require_json, wanted_instances
from node.api.dicomweb.multipart import new_boundary
from node.api.dicomweb.qido import BASE, base_url
from node.api.dicomweb.reads import Reads
from node.api.dicomweb.retrieval import closing, find_instances, multipart_type, part_head, start
from node.api.rest.access import IMAGES
from node.api.routing import Call, Route
from node.dicom.part10 import part10_header
from node.dicom.pool import ParserPool
from node.errors.access import NotAcceptable
from node.model.instance import StoredInstance
from node.store.objects import ObjectStore
from node.store.reading import ObjectReader

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
        levels = ((study, "a study"), (series, "a series"), (instance, "an instance"))
        return [
            *(Route("GET", path, self.instances, IMAGES, f"Retrieve {what}") for path, what in levels),
            *(Route("GET", f"{path}/metadata", self.metadata, IMAGES, f"Metadata of {what}") for path, what in levels),
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
        answer = await start(call, DICOM_JSON)
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

    async def _found(self, call: Call, what: str) -> Sequence[StoredInstance]:
        return await find_instances(self._store, self._reads, call, what)

    async def _readers(self, found: Sequence[StoredInstance]) -> AsyncIterator[tuple[StoredInstance, ObjectReader]]:
        for first in range(0, len(found), READERS_AT_ONCE):
            some = found[first : first + READERS_AT_ONCE]
            readers = await self._store.readers([i.header.sop_instance_uid for i in some])
            for instance in some:
                yield instance, readers[instance.header.sop_instance_uid]

    async def _single(self, call: Call, instance: StoredInstance) -> web.StreamResponse:
        reader = await self._store.reader(instance.header.sop_instance_uid)
        head = _file_head(instance)
        answer = await start(call, DICOM, length=len(head) + reader.size)
        await answer.write(head)
        async for piece in reader.chunks():
            await answer.write(piece)
        await answer.write_eof()
        return answer

    async def _multipart(self, call: Call, found: Sequence[StoredInstance]) -> web.StreamResponse:
        boundary = new_boundary()
        answer = await start(call, multipart_type(DICOM, boundary))
        async for instance, reader in self._readers(found):
            kind = f"{DICOM}; transfer-syntax={instance.header.transfer_syntax_uid}"
            await answer.write(part_head(boundary, kind) + _file_head(instance))
            async for piece in reader.chunks():
                await answer.write(piece)
        await answer.write(closing(boundary))
        await answer.write_eof()
        return answer


def _file_head(instance: StoredInstance) -> bytes:
    header = instance.header
    return part10_header(
        instance.file_meta,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
    )
