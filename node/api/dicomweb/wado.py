"""WADO-RS: retrieve instances and metadata (PS3.18 section 10.4)."""

import contextlib
from collections.abc import AsyncGenerator, Iterable, Sequence

from node.api.dicomweb.accept import DICOM, DICOM_JSON, instance_forms, require_json
from node.api.dicomweb.ahead import in_order, readers_of
from node.api.dicomweb.files import Files, plan_answer, stored_length
from node.api.dicomweb.multipart import new_boundary
from node.api.dicomweb.qido import BASE, base_url
from node.api.dicomweb.retrieval import Finder, multipart_type, stream
from node.api.encoding import encode_json
from node.api.rest.access import OWN_IMAGES
from node.api.routing import Call, Route
from node.dicom.corrected import Corrected, with_identity
from node.dicom.jsonmodel import instance_result
from node.dicom.outgoing import Copies
from node.dicom.pool import ParserPool
from node.errors.dicom import DicomRefused
from node.errors.storage import ObjectDamaged
from node.model.instance import StoredInstance
from node.store.objects import ObjectStore
from node.store.reading import ObjectReader

_UNAVAILABLE = {"00080056": {"vr": "CS", "Value": ["UNAVAILABLE"]}}  # Instance Availability (PS3.3 C.4.23.1.1)


class Wado:
    """The retrieve transactions."""

    def __init__(self, store: ObjectStore, pool: ParserPool, copies: Copies, finder: Finder) -> None:
        self._store = store
        self._files = Files(store, copies)
        self._pool = pool
        self._finder = finder

    def routes(self) -> Iterable[Route]:
        """The routes."""
        study = f"{BASE}/studies/{{study}}"
        series = f"{study}/series/{{series}}"
        instance = f"{series}/instances/{{instance}}"
        levels = ((study, "a study"), (series, "a series"), (instance, "an instance"))
        return [
            *(Route("GET", path, self.instances, OWN_IMAGES, f"Retrieve {what}") for path, what in levels),
            *(
                Route("GET", f"{path}/metadata", self.metadata, OWN_IMAGES, f"Metadata of {what}")
                for path, what in levels
            ),
        ]

    async def instances(self, call: Call) -> object:
        """RetrieveStudy, RetrieveSeries, RetrieveInstance: as stored, byte for byte, or in Explicit VR Little Endian.

        Of several, those that cannot be had in an accepted transfer syntax are left out (206, PS3.18 table 10.4.4-1).
        """
        forms = instance_forms(call.request.headers.get("Accept", ""), call.query("accept"))
        found = await self._finder.find(call, "instances")
        plan = plan_answer(found, forms)
        boundary = new_boundary() if plan.multipart else ""
        content_type = multipart_type(DICOM, boundary) if boundary else DICOM
        length = stored_length(plan.parts, boundary)
        pieces = self._files.pieces(plan.parts, boundary)
        status = 200 if len(plan.parts) == len(found) else 206
        return await stream(call, content_type, pieces, length=length, status=status)

    async def metadata(self, call: Call) -> object:
        """RetrieveMetadata: DICOM JSON without bulk data.

        An instance whose data set cannot be read is told, after the others, by what the index knows of it, with
        Instance Availability UNAVAILABLE: so that a study is neither refused for one bad instance nor taken for whole.
        """
        require_json(call.request.headers.get("Accept", ""), call.query("accept"))
        found = await self._finder.find(call, "metadata")
        return await stream(call, DICOM_JSON, self._told(call, found))

    async def _told(self, call: Call, found: Sequence[StoredInstance]) -> AsyncGenerator[bytes, None]:
        """The documents; raises DicomRefused or ObjectDamaged if not one instance can be read."""
        opening = b"["
        corrected = await self._corrected(found)
        base = base_url(call)
        unread: list[tuple[StoredInstance, DicomRefused | ObjectDamaged]] = []

        async def tell(instance: StoredInstance, reader: ObjectReader) -> bytes | None:
            header = instance.header
            place = f"{base}/studies/{header.study_instance_uid}/series/{header.series_instance_uid}"
            uri = f"{place}/instances/{header.sop_instance_uid}/bulkdata"
            try:
                told = await self._pool.to_json(reader, header.transfer_syntax_uid, uri)
                return told if corrected is None else with_identity(told, corrected)
            except (DicomRefused, ObjectDamaged) as error:
                unread.append((instance, error))
                return None

        work = (tell(*one) async for one in readers_of(self._store, found))
        async with contextlib.aclosing(in_order(work)) as documents:
            async for told in documents:
                if told is not None:
                    yield opening + told
                    opening = b",\n"
        if len(unread) == len(found):
            raise unread[0][1]
        for instance, _ in unread:
            yield b",\n" + encode_json(instance_result(instance, base) | _UNAVAILABLE)
        yield b"]"

    async def _corrected(self, found: Sequence[StoredInstance]) -> Corrected | None:
        """Whose the study is, if its bytes may say something else."""
        known = await self._store.corrected_identity(found[0].header.study_instance_uid)
        return None if known is None else Corrected(*known)
