"""Frames, bulk data and pictures by dicomweb-client as scripts use it, and every way in which they can be refused."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import numpy as np
import pydicom
import pytest
import pytest_asyncio
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from support.viewer import PDF, STUDY, Viewer, dataset_of, viewing

pytestmark = pytest.mark.asyncio(loop_scope="module")

T = TypeVar("T")
EXPLICIT = "1.2.840.10008.1.2.1"
OCTETS = "application/octet-stream"
LARGE_FRAMES = 400


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def viewer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Viewer]:
    async with viewing(tmp_path_factory.mktemp("viewer") / "node") as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(viewer: Viewer) -> DICOMwebClient:
    session = requests.Session()
    session.headers["Authorization"] = viewer.http.headers["Authorization"]
    return DICOMwebClient(url=f"{viewer.node.api}/dicom-web", session=session)


async def in_thread(work: Callable[..., T], *args: Any, **options: Any) -> T:
    return await asyncio.to_thread(work, *args, **options)


def uids(viewer: Viewer, name: str) -> tuple[str, str, str]:
    held = viewer.held[name]
    return STUDY, str(held.SeriesInstanceUID), str(held.SOPInstanceUID)


@pytest.mark.parametrize(
    "name", ["emri_small.dcm", "emri_small_jpeg_2k_lossless.dcm", "emri_small_jpeg_ls_lossless.dcm"]
)
async def test_decoded_frames(viewer: Viewer, client: DICOMwebClient, name: str) -> None:
    """Octets of an image mean native ones, however it is stored; the three are one series in three syntaxes."""
    wanted = ((OCTETS, EXPLICIT),)
    frames = await in_thread(client.retrieve_instance_frames, *uids(viewer, name), [10, 1, 3], media_types=wanted)
    expected = pixel_array(viewer.held["emri_small.dcm"])
    assert frames == [expected[n].tobytes() for n in (9, 0, 2)]


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("emri_small_jpeg_2k_lossless.dcm", "image/jp2"),
        ("emri_small_jpeg_ls_lossless.dcm", "image/jls"),
        ("emri_small_RLE.dcm", "image/dicom-rle"),
        ("examples_ybr_color.dcm", "image/jpeg"),
    ],
)
async def test_stored_frames_by_their_media_type(
    viewer: Viewer, client: DICOMwebClient, name: str, media_type: str
) -> None:
    held = viewer.held[name]
    count = int(held.NumberOfFrames)
    numbers = [1, 2, count]
    stored = list(pydicom.encaps.generate_frames(held.PixelData, number_of_frames=count))
    frames = await in_thread(client.retrieve_instance_frames, *uids(viewer, name), numbers, media_types=(media_type,))
    assert frames == [stored[n - 1] for n in numbers]
    syntax = held.file_meta.TransferSyntaxUID
    wanted = ((media_type, syntax),)
    assert frames == await in_thread(client.retrieve_instance_frames, *uids(viewer, name), numbers, media_types=wanted)
    answer = await viewer.get(f"{viewer.path(name)}/frames/1,2")
    assert [part.type for part in answer.parts] == [f"{media_type}; transfer-syntax={syntax}"] * 2
    assert answer.parts[1].headers["Content-Location"].endswith("/frames/2")


@pytest.mark.parametrize(
    "name",
    ["MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"],
)
async def test_every_lossless_syntax_gives_the_same_pixels(viewer: Viewer, name: str) -> None:
    answer = await viewer.get(f"{viewer.path(name)}/frames/1", f"{OCTETS}; transfer-syntax={EXPLICIT}")
    assert (answer.status, answer.type) == (200, f"{OCTETS}; transfer-syntax={EXPLICIT}")
    expected = "MR_small.dcm"
    assert answer.body == viewer.held[expected].PixelData


async def test_one_bit_frames_begin_with_their_first_bit(viewer: Viewer) -> None:
    held = viewer.held["liver.dcm"]
    answer = await viewer.get(f"{viewer.path('liver.dcm')}/frames/1,2,3")
    for part, mask in zip(answer.parts, pixel_array(held), strict=True):
        bits = np.unpackbits(np.frombuffer(part.body, np.uint8), bitorder="little")
        assert np.array_equal(bits.reshape(mask.shape), mask)


async def test_rendered_by_dicomweb_client(viewer: Viewer, client: DICOMwebClient) -> None:
    for media_type in ("image/jpeg", "image/png"):
        picture = await in_thread(
            client.retrieve_instance_rendered, *uids(viewer, "CT_small.dcm"), media_types=(media_type,)
        )
        assert Image.open(io.BytesIO(picture)).size == (128, 128)
    picture = await in_thread(
        client.retrieve_instance_frames_rendered,
        *uids(viewer, "emri_small.dcm"),
        [2],
        media_types=("image/png",),
        params={"viewport": "32,32"},
    )
    assert Image.open(io.BytesIO(picture)).size == (32, 32)


async def test_bulk_data_by_dicomweb_client(viewer: Viewer, client: DICOMwebClient) -> None:
    for name in ("CT_small.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", "MR_small_bigendian.dcm"):
        held = viewer.held[name]
        metadata = await in_thread(client.retrieve_instance_metadata, *uids(viewer, name))
        (pixels,) = await in_thread(client.retrieve_bulkdata, metadata["7FE00010"]["BulkDataURI"])
        expected = np.frombuffer(held.PixelData, ">u2").astype("<u2").tobytes() if "big" in name else held.PixelData
        assert pixels == expected
    held = viewer.held["emri_small_RLE.dcm"]
    metadata = await in_thread(client.retrieve_instance_metadata, *uids(viewer, "emri_small_RLE.dcm"))
    uri = metadata["7FE00010"]["BulkDataURI"]
    frames = await in_thread(client.retrieve_bulkdata, uri, media_types=("image/dicom-rle",))
    assert frames == list(pydicom.encaps.generate_frames(held.PixelData, number_of_frames=10))


async def test_parts_of_bulk_data(viewer: Viewer) -> None:
    path = f"{viewer.path('CT_small.dcm')}/bulkdata/7FE00010"
    pixels = viewer.held["CT_small.dcm"].PixelData
    whole = await viewer.get(path, OCTETS)
    assert (whole.status, whole.body, whole.headers["Accept-Ranges"]) == (200, pixels, "bytes")
    for text, first, end in (("10-19", 10, 20), ("32000-", 32000, 32768), ("-8", 32760, 32768), ("0-99999", 0, 32768)):
        part = await viewer.get(path, OCTETS, Range=f"bytes={text}")
        assert (part.status, part.body) == (206, pixels[first:end])
        assert part.headers["Content-Range"] == f"bytes {first}-{end - 1}/32768"
    assert (await viewer.get(path, OCTETS, Range="bytes=32768-")).status == 416
    for nonsense in ("bytes=9-3", "bytes=0-1,4-5", "lines=1-2"):
        assert (await viewer.get(path, OCTETS, Range=nonsense)).body == pixels
    part = await viewer.get(f"{viewer.path('pdf')}/rendered", Range="bytes=0-4")
    assert (part.status, part.body) == (206, PDF[:5])


async def test_the_window_that_is_asked_for(viewer: Viewer) -> None:
    """The same values as PS3.3 section C.11.2.1.2 says."""
    held = viewer.held["CT_small.dcm"]
    values = pixel_array(held) * float(held.RescaleSlope) + float(held.RescaleIntercept)
    answer = await viewer.get(f"{viewer.path('CT_small.dcm')}/rendered?window=40,400,linear", "image/png")
    shown = np.asarray(Image.open(io.BytesIO(answer.body))).astype(int)
    expected = np.clip((values - 39.5) / 399 + 0.5, 0, 1) * 255
    assert np.abs(shown - expected).max() <= 0.5
    other = await viewer.get(f"{viewer.path('CT_small.dcm')}/rendered?window=40,400,sigmoid", "image/png")
    expected = 255 / (1 + np.exp(-4 * (values - 40) / 400))
    assert np.abs(np.asarray(Image.open(io.BytesIO(other.body))) - expected).max() <= 0.5
    small = await viewer.get(f"{viewer.path('CT_small.dcm')}/rendered?quality=5")
    assert len(small.body) < len((await viewer.get(f"{viewer.path('CT_small.dcm')}/rendered?quality=95")).body)


async def test_the_viewport_that_is_asked_for(viewer: Viewer) -> None:
    path = f"{viewer.path('examples_palette.dcm')}/rendered"
    held = viewer.held["examples_palette.dcm"]
    full = np.asarray(Image.open(io.BytesIO((await viewer.get(path, "image/png")).body)))
    assert full.shape[:2] == (held.Rows, held.Columns)
    part = await viewer.get(f"{path}?viewport=50,40,100,60,50,40", "image/png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(part.body))), full[60:100, 100:150])
    mirrored = await viewer.get(f"{path}?viewport=50,40,100,60,-50,40", "image/png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(mirrored.body))), full[60:100, 100:150][:, ::-1])
    fitted = await viewer.get(f"{path}?viewport=100,100", "image/png")
    assert max(Image.open(io.BytesIO(fitted.body)).size) == 100


async def test_a_report_for_people(viewer: Viewer) -> None:
    page = await viewer.get(f"{viewer.path('test-SR.dcm')}/rendered", "text/html,*/*;q=0.8")
    assert (page.status, page.type) == (200, "text/html; charset=utf-8")
    assert "sandbox" in page.headers["Content-Security-Policy"]
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert b"Brain Bella" in page.body
    text = await viewer.get(f"{viewer.path('reportsi.dcm')}/rendered", "text/plain")
    assert (text.status, text.type) == (200, "text/plain; charset=utf-8")
    assert b"Brain Bella" in text.body
    assert b"<" not in text.body
    tile = await viewer.get(f"{viewer.path('test-SR.dcm')}/thumbnail")
    assert (tile.type, Image.open(io.BytesIO(tile.body)).size) == ("image/jpeg", (128, 128))


async def test_pictures_of_many(viewer: Viewer) -> None:
    """A study comes in parts, those that are no pictures left out; one picture of it is its thumbnail."""
    several = 'multipart/related; type="image/jpeg"'
    answer = await viewer.get(f"{viewer.path('emri_small.dcm')}/rendered", several)
    assert len(answer.parts) == 10
    answer = await viewer.get(f"{viewer.path('emri_small.dcm')}/frames/3,4/rendered", several)
    assert [part.headers["Content-Location"][-18:] for part in answer.parts] == [
        "/frames/3/rendered",
        "/frames/4/rendered",
    ]
    series = viewer.path("emri_small.dcm").partition("/instances")[0]
    assert (await viewer.get(f"{series}/rendered", "image/jpeg")).type == "image/jpeg"
    assert (await viewer.get(f"/studies/{STUDY}/rendered", "image/jpeg")).status == 406
    answer = await viewer.get(f"/studies/{STUDY}/rendered?viewport=64,64", several)
    frames = sum(int(h.get("NumberOfFrames", 1) or 1) for h in viewer.held.values() if "PixelData" in h)
    assert len(answer.parts) == frames
    for path in (
        f"/studies/{STUDY}",
        series,
        viewer.path("emri_small.dcm"),
        f"{viewer.path('emri_small.dcm')}/frames/2",
    ):
        thumbnail = await viewer.get(f"{path}/thumbnail", "image/png, image/jpeg;q=0.5")
        assert (thumbnail.status, thumbnail.type) == (200, "image/png")


@pytest.mark.parametrize(
    ("name", "path", "accept", "status"),
    [
        ("CT_small.dcm", "/frames/2", "*/*", 404),
        ("emri_small.dcm", "/frames/1,11", "*/*", 404),
        ("emri_small.dcm", "/frames/0", "*/*", 400),
        ("emri_small.dcm", "/frames/1,x", "*/*", 400),
        ("emri_small.dcm", "/frames/1,", "*/*", 400),
        ("emri_small.dcm", "/frames/1,2", OCTETS, 406),
        ("emri_small.dcm", "/frames/1", 'multipart/related; type="image/jpeg"', 406),
        (
            "emri_small.dcm",
            "/frames/1",
            f'multipart/related; type="{OCTETS}"; transfer-syntax=1.2.840.10008.1.2.4.50',
            406,
        ),
        ("emri_small_RLE.dcm", "/frames/1", 'multipart/related; type="image/jp2"', 406),
        ("test-SR.dcm", "/frames/1", "*/*", 404),
        ("test-SR.dcm", "/rendered", "image/jpeg", 406),
        ("waveform_ecg.dcm", "/rendered", "*/*", 406),
        ("pdf", "/rendered", "image/jpeg", 406),
        ("pdf", "/frames/1/rendered", "*/*", 406),
        ("CT_small.dcm", "/rendered", "image/gif", 406),
        ("CT_small.dcm", "/rendered", "video/mp4", 406),
        ("CT_small.dcm", "/rendered?accept=image/gif", "*/*", 406),
        ("CT_small.dcm", "/frames/7/rendered", "*/*", 404),
        ("CT_small.dcm", "/rendered?window=40", "*/*", 400),
        ("CT_small.dcm", "/rendered?window=40,0.5,linear", "*/*", 400),
        ("CT_small.dcm", "/rendered?window=nan,1", "*/*", 400),
        ("CT_small.dcm", "/rendered?window=40,400,cubic", "*/*", 400),
        ("CT_small.dcm", "/rendered?viewport=10", "*/*", 400),
        ("CT_small.dcm", "/rendered?viewport=99999,10", "*/*", 400),
        ("CT_small.dcm", "/rendered?viewport=10,10,500,500,5,5", "*/*", 406),
        ("CT_small.dcm", "/rendered?quality=0", "*/*", 400),
        ("CT_small.dcm", "/bulkdata/00100010/0", "*/*", 404),
        ("CT_small.dcm", "/bulkdata/77770010", "*/*", 404),
        ("CT_small.dcm", "/bulkdata/7FE00010", "image/jpeg", 406),
        ("emri_small.dcm", "/frames/1,2/thumbnail", "*/*", 406),
    ],
)
async def test_what_is_refused(viewer: Viewer, name: str, path: str, accept: str, status: int) -> None:
    answer = await viewer.get(f"{viewer.path(name)}{path}", accept)
    assert answer.status == status, answer.body[:200]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert STUDY.encode() not in answer.body


async def test_only_who_may_see_images_sees_them_and_it_is_on_record(viewer: Viewer) -> None:
    paths = [f"{viewer.path('CT_small.dcm')}/{what}" for what in ("frames/1", "rendered", "thumbnail")]
    for role in ("operator", "auditor"):
        bearer = f"Bearer {await viewer.node.token(role, f'pixels-{role}')}"
        for path in paths:
            assert (await viewer.get(path, Authorization=bearer)).status == 403
    for path in paths:
        assert (await viewer.get(path, Authorization="")).status == 401
        assert (await viewer.get(path)).status == 200
    events = (await viewer.node.done("GET", "/audit?types=study_read"))["events"]
    assert {"frames", "rendered", "thumbnail"} <= {event["detail"]["what"] for event in events}
    assert STUDY not in viewer.node.logged.getvalue()


async def test_damaged_codestreams_cost_nothing_but_themselves(viewer: Viewer) -> None:
    """A worker may refuse them or die of them; the next picture is there all the same."""
    held = dataset_of("MR_small_jp2klossless.dcm")
    (frame,) = pydicom.encaps.generate_frames(held.PixelData, number_of_frames=1)
    size = frame.index(b"\xff\x51") + 6
    huge = frame[:size] + b"\x00\x01\x00\x00\x00\x01\x00\x00" + frame[size + 8 :]  # 65536 x 65536
    for number, damaged in enumerate((b"\xff\x4f", frame[:200], huge, bytes(len(frame)))):
        held.PixelData = encapsulate([damaged + b"\0" * (len(damaged) % 2)])
        held.file_meta.TransferSyntaxUID = JPEG2000Lossless
        await viewer.keep(f"damaged {number}", held)
        answer = await viewer.get(f"{viewer.path(f'damaged {number}')}/rendered")
        assert answer.status in {400, 406, 413}, answer.body
        answer = await viewer.get(f"{viewer.path(f'damaged {number}')}/frames/1")
        assert answer.body.count(damaged) >= 1, "as stored it can be had"
        viewer.held.pop(f"damaged {number}")
    assert (await viewer.get(f"{viewer.path('CT_small.dcm')}/rendered")).status == 200


@pytest.mark.parametrize("table", ["native", "basic", "none"])
async def test_a_frame_of_a_large_object_costs_its_chunks(viewer: Viewer, table: str) -> None:
    """200 MB in 400 frames of 512 x 512: no more than some milliseconds for any of them, once it has been opened."""
    held = dataset_of("CT_small.dcm")
    held.Rows = held.Columns = 512
    held.NumberOfFrames = LARGE_FRAMES
    rng = np.random.default_rng(7)
    frames = [b"\xff\x4f" + rng.bytes(512 * 512 * 2 - 4) + b"\xff\xd9" for _ in range(LARGE_FRAMES)]
    if table == "native":
        held.PixelData = b"".join(frames)
        held.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    else:
        held.PixelData = encapsulate(frames, has_bot=table == "basic")
        held.file_meta.TransferSyntaxUID = JPEG2000Lossless
    await viewer.keep(table, held)
    path = viewer.path(table)
    viewer.held.pop(table)
    times = []
    for number in (1, 2, 200, LARGE_FRAMES, 17):
        started = time.monotonic()
        answer = await viewer.get(
            f"{path}/frames/{number}", "multipart/related; type=application/octet-stream; transfer-syntax=*"
        )
        times.append(time.monotonic() - started)
        assert answer.parts[0].body == frames[number - 1]
    print(f"{table}: first {times[0] * 1000:.0f} ms, later {[round(t * 1000) for t in times[1:]]} ms")
    assert min(times[1:]) < 0.1
