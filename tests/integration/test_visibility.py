"""DICOMweb for patients and recipients of links: what is not theirs is answered as if it did not exist, anywhere."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from support.ct import CtStudy
from support.running import initialised

from node.api.cookies import CSRF_HEADER, cookie_name
from node.api.server import ApiServer
from node.app.exchange import Basis, Exchange
from node.app.keys import open_keys
from node.app.node import Node
from node.log import make_logger
from node.model.access import Caller, Role
from node.model.audit import AuditType
from node.model.ids import StudyInstanceUID
from node.sharing.visibility import Visibility

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINE = CtStudy(instances=2, rows=32, seed=1, patient_id="P-1", patient_name="Mine^Mia")
OTHER = CtStudy(instances=3, rows=32, seed=2, patient_id="P-2", patient_name="Other^Olaf")
UNKNOWN = CtStudy(instances=1, rows=32, seed=3, patient_id="P-3", patient_name="Nobody^Nick")
PATIENT, RECIPIENT = Caller("patient:mia", Role.PATIENT), Caller("link:l1", Role.RECIPIENT)
STRANGER = Caller("patient:new", Role.PATIENT)  # has no study yet
VISITORS = (PATIENT, RECIPIENT, STRANGER)
CHANGING = {"Date"}


class Named:
    """Names the one study that patient and recipient may see."""

    async def visible(self, caller: Caller) -> frozenset[StudyInstanceUID]:
        return frozenset() if caller == STRANGER else frozenset({StudyInstanceUID(MINE.study_uid)})


class OpenNode(Node):
    """A node whose inside a test can reach, and whose sources of visible studies are the test's."""

    basis: Basis
    exchange: Exchange

    def _api(self, basis: Basis, exchange: Exchange) -> ApiServer:
        sources = {Role.PATIENT: Named(), Role.RECIPIENT: Named()}
        self.basis, self.exchange = basis, replace(exchange, visibility=Visibility(sources))
        return super()._api(basis, self.exchange)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Held:
    node: OpenNode
    http: ClientSession
    cookies: dict[Caller, str]

    async def get(self, caller: Caller, path: str, method: str = "GET", **headers: str) -> Answer:
        async with self.http.request(method, path, headers={"Cookie": self.cookies[caller], **headers}) as answer:
            kept = {name: value for name, value in answer.headers.items() if name not in CHANGING}
            return Answer(answer.status, kept, await answer.read())

    async def json(self, caller: Caller, path: str) -> list[dict[str, Any]]:
        async with self.http.get(path, headers={"Cookie": self.cookies[caller]}) as answer:
            assert answer.status == 200
            found: list[dict[str, Any]] = await answer.json(content_type=None)
            return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def held(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Held]:
    directory = tmp_path_factory.mktemp("visibility") / "north"
    settings = await asyncio.to_thread(initialised, directory, "north")
    keys = await asyncio.to_thread(open_keys, directory, settings.node)
    async with OpenNode(directory, settings, keys, log=make_logger(io.StringIO())) as node:
        cookies, port = {}, int(node.addresses["api"].rpartition(":")[2])
        async with node.basis.storage.db.write() as tx:
            for caller in (*VISITORS, Caller("user:clin", Role.CLINICIAN)):
                issued = await node.exchange.sessions.open(tx, caller)
                cookies[caller] = f"{cookie_name(port)}={issued.cookie}"
                csrf = issued.session.csrf
        async with ClientSession(f"http://{node.addresses['api']}") as http:
            both = Held(node, http, cookies)
            clinician = Caller("user:clin", Role.CLINICIAN)
            for data in (*MINE.files(), *OTHER.files()):
                headers = {"Cookie": cookies[clinician], CSRF_HEADER: csrf}
                headers["Content-Type"] = "application/dicom"
                async with http.post("/dicom-web/studies", data=io.BytesIO(data), headers=headers) as answer:
                    assert answer.status == 200, await answer.text()
            yield both


def path_of(template: str, study: CtStudy, series: CtStudy | None = None, instance: CtStudy | None = None) -> str:
    series = series or study
    instance = instance or series
    path = template.replace("{element:[0-9A-Fa-f/]+}", "7FE00010").replace("{frames}", "1")
    path = path.replace("{study}", study.study_uid).replace("{series}", series.series_uid)
    return path.replace("{instance}", instance.sop_uid(1))


