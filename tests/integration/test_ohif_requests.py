"""Every request that OHIF 3.13 makes, replayed with its own headers against a node that holds many syntaxes."""

import io
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pydicom
import pytest
import pytest_asyncio
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from support.ct import CtStudy
from support.viewer import IMAGES, OHIF_FRAMES, PATIENT, PDF, STUDY, Viewer, viewing

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIST = "limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
EXPLICIT = "1.2.840.10008.1.2.1"
OHIF_ATTRIBUTES = ("00080005", "00080020", "00080061", "00100010", "00100020", "0020000D", "00201206", "00201208")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def viewer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Viewer]:
    async with viewing(tmp_path_factory.mktemp("viewer") / "node") as one:
        other = next(CtStudy(instances=1, rows=16, patient_name="Other^Olaf").files())
        assert await one.store(other) == 200
        yield one


def studies_of(answer: list[dict[str, Any]]) -> set[str]:
    return {study["0020000D"]["Value"][0] for study in answer}


async def test_the_study_list(viewer: Viewer) -> None:
    answer = await viewer.json(f"/studies?{LIST}")
    assert studies_of(answer) == {STUDY, CtStudy().study_uid}
    for study in answer:
        assert study["00080061"]["Value"], "the list would be empty without modalities"
        assert all(tag in study for tag in OHIF_ATTRIBUTES)
        assert study["00080005"]["Value"] == ["ISO_IR 192"]


@pytest.mark.parametrize(
    "term",
    [
        "PatientName=*Brain*",
        "00100020=*0042*",
        "ModalitiesInStudy=SR",
        f"StudyInstanceUID={STUDY}",
        f"00100020={PATIENT}",
    ],
)
async def test_the_study_list_filtered(viewer: Viewer, term: str) -> None:
    assert studies_of(await viewer.json(f"/studies?{term}&{LIST}")) == {STUDY}


@pytest.mark.parametrize(
    "term", ["AccessionNumber=*nothing*", "StudyDescription=*nothing*", "StudyDate=19000101-19000102"]
)
async def test_a_filter_that_fits_nothing_gives_an_empty_list(viewer: Viewer, term: str) -> None:
    assert await viewer.json(f"/studies?{term}&{LIST}") == []


@pytest.mark.parametrize("separator", ["\\", ","])
async def test_several_uids_at_once(viewer: Viewer, separator: str) -> None:
    uids = quote(f"{STUDY}{separator}{CtStudy().study_uid}")
    assert len(await viewer.json(f"/studies?{LIST}&StudyInstanceUID={uids}")) == 2


async def test_the_list_comes_in_pages(viewer: Viewer) -> None:
    first = await viewer.get("/studies?limit=1&offset=0", "application/dicom+json")
    assert first.headers["Warning"].startswith("299 ")
    pages = [await viewer.json(f"/studies?limit=1&offset={n}") for n in range(3)]
    assert [len(page) for page in pages] == [1, 1, 0]
    assert studies_of(pages[0]) | studies_of(pages[1]) == {STUDY, CtStudy().study_uid}


async def test_the_series_of_a_study(viewer: Viewer) -> None:
    fields = "includefield=00080021%2C00080031%2C0008103E%2C00200011"
    answer = await viewer.json(f"/studies/{STUDY}/series?{fields}")
    assert len(answer) == len(viewer.held)
    for series in answer:
        assert series["00080060"]["Value"]
        assert all(tag in series for tag in ("00080021", "00080031", "0008103E", "00200011", "0020000E", "00201209"))


@pytest.mark.parametrize("name", IMAGES)
async def test_metadata_of_a_series(viewer: Viewer, name: str) -> None:
    held = viewer.held[name]
    (answer,) = await viewer.json(f"/studies/{STUDY}/series/{held.SeriesInstanceUID}/metadata")
    assert answer["00080018"]["Value"] == [held.SOPInstanceUID]
    assert answer["00280010"]["Value"] == [held.Rows]
    assert answer["7FE00010"]["BulkDataURI"].endswith(f"{held.SOPInstanceUID}/bulkdata/7FE00010")
    assert all(width > 0 for width in answer.get("00281051", {}).get("Value", []))


