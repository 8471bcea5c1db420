"""DICOMweb against a running node, by dicomweb-client as scripts use it, and by hand where a client would not."""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pydicom
import pytest
import requests
from aiohttp import ClientSession
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from support.ct import CtStudy, dataset_of
from support.running import Running, running
from support.zoo import brain

from node.api.dicomweb.retrieval import HELD_BACK

T = TypeVar("T")
STUDY = CtStudy(instances=3, rows=32)
EVERY = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "north") as one:
        yield one


async def client_of(node: Running, role: str = "clinician") -> DICOMwebClient:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {await node.token(role, f'dw-{role}')}"
    return DICOMwebClient(url=f"{node.api}/dicom-web", session=session)


async def in_thread(work: Callable[..., T], *args: Any, **options: Any) -> T:
    return await asyncio.to_thread(work, *args, **options)


def read(files: list[bytes]) -> list[Dataset]:
    return [pydicom.dcmread(io.BytesIO(data)) for data in files]


async def test_store_search_retrieve(node: Running) -> None:
    client = await client_of(node)
    files = list(STUDY.files())
    answer = await in_thread(client.store_instances, read(files))
    assert len(answer.ReferencedSOPSequence) == 3
    assert "FailedSOPSequence" not in answer

    (study,) = await in_thread(client.search_for_studies, search_filters={"PatientID": STUDY.patient_id})
    assert study["0020000D"]["Value"] == [STUDY.study_uid]
    assert study["00100010"]["Value"][0]["Alphabetic"] == STUDY.patient_name
    assert study["00201208"]["Value"] == [3]
    assert await in_thread(client.search_for_studies, search_filters={"PatientName": "testp*"})
    assert not await in_thread(client.search_for_studies, search_filters={"PatientName": "Nobody"})
    (series,) = await in_thread(client.search_for_series, STUDY.study_uid)
    assert series["0020000E"]["Value"] == [STUDY.series_uid]
    assert len(await in_thread(client.search_for_instances, STUDY.study_uid, STUDY.series_uid)) == 3
    assert len(await in_thread(client.search_for_instances, STUDY.study_uid, limit=2)) == 2

    whole = await in_thread(client.retrieve_study, STUDY.study_uid)
    assert {ds.SOPInstanceUID for ds in whole} == {STUDY.sop_uid(n) for n in (1, 2, 3)}
    one = await in_thread(client.retrieve_instance, STUDY.study_uid, STUDY.series_uid, STUDY.sop_uid(2))
    assert one.PixelData == read(files)[1].PixelData
    metadata = await in_thread(client.retrieve_study_metadata, STUDY.study_uid)
    assert {m["00080018"]["Value"][0] for m in metadata} == {STUDY.sop_uid(n) for n in (1, 2, 3)}
    bulk = next(m for m in metadata if m["00080018"]["Value"] == [STUDY.sop_uid(1)])["7FE00010"]["BulkDataURI"]
    (pixels,) = await in_thread(client.retrieve_bulkdata, bulk)
    assert pixels == read(files)[0].PixelData


async def test_bytes_come_back_as_they_were_sent(node: Running) -> None:
    """Nothing is rewritten on the way: data set and group 0002 are the file's own."""
    token = await node.token("clinician")
    files = brain()[:4]
    async with ClientSession(node.api, headers={"Authorization": f"Bearer {token}"}) as http:
        status, _ = await stow(http, list(files))
        assert status == 200
        study = pydicom.dcmread(io.BytesIO(files[0]), stop_before_pixels=True).StudyInstanceUID
        async with http.get(f"/dicom-web/studies/{study}", headers={"Accept": EVERY}) as answer:
            boundary = answer.headers["Content-Type"].split("boundary=")[1]
            parts = (await answer.read()).split(f"\r\n--{boundary}".encode())[1:-1]
    assert {part.split(b"\r\n\r\n", 1)[1][132:] for part in parts} == {data[132:] for data in files}


