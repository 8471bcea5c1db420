"""QIDO-RS: search for studies, series and instances (PS3.18 section 10.6)."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from aiohttp import web

from node.api.dicomweb.accept import DICOM_JSON, require_json
from node.api.dicomweb.query import Search, parse_search
from node.api.dicomweb.reads import Reads
from node.api.encoding import encode_json
from node.api.rest.access import CLINICAL
from node.api.routing import Call, Route
from node.dicom.jsonmodel import DicomJson, instance_result, series_result, study_result
from node.model.ids import SeriesInstanceUID, StudyInstanceUID
from node.sharing.reading import caught_up
from node.store.objects import ObjectStore

BASE = "/dicom-web"
_T = TypeVar("_T")


class Qido:
    """The search transactions."""

    def __init__(self, store: ObjectStore, reads: Reads) -> None:
        self._store = store
        self._reads = reads

    def routes(self) -> Iterable[Route]:
        """The routes."""
        study, series = f"{BASE}/studies/{{study}}", f"{BASE}/studies/{{study}}/series/{{series}}"
        return [
            Route("GET", f"{BASE}/studies", self.studies, CLINICAL, "Search for studies"),
            Route("GET", f"{BASE}/series", self.series, CLINICAL, "Search for series"),
            Route("GET", f"{BASE}/instances", self.instances, CLINICAL, "Search for instances"),
            Route("GET", f"{study}/series", self.series, CLINICAL, "Search for series of a study"),
            Route("GET", f"{study}/instances", self.instances, CLINICAL, "Search for instances of a study"),
            Route("GET", f"{series}/instances", self.instances, CLINICAL, "Search for instances of a series"),
        ]

    async def studies(self, call: Call) -> object:
        """SearchForStudies."""
        search = _search(call, ("study",))
        await caught_up(self._store)
        found = await self._store.studies(search.studies(page=True))
        base = base_url(call)
        return await self._answer(call, search, found, [study_result(study, base) for study in found], "study")

    async def series(self, call: Call) -> object:
        """SearchForSeries."""
        search = _search(call, ("study", "series"))
        await caught_up(self._store)
        found = await self._store.series(search.series(study_of(call)))
        base = base_url(call)
        return await self._answer(call, search, found, [series_result(series, base) for series in found], "series")

    async def instances(self, call: Call) -> object:
        """SearchForInstances."""
        search = _search(call, ("study", "instance"))
        await caught_up(self._store)
        found = await self._store.instances(search.instances(study_of(call), series_of(call)))
        base = base_url(call)
        return await self._answer(call, search, found, [instance_result(i, base) for i in found], "instance")

    async def _answer(
        self, call: Call, search: Search, found: Sequence[_T], results: list[DicomJson], level: str
    ) -> web.Response:
        await self._reads.searched(call.caller, min(len(found), search.limit), level)
        answer = web.Response(body=encode_json(results[: search.limit]), content_type=DICOM_JSON)
        if len(found) > search.limit:
            answer.headers.add("Warning", '299 leveret "There are more results; ask with offset"')
        if search.ignored:
            answer.headers.add("Warning", '299 leveret "Some parameters are not supported and were ignored"')
        return answer


def _search(call: Call, levels: Sequence[str]) -> Search:
    require_json(call.request.headers.get("Accept", ""), call.query("accept"))
    return parse_search(call.request.query.items(), levels)


def base_url(call: Call) -> str:
    """The address of the service as the caller wrote it; ends before ``/studies``.

    Some clients (dicomweb-client) leave the port out of the Host header; then it is the one that they reached.
    """
    request = call.request
    host = request.host
    socket_name = request.get_extra_info("sockname")
    if ":" not in host.rpartition("]")[2] and isinstance(socket_name, tuple):
        host = f"{host}:{socket_name[1]}"
    return f"{request.scheme}://{host}{BASE}"


def study_of(call: Call) -> StudyInstanceUID | None:
    """The study in the path, if there is one; raises InvalidUid."""
    text = call.request.match_info.get("study")
    return None if text is None else StudyInstanceUID.parse(text)


def series_of(call: Call) -> SeriesInstanceUID | None:
    """The series in the path, if there is one; raises InvalidUid."""
    text = call.request.match_info.get("series")
    return None if text is None else SeriesInstanceUID.parse(text)
