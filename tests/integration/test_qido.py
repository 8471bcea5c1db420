"""QIDO-RS (PS3.18 section 10.6) against a running node: every resource, every kind of matching, and warnings."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from support.running import running

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = "1.2.826.0.1.3680043.10.543.77"
Results = list[dict[str, Any]]

# name, id, date, time, modality, accession number, born
STUDIES = (
    ("Müller^Änne", "A1", "20240101", "0930", "CT", "X-1", "19700101"),
    ("Mueller^Anne", "A2", "20240101", "10", "MR", "X-2", "19800202"),
    ("MULLER^ANNE", "A3", "20240102", "235959.5", "CT", "Y-1", "19900303"),
    ("Garcia^Luz", "B[1]", "20240103", "", "", "Y-2", ""),
    ("Nobody^Ever", "B2", "", "", "SR", "", "20000404"),
)


@dataclass
class Searcher:
    http: ClientSession

    async def __call__(self, path: str, *, status: int = 200, **headers: str) -> Results:
        found, _ = await self.with_headers(path, status=status, **headers)
        return found

    async def with_headers(self, path: str, *, status: int = 200, **headers: str) -> tuple[Results, Any]:
        told = {"Accept": "application/dicom+json", **headers}
        async with self.http.get(f"/dicom-web{path}", headers=told) as answer:
            body = await answer.json(content_type=None)
            assert answer.status == status, body
            return body, answer.headers

    async def ids(self, query: str) -> list[str]:
        """Patient IDs of the studies that match, sorted."""
        return sorted(one["00100020"]["Value"][0] for one in await self(f"/studies?{query}"))


def study(number: int) -> list[bytes]:
    """Two series of the study's modality, with one and two instances."""
    name, patient, date, time, modality, accession, born = STUDIES[number]
    files = []
    for series, count in ((1, 1), (2, 2)):
        for instance in range(1, count + 1):
            ds = Dataset()
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.SpecificCharacterSet = "ISO_IR 100"
            ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.66")
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}.{number}.{series}.{instance}")
            ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}.{number}", f"{ROOT}.{number}.{series}"
            ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = name, patient, born, "F"
            ds.StudyDate, ds.StudyTime, ds.AccessionNumber = date, time, accession
            ds.StudyDescription, ds.StudyID, ds.ReferringPhysicianName = f"Thorax {number}", f"S{number}", "Ref^Erring"
            ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, series, instance
            ds.SeriesDescription, ds.BodyPartExamined = f"series {series}", "CHEST"
            out = io.BytesIO()
            ds.save_as(out, enforce_file_format=True)
            files.append(out.getvalue())
    return files


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def search(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Searcher]:
    async with running(tmp_path_factory.mktemp("qido") / "node") as node:
        token = await node.token("clinician")
        async with ClientSession(node.api, headers={"Authorization": f"Bearer {token}"}) as http:
            files = [data for number in range(len(STUDIES)) for data in study(number)]
            body = b"".join(b"\r\n--cut\r\nContent-Type: application/dicom\r\n\r\n" + data for data in files)
            kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=cut'}
            async with http.post("/dicom-web/studies", data=io.BytesIO(body + b"\r\n--cut--"), headers=kind) as answer:
                assert answer.status == 200, await answer.text()
            yield Searcher(http)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        # single value, wildcards, names without regard to case and accents (PS3.4 C.2.2.2.1, C.2.2.2.4)
        ("PatientID=A1", ["A1"]),
        ("00100020=A1", ["A1"]),
        ("PatientID=A?", ["A1", "A2", "A3"]),
        ("PatientID=B[1]", ["B[1]"]),
        ("PatientID=B[*", ["B[1]"]),
        ("PatientID=a1", []),
        ("PatientName=muller*", ["A1", "A3"]),
        ("PatientName=M%C3%BCller%5E%C3%84nne", ["A1", "A3"]),
        ("PatientName=*anne", ["A1", "A2", "A3"]),
        ("AccessionNumber=X-*", ["A1", "A2"]),
        ("StudyDescription=Thorax%200", ["A1"]),
        ("StudyID=S3", ["B[1]"]),
        ("ReferringPhysicianName=Ref*&PatientID=A1", ["A1"]),
        ("PatientSex=M", []),
        ("PatientSex=F&PatientID=A1", ["A1"]),
        # ranges; a study without a date is in none (PS3.4 C.2.2.2.5)
        ("StudyDate=20240101", ["A1", "A2"]),
        ("StudyDate=20240102-", ["A3", "B[1]"]),
        ("StudyDate=-20240101", ["A1", "A2"]),
        ("StudyDate=20240102-20240103", ["A3", "B[1]"]),
        ("StudyTime=1000-1030", ["A2"]),
        ("StudyTime=-0930", ["A1"]),
        ("StudyTime=0930", ["A1"]),
        ("StudyTime=23", ["A3"]),
        ("PatientBirthDate=19700101", ["A1"]),
        ("PatientBirthDate=19750101-19950101", ["A2", "A3"]),
        # combined date and time: from the morning of the first day until noon of the second
        ("StudyDate=20240101-20240102&StudyTime=0945-12", ["A2"]),
        ("StudyDate=20240101-20240102&StudyTime=0945-", ["A2", "A3"]),
        ("StudyDate=20240101-20240103&StudyTime=2000-0800", ["A3"]),
        # lists
        (f"StudyInstanceUID={ROOT}.0,{ROOT}.3", ["A1", "B[1]"]),
        (f"StudyInstanceUID={ROOT}.0%5C{ROOT}.4", ["A1", "B2"]),
        ("ModalitiesInStudy=CT", ["A1", "A3"]),
        ("ModalitiesInStudy=MR%5CSR", ["A2", "B2"]),
        ("ModalitiesInStudy=?R", ["A2", "B2"]),
        # empty values and a lone asterisk match everything
        ("PatientID=&PatientName=*&StudyDate=20240103", ["B[1]"]),
        # an attribute that this server does not match is ignored
        ("PatientWeight=80&PatientID=A1", ["A1"]),
    ],
)
async def test_matching(search: Searcher, query: str, ids: list[str]) -> None:
    assert await search.ids(query) == ids


