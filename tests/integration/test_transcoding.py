"""WADO-RS instances in another transfer syntax than the stored one (PS3.18 section 8.7.3), checked with pydicom."""

import io
from collections.abc import AsyncIterator

import numpy as np
import pydicom
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian
from support.running import running
from support.viewer import Answer, Viewer, dataset_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
EXPLICIT = "1.2.840.10008.1.2.1"
RELATED = 'multipart/related; type="application/dicom"'
LOSSLESS = (
    "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm", "emri_small_RLE.dcm",
    "SC_rgb_rle_16bit_2frame.dcm", "test-SR.dcm", "rtdose_expb.dcm",
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def viewer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Viewer]:
    async with running(tmp_path_factory.mktemp("transcoding") / "node") as node:
        token = await node.token("clinician")
        async with ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
            one = Viewer(node, http)
            for name in LOSSLESS:
                await one.keep(name, dataset_of(name))
            unknown = dataset_of("MR_small.dcm")
            unknown.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.106")  # a video: nothing here decodes it
            unknown.PixelData = pydicom.encaps.encapsulate([b"\0" * 100])
            await one.keep("video", unknown)
            yield one


def read(body: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(body))


def syntax_of(answer: Answer) -> str:
    return str(read(answer.body).file_meta.TransferSyntaxUID)


@pytest.mark.parametrize("name", LOSSLESS)
async def test_explicit_little_endian_of_everything_that_can_be_decoded(viewer: Viewer, name: str) -> None:
    held = viewer.held[name]
    answer = await viewer.get(viewer.path(name), f"application/dicom; transfer-syntax={EXPLICIT}")
    assert (answer.status, answer.type) == (200, "application/dicom"), answer.body[:300]
    made = read(answer.body)
    assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert made.file_meta.MediaStorageSOPInstanceUID == held.SOPInstanceUID
    assert "LossyImageCompression" not in made or made.LossyImageCompression == held.get("LossyImageCompression")
    assert (made.PatientName, made.SOPInstanceUID, len(made)) == (held.PatientName, held.SOPInstanceUID, len(held))
    if "PixelData" in held:
        encoded = "MR_small.dcm" if "jpeg_ls" in name else name  # pydicom has no decoder for it here
        assert np.array_equal(pixel_array(made), pixel_array(viewer.held[encoded]))


@pytest.mark.parametrize(
    ("accept", "syntax"),
    [
        (f"application/dicom; transfer-syntax={EXPLICIT}, application/dicom; transfer-syntax=*; q=0.5", EXPLICIT),
        (f"application/dicom; transfer-syntax={EXPLICIT}; q=0.5, application/dicom; transfer-syntax=*", "stored"),
        (f"application/dicom; transfer-syntax={EXPLICIT}; q=0, application/dicom; transfer-syntax=*; q=0.1", "stored"),
        (f"application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50, application/dicom;transfer-syntax={EXPLICIT}",
         EXPLICIT),
        ("application/dicom", "stored"),
    ],
)  # fmt: skip
async def test_the_best_that_is_accepted(viewer: Viewer, accept: str, syntax: str) -> None:
    answer = await viewer.get(viewer.path("MR_small_RLE.dcm"), accept)
    stored = str(viewer.held["MR_small_RLE.dcm"].file_meta.TransferSyntaxUID)
    assert syntax_of(answer) == (stored if syntax == "stored" else syntax)


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("MR_small.dcm", "1.2.840.10008.1.2.4.90"),
        ("MR_small.dcm", "1.2.840.10008.1.2"),
        ("video", EXPLICIT),
        ("MR_small_RLE.dcm", "1.2.840.10008.1.2.4.50"),
    ],
)
async def test_what_cannot_be_made(viewer: Viewer, name: str, syntax: str) -> None:
    for accept in (f"application/dicom; transfer-syntax={syntax}", f"{RELATED}; transfer-syntax={syntax}"):
        answer = await viewer.get(viewer.path(name), accept)
        assert answer.status == 406
        assert b"not_acceptable" in answer.body


async def test_a_study_without_what_cannot_be_made_is_partial(viewer: Viewer) -> None:
    study = viewer.path("video").partition("/series")[0]
    answer = await viewer.get(study, f"{RELATED}; transfer-syntax={EXPLICIT}")
    assert answer.status == 206
    assert len(answer.parts) == len(LOSSLESS)
    assert {part.transfer_syntax for part in answer.parts} == {EXPLICIT}
    whole = await viewer.get(study, f"{RELATED}; transfer-syntax=*")
    assert (whole.status, len(whole.parts)) == (200, len(LOSSLESS) + 1)
    assert int(whole.headers["Content-Length"]) == len(whole.body)
    either = await viewer.get(
        study, f"application/dicom, {RELATED}; transfer-syntax={EXPLICIT}, {RELATED};transfer-syntax=*;q=0.1"
    )
    assert (either.status, len(either.parts)) == (200, len(LOSSLESS) + 1)


async def test_damaged_pixels_are_refused_before_anything_is_answered(viewer: Viewer) -> None:
    held = dataset_of("MR_small_jp2klossless.dcm")
    held.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f" + bytes(500)])
    await viewer.keep("damaged", held)
    path = viewer.path("damaged")
    viewer.held.pop("damaged")
    answer = await viewer.get(path, f"application/dicom; transfer-syntax={EXPLICIT}")
    assert answer.status == 406
    assert (await viewer.get(path, "application/dicom; transfer-syntax=*")).status == 200
    series = path.partition("/instances")[0]
    assert (await viewer.get(f"{series}/metadata")).status == 200
