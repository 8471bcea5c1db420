"""STOW-RS (PS3.18 section 10.5) against a running node: every form of a request, every outcome, and bounded memory."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from support.ct import CtStudy, dataset_of
from support.large import write_large
from support.running import Running, initialised, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
KIND = 'multipart/related; type="application/dicom"; boundary=cut'
DICOM = "application/dicom"


@dataclass
class Sender:
    node: Running
    http: ClientSession

    async def __call__(self, body: Any, kind: str = KIND, path: str = "") -> tuple[int, Any]:
        data = io.BytesIO(body) if isinstance(body, bytes) else body
        async with self.http.post(f"/dicom-web/studies{path}", data=data, headers={"Content-Type": kind}) as answer:
            return answer.status, await answer.json(content_type=None)

    async def get(self, path: str, accept: str = "*/*") -> tuple[int, bytes]:
        async with self.http.get(f"/dicom-web{path}", headers={"Accept": accept}) as answer:
            return answer.status, await answer.read()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def send(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sender]:
    async with running(tmp_path_factory.mktemp("stow") / "node") as node:
        headers = {"Authorization": f"Bearer {await node.token('clinician')}"}
        async with ClientSession(node.api, headers=headers) as http:
            yield Sender(node, http)


def parts(*bodies: bytes, kind: str = DICOM, boundary: str = "cut") -> bytes:
    head = f"\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Location: urn:x\r\n\r\n".encode()
    return b"".join(head + body for body in bodies) + f"\r\n--{boundary}--\r\n".encode()


def files(seed: int, count: int = 2) -> list[bytes]:
    return list(CtStudy(instances=count, rows=16, seed=seed).files())


async def in_pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=cut', "cut"),
        ("multipart/related; boundary=cut; type=application/dicom", "cut"),
        ('Multipart/Related; Boundary="a (quoted) = one:"; Type="Application/DICOM"', "a (quoted) = one:"),
        ("multipart/related; boundary=cut", "cut"),
        ('multipart/related; type="application/dicom; transfer-syntax=1.2.840.10008.1.2.1"; boundary=cut', "cut"),
    ],
)
async def test_every_way_to_say_what_it_is(send: Sender, kind: str, boundary: str) -> None:
    status, body = await send(parts(*files(21), boundary=boundary), kind)
    assert status == 200, body
    assert len(body["00081199"]["Value"]) == 2
    assert body["00081190"]["Value"][0].endswith(f"/studies/{CtStudy(seed=21).study_uid}")
    assert all("/instances/" in one["00081190"]["Value"][0] for one in body["00081199"]["Value"])


@pytest.mark.parametrize("size", [7, 1000, 1 << 20])
async def test_without_a_length_in_any_pieces(send: Sender, size: int) -> None:
    body = b"a preamble that nobody needs" + parts(*files(22, 1 if size == 7 else 3)) + b"and an epilogue"
    status, answer = await send(in_pieces(body, size))
    assert status == 200, answer


async def test_one_instance_alone(send: Sender) -> None:
    (data,) = files(23, 1)
    assert (await send(data, DICOM))[0] == 200
    assert (await send(in_pieces(data, 1000), DICOM))[0] == 200
    assert (await send(data, DICOM, f"/{CtStudy(seed=23).study_uid}"))[0] == 200
    status, body = await send(b"", DICOM)
    assert (status, body["code"]) == (400, "invalid_input")


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"[]", "application/dicom+json", 415, "unsupported_media_type"),
        (parts(b"[]", kind="application/dicom+json"), 'multipart/related; type="application/dicom+json"; boundary=cut',
         415, "unsupported_media_type"),
        (parts(b"<x/>", kind="application/dicom+xml"), 'multipart/related; type="application/dicom+xml"; boundary=cut',
         415, "unsupported_media_type"),
        (parts(b"[]", kind="application/dicom+json"), KIND, 415, "unsupported_media_type"),
        (b"x", "text/plain", 415, "unsupported_media_type"),
        (b"x", "multipart/form-data; boundary=cut", 415, "unsupported_media_type"),
        (b"x", 'multipart/related; type="application/dicom"', 415, "unsupported_media_type"),
        (b"\r\n--cut--", KIND, 400, "invalid_input"),
        (b"x" * 5000, KIND, 413, "too_large"),
        (b"--cut\r\n" + b"a" * 10_000, KIND, 413, "too_large"),
        (b"--cut\r\nContent-Type: application/dicom\r\n\r\nno end", KIND, 400, "upload_broken"),
    ],
)  # fmt: skip
async def test_requests_that_are_none(send: Sender, body: bytes, kind: str, status: int, code: str) -> None:
    found, answer = await send(body, kind)
    assert (found, answer["code"]) == (status, code)


async def test_each_instance_has_its_outcome(send: Sender) -> None:
    """Stored, contradicting, of another study, damaged, and not DICOM at all: in one request, each with its reason."""
    study = CtStudy(instances=4, rows=16, seed=24)
    good, first, damaged, twice = study.files()
    (other,) = files(25, 1)
    assert (await send(parts(first), path=f"/{study.study_uid}"))[0] == 200
    contradicting = first[:-2] + b"\1\2"
    body = parts(good, contradicting, other, damaged[:2000], b"nothing", twice, twice)
    status, answer = await send(body, path=f"/{study.study_uid}")
    assert status == 202
    stored = {one["00081155"]["Value"][0] for one in answer["00081199"]["Value"]}
    assert stored == {study.sop_uid(1), study.sop_uid(4)}
    reasons = {one["00081155"]["Value"][0]: one["00081197"]["Value"][0] for one in answer["00081198"]["Value"]}
    assert reasons == {
        study.sop_uid(2): 0x0111,  # PS3.7 C.5.7: duplicate SOP instance
        CtStudy(seed=25).sop_uid(1): 0xA900,
        study.sop_uid(3): 0xC000,
    }
    assert [one["00081197"]["Value"] for one in answer["0008119A"]["Value"]] == [[0xC000]]
    assert all(one["00081150"]["Value"] for one in answer["00081198"]["Value"])
    status, answer = await send(parts(other, b"nothing"), path=f"/{study.study_uid}")
    assert (status, "00081199" in answer) == (409, False)
    status, answer = await send(
        parts(good, kind=DICOM).replace(b"--cut--", b"--cut\r\nContent-Type: image/png\r\n\r\nx\r\n--cut--")
    )
    assert (status, len(answer["00081199"]["Value"]), len(answer["0008119A"]["Value"])) == (202, 1, 1)


async def test_nothing_is_coerced(send: Sender) -> None:
    """The issuer that the index stamps stands in answers to searches only: what is stored is what came."""
    (data,) = files(26, 1)
    status, answer = await send(parts(data))
    assert status == 200
    assert not {"00081196", "04000561"} & answer["00081199"]["Value"][0].keys()
    place = answer["00081199"]["Value"][0]["00081190"]["Value"][0].partition("/dicom-web")[2]
    _, file = await send.get(place, DICOM)
    assert dataset_of(file) == dataset_of(data)
    held = pydicom.dcmread(io.BytesIO(file))
    assert "IssuerOfPatientID" not in held
    assert "OriginalAttributesSequence" not in held
    _, found = await send.get("/studies?PatientID=CT-0001&includefield=00100021")
    assert b'"00100021":{"vr":"LO","Value":["LEVERET-' in found


async def test_a_large_instance_is_streamed(send: Sender, tmp_path: Path) -> None:
    """More than the node keeps of one instance: it never has it as a whole, and what breaks off leaves nothing."""
    study, dataset = await asyncio.to_thread(write_large, tmp_path, 27)
    file = await asyncio.to_thread((tmp_path / "00001.dcm").read_bytes)
    broken = parts(file)[: len(file) - 1000]
    status, answer = await send(in_pieces(broken, 1 << 20))
    assert (status, answer["code"]) == (400, "upload_broken")
    assert (await send.get(f"/studies/{study.study_uid}"))[0] == 404
    status, answer = await send(in_pieces(parts(file, *files(28)), 1 << 20))
    assert (status, len(answer["00081199"]["Value"])) == (200, 3)
    status, back = await send.get(
        f"/studies/{study.study_uid}/series/{study.series_uid}/instances/{study.sop_uid(1)}", DICOM
    )
    assert status == 200
    assert dataset_of(back) == dataset
    changed = file[:-2] + b"\1\2"
    status, answer = await send(changed, DICOM)
    assert (status, answer["00081198"]["Value"][0]["00081197"]["Value"]) == (409, [0x0111])


async def test_a_full_disk_is_said_and_reading_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "full"
    settings = await asyncio.to_thread(initialised, directory, "full")
    (kept,) = files(29, 1)
    async with running(directory, settings=settings) as node:
        token = await node.token("clinician")
        async with ClientSession(node.api, headers={"Authorization": f"Bearer {token}"}) as http:
            assert (await Sender(node, http)(parts(kept)))[0] == 200
    full = replace(settings, store=replace(settings.store, reserve=1 << 50))
    async with (
        running(directory, settings=full) as node,
        ClientSession(node.api, headers={"Authorization": f"Bearer {token}"}) as http,
    ):
        async with http.post("/dicom-web/studies", data=parts(*files(30)), headers={"Content-Type": KIND}) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (507, "disk_full")
            assert int(answer.headers["Retry-After"]) > 0
        assert (await Sender(node, http).get(f"/studies/{CtStudy(seed=29).study_uid}"))[0] == 200