async def test_a_study(search: Searcher) -> None:
    """PS3.18 table 10.6.3-3, with Specific Character Set and, always, a modality."""
    (one,) = await search("/studies?PatientID=A1")
    assert one["00080005"]["Value"] == ["ISO_IR 192"]
    assert one["00080056"]["Value"] == ["ONLINE"]
    assert one["00100010"]["Value"] == [{"Alphabetic": "Müller^Änne"}]
    assert one["00081190"]["Value"][0].endswith(f"/dicom-web/studies/{ROOT}.0")
    assert (one["00201206"]["Value"], one["00201208"]["Value"]) == ([2], [3])
    assert list(one) == sorted(one)
    (one,) = await search("/studies?PatientID=B[1]")
    assert one["00080061"]["Value"] == ["OT"]


async def test_every_resource(search: Searcher) -> None:
    """The relational ones bring the attributes of the levels that their path does not name (PS3.18 10.6.3.3)."""
    assert len(await search("/studies")) == 5
    all_series = await search("/series?Modality=CT")
    assert [s["00100020"]["Value"][0] for s in all_series] == ["A3", "A3", "A1", "A1"]
    assert {s["00081190"]["Value"][0].rpartition("/series/")[2] for s in all_series} == {
        f"{ROOT}.{study}.{series}" for study in (0, 2) for series in (1, 2)
    }
    of_study = await search(f"/studies/{ROOT}.0/series")
    assert [s["00200011"]["Value"][0] for s in of_study] == [1, 2]
    assert [s["00201209"]["Value"][0] for s in of_study] == [1, 2]
    assert "00100020" not in of_study[0]
    instances = await search("/instances?PatientID=A2")
    assert {(i["00100020"]["Value"][0], i["0008103E"]["Value"][0]) for i in instances} == {
        ("A2", "series 1"), ("A2", "series 2"),
    }  # fmt: skip
    assert all("/instances/" in i["00081190"]["Value"][0] for i in instances)
    of_study = await search(f"/studies/{ROOT}.1/instances?SeriesNumber=2&InstanceNumber=2")
    assert [i["00080018"]["Value"] for i in of_study] == [[f"{ROOT}.1.2.2"]]
    assert of_study[0]["0008103E"]["Value"] == ["series 2"]
    assert "00100020" not in of_study[0]
    of_series = await search(f"/studies/{ROOT}.1/series/{ROOT}.1.2/instances")
    assert len(of_series) == 2
    assert "0008103E" not in of_series[0]
    assert not await search("/studies/1.2.3/series")