def templates(node: OpenNode) -> list[str]:
    """Every address of DICOMweb that can be read."""
    found = [r.path for r in node.routes if r.path.startswith("/dicom-web/") and r.method == "GET"]
    assert len(found) > 20
    return found


async def test_every_route_answers_others_studies_as_unknown_ones(held: Held) -> None:
    for template in templates(held.node):
        for caller in VISITORS:
            mine = await held.get(caller, path_of(template, MINE))
            if caller != STRANGER:
                assert mine.status == 200, (template, mine.body)
            if "{study}" not in template:
                continue
            unknown = await held.get(caller, path_of(template, UNKNOWN))
            assert await held.get(caller, path_of(template, OTHER)) == unknown, template
            assert unknown.status == 404 or unknown.body == b"[]"
            if caller == STRANGER:
                assert mine == unknown
            if "{series}" in template:  # below a study that may be seen
                absent = await held.get(caller, path_of(template, MINE, UNKNOWN))
                assert await held.get(caller, path_of(template, MINE, OTHER)) == absent, template
            if "{instance}" in template:
                absent = await held.get(caller, path_of(template, MINE, MINE, UNKNOWN))
                assert await held.get(caller, path_of(template, MINE, MINE, OTHER)) == absent, template


SEARCHES = (
    ("StudyInstanceUID={0.study_uid}", ("studies", "series", "instances")),
    ("00100020={0.patient_id}", ("studies", "series", "instances")),
    ("PatientID={0.patient_id}&limit=1", ("studies", "series", "instances")),
    ("PatientName={0.patient_name}", ("studies", "series", "instances")),
    ("SeriesInstanceUID={0.series_uid}", ("series", "instances")),
)


async def test_searches_for_others_find_nothing(held: Held) -> None:
    for caller in VISITORS:
        for query, levels in SEARCHES:
            for level in levels:
                unknown = await held.get(caller, f"/dicom-web/{level}?{query.format(UNKNOWN)}")
                assert unknown.body == b"[]"
                assert await held.get(caller, f"/dicom-web/{level}?{query.format(OTHER)}") == unknown, (level, query)
        sop = "/dicom-web/instances?SOPInstanceUID="
        assert await held.get(caller, sop + OTHER.sop_uid(1)) == await held.get(caller, sop + UNKNOWN.sop_uid(1))


async def test_open_searches_find_what_is_theirs_and_count_no_more(held: Held) -> None:
    everything = ("", "PatientName=*", "PatientID=*", "StudyDate=19000101-", "PatientID=P-?", "ModalitiesInStudy=CT")
    for caller, expected in ((PATIENT, MINE), (RECIPIENT, MINE), (STRANGER, None)):
        for query in (*everything, f"StudyInstanceUID={OTHER.study_uid}%5C{MINE.study_uid}"):
            found = await held.json(caller, f"/dicom-web/studies?{query}")
            assert [s["0020000D"]["Value"] for s in found] == ([[expected.study_uid]] if expected else []), query
        for level in ("studies", "series", "instances"):
            answer = await held.get(caller, f"/dicom-web/{level}?limit=1")
            more = expected is not None and level == "instances"
            assert ("There are 1 additional results" in answer.headers.get("Warning", "")) is more
            assert ("Warning" in answer.headers) is more
            past = await held.get(caller, f"/dicom-web/{level}?offset=2")
            assert past.body == b"[]"


async def test_a_visitors_reads_are_on_record_as_theirs(held: Held) -> None:
    for study in (MINE, OTHER):
        await held.get(RECIPIENT, f"/dicom-web/studies/{study.study_uid}/metadata")
        await held.get(RECIPIENT, f"/dicom-web/studies?StudyInstanceUID={study.study_uid}")
    events = [row.event async for row in held.node.basis.storage.audit.since()]
    theirs = [event for event in events if event.actor == RECIPIENT.actor]
    assert {event.study for event in theirs if event.type is AuditType.STUDY_READ} == {MINE.study_uid}
    assert AuditType.STUDIES_SEARCHED in {event.type for event in theirs}


async def test_visitors_store_nothing(held: Held) -> None:
    for caller in VISITORS:
        for template in ("/dicom-web/studies", f"/dicom-web/studies/{MINE.study_uid}"):
            assert (await held.get(caller, template, "POST")).status == 403