def frame_as_stored(held: pydicom.Dataset, number: int) -> bytes:
    """By pydicom: the fragment, or the native frame in little endian."""
    frames = int(held.get("NumberOfFrames", 1) or 1)
    syntax = held.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        return list(generate_frames(held.PixelData, number_of_frames=frames))[number - 1]
    bits = held.Rows * held.Columns * held.SamplesPerPixel * held.BitsAllocated
    length = -(-(bits // 3 * 2 if held.PhotometricInterpretation == "YBR_FULL_422" else bits) // 8)
    raw = held.PixelData[(number - 1) * length : number * length]
    if syntax.is_little_endian:
        return bytes(raw)
    word = 2 if held.BitsAllocated == 8 and held["PixelData"].VR == "OW" else held.BitsAllocated // 8
    return np.frombuffer(raw, f">u{word}").astype(f"<u{word}").tobytes()


@pytest.mark.parametrize("name", IMAGES)
async def test_a_frame_as_it_is_stored(viewer: Viewer, name: str) -> None:
    held = viewer.held[name]
    frames = int(held.get("NumberOfFrames", 1) or 1)
    for number in sorted({1, frames}):
        answer = await viewer.get(f"{viewer.path(name)}/frames/{number}", OHIF_FRAMES)
        assert (answer.status, answer.type.split(";")[0]) == (200, "multipart/related")
        (part,) = answer.parts
        is_encapsulated = held.file_meta.TransferSyntaxUID.is_encapsulated
        assert part.transfer_syntax == (held.file_meta.TransferSyntaxUID if is_encapsulated else EXPLICIT)
        assert part.type.startswith("application/octet-stream;")
        assert part.body == frame_as_stored(held, number)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("what", ["thumbnail", "rendered"])
async def test_thumbnails(viewer: Viewer, name: str, what: str) -> None:
    held = viewer.held[name]
    answer = await viewer.get(f"{viewer.path(name)}/{what}?accept=image%2Fjpeg", "*/*")
    assert (answer.status, answer.type) == (200, "image/jpeg"), answer.body
    picture = Image.open(io.BytesIO(answer.body))
    picture.load()
    if what == "thumbnail":
        assert max(picture.size) == 128
    elif held.get("PixelSpacing", [1, 1])[0] == held.get("PixelSpacing", [1, 1])[1] and "PixelAspectRatio" not in held:
        assert picture.size == (held.Columns, held.Rows)
    assert picture.mode == ("L" if held.PhotometricInterpretation.startswith("MONOCHROME") else "RGB")


@pytest.mark.parametrize("name", [n for n in IMAGES if n.startswith(("SC_", "examples_")) and "jls" not in n])
async def test_colours_are_those_that_pydicom_finds(viewer: Viewer, name: str) -> None:
    if name == "SC_rgb_jpeg_gdcm.dcm":
        expected = np.asarray(pixel_array(viewer.held["SC_rgb_2frame.dcm"], index=0))  # the same picture, uncompressed
    elif name == "examples_palette.dcm":
        expected = apply_color_lut(pixel_array(viewer.held[name]), viewer.held[name]) >> 8
    else:
        expected = np.asarray(pixel_array(viewer.held[name], index=0))
    if expected.dtype.itemsize == 2 and name != "examples_palette.dcm":
        expected = expected >> 8
    answer = await viewer.get(f"{viewer.path(name)}/frames/1/rendered", "image/png")
    shown = np.asarray(Image.open(io.BytesIO(answer.body)))
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).max() <= 1


async def test_a_segmentation_is_read_whole(viewer: Viewer) -> None:
    answer = await viewer.get(viewer.path("liver.dcm"), 'multipart/related; type="application/dicom"')
    (part,) = answer.parts
    assert pydicom.dcmread(io.BytesIO(part.body)).PixelData == viewer.held["liver.dcm"].PixelData


async def test_the_samples_of_an_ecg(viewer: Viewer) -> None:
    held = viewer.held["waveform_ecg.dcm"]
    (answer,) = await viewer.json(f"/studies/{STUDY}/series/{held.SeriesInstanceUID}/metadata")
    for shown, kept in zip(answer["54000100"]["Value"], held.WaveformSequence, strict=True):
        samples = await viewer.get(shown["54001010"]["BulkDataURI"], "application/octet-stream")
        assert (samples.status, samples.type) == (200, "application/octet-stream")
        assert samples.body == kept.WaveformData


async def test_a_pdf_opens_inside_of_the_viewer(viewer: Viewer) -> None:
    answer = await viewer.get(f"{viewer.path('pdf')}/rendered", BROWSER)
    assert (answer.status, answer.type, answer.body) == (200, "application/pdf", PDF)
    assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


async def test_an_upload(viewer: Viewer) -> None:
    study = CtStudy(instances=1, rows=16, seed=77)
    assert await viewer.store(next(study.files())) == 200
    (found,) = await viewer.json(f"/studies?{LIST}&StudyInstanceUID={study.study_uid}")
    assert found["00201208"]["Value"] == [1]
