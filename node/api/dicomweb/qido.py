"""QIDO-RS: search for studies, series and instances (PS3.18 section 10.6)."""

from collections.abc import Iterable, Sequence

from aiohttp import web

from node.api.dicomweb.accept import DICOM_JSON, require_json
from node.api.dicomweb.query import parse_search
from node.api.dicomweb.reads import Reads
from node.api.encoding import encode_json
from node.api.rest.access import OWN_STUDIES
from node.api.routing import Call, Route
from node.dicom.jsonmodel import DicomJson, instance_result, series_result, study_result
from node.model.ids import SeriesInstanceUID, StudyInstanceUID
from node.sharing.reading import caught_up
from node.sharing.search import Search
from node.sharing.visibility import Visibility
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery, SeriesQuery, StudyQuery

BASE = "/dicom-web"
MAX_REMAINING = 10_000  # results beyond an answer that are counted
Query = StudyQuery | SeriesQuery | InstanceQuery


class Qido:
    """The search transactions, among the studies that the caller may see."""

    def __init__(self, store: ObjectStore, reads: Reads, visibility: Visibility) -> None:
        self._store = store
        self._reads = reads
        self._visibility = visibility

    def routes(self) -> Iterable[Route]:
        """The routes."""
        study, series = f"{BASE}/studies/{{study}}", f"{BASE}/studies/{{study}}/series/{{series}}"
        return [
            Route("GET", f"{BASE}/studies", self.studies, OWN_STUDIES, "Search for studies"),
            Route("GET", f"{BASE}/series", self.series, OWN_STUDIES, "Search for series"),
            Route("GET", f"{BASE}/instances", self.instances, OWN_STUDIES, "Search for instances"),
            Route("GET", f"{study}/series", self.series, OWN_STUDIES, "Search for series of a study"),
            Route("GET", f"{study}/instances", self.instances, OWN_STUDIES, "Search for instances of a study"),
            Route("GET", f"{series}/instances", self.instances, OWN_STUDIES, "Search for instances of a series"),
        ]

    async def studies(self, call: Call) -> object:
        """SearchForStudies."""
        search = await self._search(call, ("study",))
        await caught_up(self._store)
        query = search.studies(page=True)
        found = await self._store.studies(query)
        base = base_url(call)
        return await self._answer(call, search, query, [study_result(study, base) for study in found])

    async def series(self, call: Call) -> object:
        """SearchForSeries."""
        study = study_of(call)
        search = await self._search(call, ("study", "series"))
        await caught_up(self._store)
        query = search.series(study)
        found = await self._store.series(query)
        results = [series_result(series, base_url(call)) for series in found]
        of_studies = await self._of_studies(call, search, {s.study_instance_uid for s in found}, is_all=study is None)
        results = [of_studies.get(one["0020000D"]["Value"][0], {}) | one for one in results]
        return await self._answer(call, search, query, results)

    async def instances(self, call: Call) -> object:
        """SearchForInstances."""
        study, series = study_of(call), series_of(call)
        search = await self._search(call, ("study", "series", "instance"))
        await caught_up(self._store)
        query = search.instances(study, series)
        stored = await self._store.instances(query)
        found = [one.header for one in stored]
        results = [instance_result(one, base_url(call)) for one in stored]
        of_series = await self._of_series(
            call, search, {one.series_instance_uid for one in found}, is_all=series is None
        )
        of_studies = await self._of_studies(
            call, search, {one.study_instance_uid for one in found}, is_all=study is None
        )
        results = [
            of_studies.get(header.study_instance_uid, {}) | of_series.get(header.series_instance_uid, {}) | result
            for header, result in zip(found, results, strict=True)
        ]
        return await self._answer(call, search, query, results)

    async def _search(self, call: Call, levels: Sequence[str]) -> Search:
        require_json(call.request.headers.get("Accept", ""), call.query("accept"))
        search = parse_search(call.request.query.items(), levels)
        visible = await self._visibility.of(call.caller)
        search.only = None if visible is None else tuple(visible)
        return search

    async def _of_studies(
        self, call: Call, search: Search, studies: set[StudyInstanceUID], *, is_all: bool
    ) -> dict[str, DicomJson]:
        """Study level attributes for other levels: all where the path names no study (PS3.18 10.6.3.3), else asked."""
        if not studies or not (is_all or search.fields):
            return {}
        found = await self._store.studies(StudyQuery(study_uids=tuple(studies)))
        told = {str(one.study_instance_uid): study_result(one, base_url(call)) for one in found}
        return {uid: search.chosen(result, is_all=is_all) for uid, result in told.items()}

    async def _of_series(
        self, call: Call, search: Search, series: set[SeriesInstanceUID], *, is_all: bool
    ) -> dict[str, DicomJson]:
        """Series level attributes for instances, likewise."""
        if not series or not (is_all or search.fields):
            return {}
        found = await self._store.series(SeriesQuery(series_uids=tuple(series)))
        told = {str(one.series_instance_uid): series_result(one, base_url(call)) for one in found}
        return {uid: search.chosen(result, is_all=is_all) for uid, result in told.items()}

    async def _answer(self, call: Call, search: Search, query: Query, results: list[DicomJson]) -> web.Response:
        level = {StudyQuery: "study", SeriesQuery: "series"}.get(type(query), "instance")
        await self._reads.searched(call.caller, len(results), level)
        results = [dict(sorted(result.items())) for result in results]
        answer = web.Response(body=encode_json(results), content_type=DICOM_JSON)
        service = f"{call.request.host}{BASE}"
        for text in await self._warnings(search, query, len(results)):
            answer.headers.add("Warning", f'299 {service} "{text}"')
        return answer

    async def _warnings(self, search: Search, query: Query, told: int) -> list[str]:
        """In the words of PS3.18 sections 8.3.4.2 and 8.3.4.4, where it has them."""
        warnings = []
        if told == search.limit:
            most = search.offset + told + MAX_REMAINING
            remaining = await self._store.count(query, most=most) - search.offset - told
            if remaining > 0:
                number = f"more than {remaining - 1}" if remaining == MAX_REMAINING else remaining
                warnings.append(f"There are {number} additional results that can be requested")
        if search.fuzzy:
            warnings.append("The fuzzymatching parameter is not supported. Only literal matching has been performed.")
        if search.ignored:
            warnings.append("Some parameters are not supported and were ignored")
        return warnings


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
