"""What people are shown of objects that are no plain images: overlays, videos, documents, reports that mean harm."""

import io
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, EncapsulatedCDAStorage
from support.running import running
from support.viewer import Viewer, dataset_of, pdf

pytestmark = pytest.mark.asyncio(loop_scope="module")
HARM = "<script>alert(1)</script>^<img src=x onerror=alert(2)>"
MOVIE = b"\0\0\0\x18ftypisom" + bytes(range(256)) * 40
CDA = b'<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"><title>Thorax</title></ClinicalDocument>'


def video(syntax: str) -> Dataset:
    held = dataset_of("examples_ybr_color.dcm")
    held.NumberOfFrames = 30  # in one stream
    held.PixelData = encapsulate([MOVIE])
    held.file_meta.TransferSyntaxUID = UID(syntax)
    return held


def cda() -> Dataset:
    document = pdf()
    document.file_meta.MediaStorageSOPClassUID = document.SOPClassUID = EncapsulatedCDAStorage
    document.MIMETypeOfEncapsulatedDocument = "text/XML"
    document.EncapsulatedDocument, document.EncapsulatedDocumentLength = CDA + b"\0" * (len(CDA) % 2), len(CDA)
    return document


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def viewer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Viewer]:
    async with running(tmp_path_factory.mktemp("kinds") / "node") as node:
        headers = {"Authorization": f"Bearer {await node.token('clinician')}"}
        async with ClientSession(headers=headers) as http:
            one = Viewer(node, http)
            await one.keep("overlay", dataset_of("examples_overlay.dcm"))
            await one.keep("mp4", video("1.2.840.10008.1.2.4.102"))
            await one.keep("mpeg2", video("1.2.840.10008.1.2.4.100"))
            await one.keep("cda", cda())
            report = dataset_of("test-SR.dcm")
            report.StudyDescription = HARM
            report.ContentSequence[0].TextValue = HARM
            report.ContentSequence[0].ValueType = "TEXT"
            await one.keep("report", report)
            yield one


async def test_overlays_are_drawn(viewer: Viewer) -> None:
    held = viewer.held["overlay"]
    answer = await viewer.get(f"{viewer.path('overlay')}/rendered", "image/png")
    shown = np.asarray(Image.open(io.BytesIO(answer.body)))
    under = held.overlay_array(0x6000).astype(bool)
    assert under.any()
    assert (shown[under] == 255).all()
    assert (shown[~under] < 255).any()


@pytest.mark.parametrize(("name", "kind"), [("mp4", "video/mp4"), ("mpeg2", "video/mpeg2")])
async def test_a_video_is_its_stream(viewer: Viewer, name: str, kind: str) -> None:
    path = viewer.path(name)
    for accept in ("*/*", kind, "video/*"):
        answer = await viewer.get(f"{path}/rendered", accept)
        assert (answer.status, answer.type, answer.body) == (200, kind, MOVIE)
    answer = await viewer.get(f"{path}/bulkdata/7FE00010", f'multipart/related; type="{kind}"')
    assert [part.body for part in answer.parts] == [MOVIE]
    answer = await viewer.get(f"{path}/bulkdata/7FE00010", "application/octet-stream; transfer-syntax=*")
    assert (answer.body, answer.transfer_syntax[:22]) == (MOVIE, "1.2.840.10008.1.2.4.10")
    assert (await viewer.get(f"{path}/rendered", "image/jpeg")).status == 406
    assert (await viewer.get(f"{path}/thumbnail", "image/jpeg")).status == 406
    assert (await viewer.get(f"{path}/frames/1")).status == 406


async def test_a_clinical_document(viewer: Viewer) -> None:
    answer = await viewer.get(f"{viewer.path('cda')}/rendered", "text/xml,*/*;q=0.1")
    assert (answer.status, answer.type, answer.body) == (200, "text/xml", CDA)
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert (await viewer.get(f"{viewer.path('cda')}/rendered", "application/pdf")).status == 406


async def test_a_report_cannot_do_harm(viewer: Viewer) -> None:
    page = await viewer.get(f"{viewer.path('report')}/rendered", "text/html")
    assert b"&lt;script&gt;alert(1)" in page.body
    assert b"<script" not in page.body
    assert b"<img" not in page.body
    assert "sandbox" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    text = await viewer.get(f"{viewer.path('report')}/rendered", "text/plain")
    assert (text.type, b"alert(1)" in text.body) == ("text/plain; charset=utf-8", True)
