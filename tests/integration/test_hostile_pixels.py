"""Damaged images through the decoders: each is shown, or refused with a reason, and the pool goes on."""

import random
from collections import Counter

import pytest
from support.zoo import zoo

from node.dicom.frames import FrameIndex
from node.dicom.part10 import read_part10
from node.dicom.pixels import Picture
from node.dicom.pool import ParserPool
from node.errors.dicom import DicomRefused
from node.model.ids import TransferSyntaxUID

FILES = (
    "JPEG-LL.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_jpeg_ls_lossless.dcm",
    "JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm", "JPEG2000.dcm", "MR_small_jp2klossless.dcm",
    "MR_small_RLE.dcm", "OBXXXX1A_rle_2frame.dcm", "emri_small_jpeg_ls_lossless.dcm", "test-SR.dcm", "mlut_18.dcm",
    "image_dfl.dcm",
)  # fmt: skip
SUITE, SOAK = 400, 20_000


class Memory:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    async def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, lost or too many, more often near the end, where pixels are."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 5, 40))):
        low = 0 if rng.random() < 0.5 else max(0, len(out) - 4000)
        at = rng.randrange(low, len(out))
        match rng.randrange(5):
            case 0 | 1:
                out[at] = rng.randrange(256)
            case 2:
                out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4)))
            case 3:
                del out[at : at + rng.randrange(1, 50)]
            case _:
                out[at:at] = rng.randbytes(rng.randrange(1, 9))
    return bytes(out)


async def show(pool: ParserPool, data: bytes, syntax: TransferSyntaxUID) -> str:
    source = Memory(data)
    try:
        layout = await pool.layout(source, syntax)
        if layout.pixels is None:
            await pool.render(source, syntax, Picture(form="text/html"))
            return "report"
        place = await FrameIndex(layout).place(source, 1)  # type: ignore[arg-type]  # nothing is streamed here
        picture = Picture(spans=place.spans, skip_bits=place.skip_bits)
        await pool.render(source, syntax, picture)
        await pool.frame(source, syntax, picture)
    except DicomRefused as refusal:
        return refusal.code
    return "shown"


async def throw(count: int) -> Counter[str]:
    rng = random.Random(count)
    files = [path.read_bytes() for path in zoo() if path.name in FILES]
    parts = [(data, read_part10(data)) for data in files]
    seen: Counter[str] = Counter()
    async with ParserPool(2) as pool:
        for _ in range(count):
            data, part = rng.choice(parts)
            seen[await show(pool, mutated(data[part.dataset_offset :], rng), part.transfer_syntax)] += 1
        for data, part in parts:
            assert await show(pool, data[part.dataset_offset :], part.transfer_syntax) in {"shown", "report"}
    return seen


async def test_damaged_images() -> None:
    seen = await throw(SUITE)
    assert seen.total() == SUITE
    assert seen["shown"] > SUITE // 20
    assert seen["not_decodable"] > 0


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_damaged_images_for_long() -> None:
    assert (await throw(SOAK)).total() == SOAK