async def test_fields_that_are_asked_for(search: Searcher) -> None:
    path = f"/studies/{ROOT}.0/series/{ROOT}.0.2/instances"
    (one, _) = await search(f"{path}?includefield=PatientName,00080061&includefield=SeriesDescription")
    assert one["00100010"]["Value"] == [{"Alphabetic": "Müller^Änne"}]
    assert (one["00080061"]["Value"], one["0008103E"]["Value"]) == (["CT"], ["series 2"])
    assert "00100020" not in one
    (one, _) = await search(f"{path}?includefield=all")
    assert (one["00100020"]["Value"], one["00201208"]["Value"], one["00201209"]["Value"]) == (["A1"], [3], [2])
    (one, _) = await search(f"/studies/{ROOT}.0/series?includefield=00081030,00101030")
    assert one["00081030"]["Value"] == ["Thorax 0"]


async def test_pages(search: Searcher) -> None:
    first, headers = await search.with_headers("/studies?limit=2")
    assert headers["Warning"].endswith('"There are 3 additional results that can be requested"')
    second, headers = await search.with_headers("/studies?limit=2&offset=2")
    assert "There are 1 additional" in headers["Warning"]
    third, headers = await search.with_headers("/studies?limit=2&offset=4")
    assert "Warning" not in headers
    uids = [one["0020000D"]["Value"][0] for one in (*first, *second, *third)]
    assert sorted(uids) == [f"{ROOT}.{n}" for n in range(5)]
    assert not await search("/studies?offset=5")
    _, headers = await search.with_headers("/instances?limit=15")
    assert "Warning" not in headers


async def test_what_is_not_supported_is_said(search: Searcher) -> None:
    _, headers = await search.with_headers("/studies?PatientName=Muller*&fuzzymatching=true&PatientWeight=80")
    fuzzy, ignored = headers.getall("Warning")
    assert fuzzy.startswith("299 ")
    assert fuzzy.endswith('"The fuzzymatching parameter is not supported. Only literal matching has been performed."')
    assert "ignored" in ignored
    _, headers = await search.with_headers("/studies?PatientName=Muller*&fuzzymatching=false")
    assert "Warning" not in headers


@pytest.mark.parametrize(
    "query",
    [
        "limit=x", "offset=-1", "StudyDate=2024", "StudyTime=25", "StudyInstanceUID=x", "PatientID=A1&PatientID=A2",
        "fuzzymatching=perhaps", "includefield=%3Cscript%3E", "%3Cscript%3E=1",
    ],
)  # fmt: skip
async def test_queries_that_cannot_be_understood(search: Searcher, query: str) -> None:
    await search(f"/studies?{query}", status=400)


async def test_only_dicom_json(search: Searcher) -> None:
    await search("/studies", status=406, Accept='multipart/related; type="application/dicom+xml"')
    assert len(await search("/studies", Accept="application/json")) == 5
    assert len(await search("/studies?accept=application/dicom%2Bjson", Accept="text/html")) == 5
