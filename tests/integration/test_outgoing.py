"""What leaves of an instance for a PACS that does not take it as it is: every file there is, read back by pydicom."""

import subprocess
import warnings
import zlib
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from support.datasets import EXPLICIT, IMPLICIT, file_of
from support.zoo import datasets, zoo

from node.dicom.outgoing import Copies, Outgoing
from node.dicom.part10 import split_part10
from node.dicom.pool import ParserPool
from node.dicom.reconcile import Identity
from node.errors.dicom import DicomRefused, NotConvertible
from node.model.delivery import Converted
from node.model.ids import TransferSyntaxUID
from node.model.instance import InstanceHeader

LOCAL = Identity("LOCAL-77", "HERE", "Łęcka^Żaneta", "19610203", "F", "A1", "P", "I", "Peer", "LEVERET", "20260101")
UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
LOSSY = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81, 91, 203)}


class Held:
    """A stored data set."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    async def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    async def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        for at in range(start, end, 1000):  # odd to every word and frame
            yield self.data[at : min(at + 1000, end)]


@pytest.fixture(scope="module")
def loaded() -> list[tuple[Path, bytes, TransferSyntaxUID]]:
    return datasets()


@pytest.fixture
async def pool() -> AsyncIterator[ParserPool]:
    async with ParserPool(2) as made:
        yield made


async def bytes_of(outgoing: Outgoing) -> bytes:
    data = b"".join([bytes(piece) async for piece in outgoing.chunks()])
    assert len(data) == outgoing.size
    return data


def parsed(dataset: bytes, syntax: TransferSyntaxUID) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(file_of(dataset, syntax)), force=True)


async def header_of(pool: ParserPool, dataset: bytes, syntax: TransferSyntaxUID) -> InstanceHeader | None:
    try:
        return await pool.parse_header(dataset, syntax)
    except DicomRefused:
        return None


@pytest.mark.filterwarnings("ignore")
async def test_uncompressed_files_change_their_encoding_and_nothing_else(
    pool: ParserPool, loaded: list[tuple[Path, bytes, TransferSyntaxUID]]
) -> None:
    copies, seen = Copies(pool, pool), set()
    for path, dataset, syntax in loaded:
        header = await header_of(pool, dataset, syntax)
        if header is None or syntax not in UNCOMPRESSED or len(dataset) > 400_000:
            continue
        for target in (EXPLICIT, IMPLICIT):
            outgoing = await copies.prepare(Held(dataset), header, target, LOCAL if target == EXPLICIT else None)
            assert outgoing.converted in {Converted.LOSSLESS, Converted.NOTHING}
            before, after = pydicom.dcmread(path), parsed(await bytes_of(outgoing), target)
            if "PixelData" in before and "Rows" in before:
                try:
                    pixels = before.pixel_array
                except Exception:  # noqa: BLE001 - a file that pydicom cannot show either
                    continue
                assert np.array_equal(pixels, after.pixel_array), path
            assert after.SOPInstanceUID == before.SOPInstanceUID
            expected = "LOCAL-77" if target == EXPLICIT else before.get("PatientID")
            assert after.get("PatientID") == expected, path
        seen.add(str(syntax))
    assert seen == UNCOMPRESSED


def reference_of(path: Path, syntax: str, before: Dataset, folder: Path) -> Dataset | None:
    """The same file, decoded by dcmtk where pydicom has no decoder of its own; None if neither can."""
    kind = syntax.rpartition(".")[2]
    tool = {"57": "dcmdjpeg", "70": "dcmdjpeg", "51": "dcmdjpeg", "80": "dcmdjpls", "81": "dcmdjpls"}.get(kind)
    if tool is None:
        try:
            assert before.pixel_array is not None
        except Exception:  # noqa: BLE001 - in whatever way it fails
            return None
        return before
    out = folder / "decoded.dcm"
    options = ["--conv-never"] if kind in {"57", "70"} else []
    if subprocess.run([tool, *options, str(path), str(out)], capture_output=True, check=False).returncode:
        return None
    return pydicom.dcmread(out)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
async def test_compressed_files_are_decoded_to_what_was_encoded(
    pool: ParserPool, loaded: list[tuple[Path, bytes, TransferSyntaxUID]], tmp_path: Path
) -> None:
    copies, seen, refused = Copies(pool, pool), set(), set()
    for path, dataset, syntax in loaded:
        header = await header_of(pool, dataset, syntax)
        if header is None or syntax in UNCOMPRESSED or len(dataset) > 250_000:
            continue
        try:
            outgoing = await copies.prepare(Held(dataset), header, EXPLICIT, LOCAL)
        except DicomRefused:
            refused.add(path.name)
            continue
        after, before = parsed(await bytes_of(outgoing), EXPLICIT), pydicom.dcmread(path)
        assert (outgoing.converted is Converted.LOSSLESS) == (syntax not in LOSSY), path
        assert after.PatientID == "LOCAL-77"
        reference = reference_of(path, str(syntax), before, tmp_path)
        if reference is None:
            continue
        if syntax in LOSSY:
            assert abs(reference.pixel_array.astype(int) - after.pixel_array).max() <= 3, path  # decoders round
        else:
            photometric = str(before.PhotometricInterpretation)
            assert after.PhotometricInterpretation == {"YBR_FULL_422": "YBR_FULL", "YBR_RCT": "RGB"}.get(
                photometric, photometric
            )
            as_encoded = pixel_array(reference, raw="YBR_RCT" not in photometric)
            assert np.array_equal(as_encoded, pixel_array(after, raw=True)), path
        if syntax in {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}:
            assert after.LossyImageCompression == "01"
        seen.add(str(syntax))
    assert len(seen) >= 7, seen
    assert len(refused) < 12, refused


async def test_a_deflated_file_stays_deflated_where_it_may(
    pool: ParserPool, loaded: list[tuple[Path, bytes, TransferSyntaxUID]]
) -> None:
    dataset, syntax = next((d, s) for _, d, s in loaded if s == "1.2.840.10008.1.2.1.99")
    header = await pool.parse_header(dataset, syntax)
    copies = Copies(pool, pool)
    assert await bytes_of(await copies.prepare(Held(dataset), header, syntax, None)) == dataset
    outgoing = await copies.prepare(Held(dataset), header, syntax, LOCAL)
    plain = zlib.decompressobj(-15).decompress(await bytes_of(outgoing))
    assert parsed(plain, EXPLICIT).PatientID == "LOCAL-77"
    assert outgoing.syntax == syntax


async def test_what_cannot_be_converted_is_refused(pool: ParserPool) -> None:
    dataset = next(path for path in zoo() if path.name == "CT_small.dcm").read_bytes()
    part = split_part10(dataset)
    held = Held(dataset[part.dataset_offset :])
    header = await pool.parse_header(held.data, part.transfer_syntax)
    unknown = TransferSyntaxUID("1.2.840.113619.5.2")  # a private one, whose pixels may be big endian
    made = type(header)(**{f: getattr(header, f) for f in header.__slots__} | {"transfer_syntax_uid": unknown})
    with pytest.raises(NotConvertible):
        await Copies(pool, pool).prepare(held, made, EXPLICIT, None)
    with pytest.raises(NotConvertible):
        await Copies(pool, pool).prepare(held, header, unknown, None)


async def test_a_copy_that_reads_as_another_instance_never_leaves(pool: ParserPool) -> None:
    dataset = next(path for path in zoo() if path.name == "CT_small.dcm").read_bytes()
    part = split_part10(dataset)
    held = Held(dataset[part.dataset_offset :])
    header = await pool.parse_header(held.data, part.transfer_syntax)
    other = type(header)(**{f: getattr(header, f) for f in header.__slots__} | {"sop_instance_uid": "1.2.3"})
    with pytest.raises(NotConvertible):
        await Copies(pool, pool).prepare(held, other, header.transfer_syntax_uid, LOCAL)