async def stow(http: ClientSession, files: list[bytes], path: str = "/dicom-web/studies") -> tuple[int, Any]:
    body = b"".join(b"\r\n--cut\r\nContent-Type: application/dicom\r\n\r\n" + data for data in files) + b"\r\n--cut--"
    kind = 'multipart/related; type="application/dicom"; boundary=cut'
    async with http.post(path, data=io.BytesIO(body), headers={"Content-Type": kind}) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_part_of_a_store_fails(node: Running) -> None:
    token = await node.token("clinician")
    good, other = next(STUDY.files()), next(CtStudy(instances=1, rows=16, seed=9).files())
    changed = good[:-2] + b"\1\2"
    async with ClientSession(node.api, headers={"Authorization": f"Bearer {token}"}) as http:
        status, body = await stow(http, [good, b"not DICOM at all"])
        assert (status, len(body["00081199"]["Value"]), len(body["0008119A"]["Value"])) == (202, 1, 1)
        status, body = await stow(http, [changed])
        assert status == 409, "other bytes under the same UID are put aside"
        assert body["00081198"]["Value"][0]["00081197"]["Value"] == [0x0111]
        status, body = await stow(http, [good])
        assert status == 200, "the same bytes again are fine"
        status, body = await stow(http, [other], f"/dicom-web/studies/{STUDY.study_uid}")
        assert status == 409, "an instance of another study than the address names"
        status, body = await stow(http, [])
        assert (status, body["code"]) == (400, "invalid_input")
        async with http.post("/dicom-web/studies", data=b"x", headers={"Content-Type": "text/plain"}) as answer:
            assert answer.status == 415
        headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=cut'}
        async with http.post("/dicom-web/studies", data=b"--cut\r\n\r\n" + good, headers=headers) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (400, "upload_broken")
        async with http.get(f"/dicom-web/studies/{STUDY.study_uid}/instances") as answer:
            assert len(await answer.json(content_type=None)) == 1
    assert (await node.done("GET", "/status"))["quarantined"] == 1


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        (f"/studies/{STUDY.study_uid}", "image/jpeg", 406),
        (f"/studies/{STUDY.study_uid}", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.3', 406),
        (f"/studies/{STUDY.study_uid}", "application/dicom", 406),
        (
            f"/studies/{STUDY.study_uid}/series/{STUDY.series_uid}/instances/{STUDY.sop_uid(1)}",
            "application/dicom",
            200,
        ),
        (f"/studies/{STUDY.study_uid}", "*/*", 200),
        ("/studies/1.2.3", EVERY, 404),
        (f"/studies/{STUDY.study_uid}/series/{STUDY.series_uid}/instances/1.2.3", EVERY, 404),
        ("/studies/..%2f..", EVERY, 400),
        ("/studies?StudyInstanceUID=x", "*/*", 400),
        ("/studies?limit=-1", "*/*", 400),
        (f"/studies/{STUDY.study_uid}/metadata", "application/dicom+xml", 406),
        ("/nothing", "*/*", 404),
    ],
)
async def test_answers(node: Running, path: str, accept: str, status: int) -> None:
    token = await node.token("clinician")
    async with ClientSession(node.api, headers={"Authorization": f"Bearer {token}"}) as http:
        await stow(http, list(STUDY.files()))
        async with http.get(f"/dicom-web{path}", headers={"Accept": accept}) as answer:
            body = await answer.read()
            assert answer.status == status, body
            assert answer.headers["Cache-Control"] == "no-store"
            if status >= 400:
                assert answer.content_type == "application/problem+json"
                assert STUDY.study_uid.encode() not in body


async def test_reads_are_on_record_once_a_minute(node: Running) -> None:
    token = await node.token("clinician")
    async with ClientSession(node.api, headers={"Authorization": f"Bearer {token}"}) as http:
        await stow(http, list(STUDY.files()))
        for _ in range(3):
            async with http.get(f"/dicom-web/studies/{STUDY.study_uid}", headers={"Accept": EVERY}) as answer:
                assert answer.status == 200
        async with http.get("/dicom-web/studies") as answer:
            assert answer.status == 200
    events = (await node.done("GET", "/audit?types=study_read,studies_searched"))["events"]
    assert [e["type"] for e in events] == ["studies_searched", "study_read"]
    assert events[1]["actor"] == "user:clinician"
    assert events[1]["study_instance_uid"] == STUDY.study_uid
    assert events[1]["patient"]["id"] == STUDY.patient_id
    assert STUDY.patient_id not in node.logged.getvalue()
    assert STUDY.study_uid not in node.logged.getvalue()


