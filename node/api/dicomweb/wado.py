"""WADO-RS: retrieve instances and metadata (PS3.18 section 10.4)."""

import contextlib
from collections.abc import AsyncGenerator, Iterable, Sequence

from aiohttp import web

from node.api.dicomweb.accept import DICOM, DICOM_JSON, require_json, wanted_instances
from node.api.dicomweb.ahead import read_ahead, readers_of
from node.api.dicomweb.multipart import new_boundary
from node.api.dicomweb.qido import BASE, base_url
from node.api.dicomweb.reads import Reads
from node.api.dicomweb.retrieval import closing, find_instances, multipart_type, part_head, stream
from node.api.rest.access import IMAGES
from node.api.routing import Call, Route
from node.dicom.corrected import Corrected, with_identity
from node.dicom.part10 import part10_header
from node.dicom.pool import ParserPool
from node.errors.access import NotAcceptable
from node.model.instance import StoredInstance
from node.store.objects import ObjectStore


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
        return await stream(call, DICOM_JSON, self._told(call, found))

    async def _told(self, call: Call, found: Sequence[StoredInstance]) -> AsyncGenerator[bytes, None]:
        opening = b"["
        corrected = await self._corrected(found)
        async with contextlib.aclosing(readers_of(self._store, found)) as readers:
            async for instance, reader in readers:
                header = instance.header
                place = f"{base_url(call)}/studies/{header.study_instance_uid}/series/{header.series_instance_uid}"
                uri = f"{place}/instances/{header.sop_instance_uid}/bulkdata"
                told = await self._pool.to_json(reader, header.transfer_syntax_uid, uri)
                yield opening + (told if corrected is None else with_identity(told, corrected))
                opening = b",\n"
        yield b"]"

    async def _corrected(self, found: Sequence[StoredInstance]) -> Corrected | None:
        """Whose the study is, if its bytes may say something else."""
        known = await self._store.corrected_identity(found[0].header.study_instance_uid)
        return None if known is None else Corrected(*known)

    async def _found(self, call: Call, what: str) -> Sequence[StoredInstance]:
        return await find_instances(self._store, self._reads, call, what)

    async def _single(self, call: Call, instance: StoredInstance) -> web.StreamResponse:
        length = len(_file_head(instance)) + instance.size
        return await stream(call, DICOM, self._files([instance], ""), length=length)

    async def _multipart(self, call: Call, found: Sequence[StoredInstance]) -> web.StreamResponse:
        boundary = new_boundary()
        heads = sum(len(_head(one, boundary)) for one in found)
        length = heads + sum(one.size for one in found) + len(closing(boundary))
        return await stream(call, multipart_type(DICOM, boundary), self._files(found, boundary), length=length)

    async def _files(self, found: Sequence[StoredInstance], boundary: str) -> AsyncGenerator[bytes, None]:
        """Files one after the other; with a boundary as the parts of a multipart body."""
        async with contextlib.aclosing(read_ahead(self._store, found)) as instances:
            async for begun in instances:
                yield _head(begun.instance, boundary)
                async for piece in begun.pieces():
                    yield piece
        if boundary:
            yield closing(boundary)


def _head(instance: StoredInstance, boundary: str) -> bytes:
    """What stands before a data set."""
    kind = f"{DICOM}; transfer-syntax={instance.header.transfer_syntax_uid}"
    return (part_head(boundary, kind) if boundary else b"") + _file_head(instance)


def _file_head(instance: StoredInstance) -> bytes:
    header = instance.header
    return part10_header(
        instance.file_meta,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
    )