async def damage(node: Running, before_end: int) -> None:
    """Flip one bit near the end of every pack."""
    for pack in (p for p in (node.directory / "packs").rglob("*") if p.is_file()):
        data = bytearray(pack.read_bytes())
        data[-before_end] ^= 1
        pack.write_bytes(data)


async def test_a_small_damaged_object_is_an_error_answer(node: Running) -> None:
    """The first mebibyte is verified before the status line: study, metadata and bulk data tell what is wrong."""
    token = await node.token("clinician")
    async with ClientSession(node.api, headers={"Authorization": f"Bearer {token}"}) as http:
        await stow(http, list(CtStudy(instances=1, rows=256).files()))
        await damage(node, 1000)
        async with http.get("/dicom-web/instances") as answer:
            (one,) = await answer.json(content_type=None)
        place = one["00081190"]["Value"][0]
        for path, accept in ((place, EVERY), (f"{place}/bulkdata/7FE00010", "*/*"), (f"{place}/frames/1", "*/*")):
            async with http.get(path, headers={"Accept": accept}) as answer:
                assert (answer.status, (await answer.json(content_type=None))["code"]) == (500, "object_damaged")
                assert STUDY.study_uid not in await answer.text()


async def test_a_large_damaged_object_is_never_half_an_answer(node: Running) -> None:
    """A flipped bit behind the first mebibyte: the connection ends before all that was announced has come."""
    token = await node.token("clinician")
    big = CtStudy(instances=1, rows=4096)
    async with ClientSession(node.api, headers={"Authorization": f"Bearer {token}"}) as http:
        await stow(http, list(big.files()))
        await damage(node, 200_000)
        with pytest.raises(Exception, match=r"payload|disconnected|closed"):
            async with http.get(f"/dicom-web/studies/{big.study_uid}", headers={"Accept": EVERY}) as answer:
                await answer.read()
    (cut,) = [line for line in node.logged.getvalue().splitlines() if "object_damaged" in line]
    assert re.search(r'"object": "[0-9a-f]{32}"', cut), "the log names the object"
    assert len(dataset_of(next(big.files()))) > 2 * HELD_BACK


async def test_one_unreadable_instance_does_not_hide_the_others(node: Running) -> None:
    """It is told by what the index knows; asked for alone it is refused."""
    first, second = list(STUDY.files())[:2]
    at = second.index(b"\xe0\x7f\x10\x00O")
    broken = second[:at] + b"\x40\x00\x30\xa7SQ\0\0\x10\0\0\0" + b"junk" * 4 + second[at:]
    token = await node.token("clinician")
    async with ClientSession(node.api, headers={"Authorization": f"Bearer {token}"}) as http:
        assert (await stow(http, [broken, first]))[0] == 200
        study = f"/dicom-web/studies/{STUDY.study_uid}"
        async with http.get(f"{study}/metadata") as answer:
            assert answer.status == 200
            whole, gap = await answer.json(content_type=None)
        assert whole["00080018"]["Value"] == [STUDY.sop_uid(1)]
        assert "BulkDataURI" in whole["7FE00010"]
        assert gap["00080018"]["Value"] == [STUDY.sop_uid(2)]
        assert gap["00080056"]["Value"] == ["UNAVAILABLE"]
        assert (gap["00080016"]["Value"], gap["00280010"]["Value"]) == (whole["00080016"]["Value"], [32])
        async with http.get(f"{study}/series/{STUDY.series_uid}/instances/{STUDY.sop_uid(2)}/metadata") as answer:
            assert answer.status == 400
