"""A node filled with images of many transfer syntaxes, and its DICOMweb face as a viewer uses it."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import pydicom
from aiohttp import ClientSession
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid

from support.running import Running, running
from support.zoo import zoo

STUDY = str(generate_uid(entropy_srcs=["viewer study"]))
PATIENT = "V-0042"
OHIF_FRAMES = "multipart/related; type=application/octet-stream; transfer-syntax=*"

IMAGES = (  # every encoding, colour space and width that a viewer meets
    "CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm",
    "JPEG-LL.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_jpeg_no_color_transform.dcm",
    "SC_rgb_jpeg_app14_dcmd.dcm", "examples_ybr_color.dcm", "MR_small_jpeg_ls_lossless.dcm",
    "JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm", "JPEG2000.dcm", "examples_jpeg2k.dcm",
    "MR_small_jp2klossless.dcm", "J2K_pixelrep_mismatch.dcm", "MR_small_RLE.dcm", "SC_rgb_rle_16bit_2frame.dcm",
    "OBXXXX1A_rle_2frame.dcm", "examples_palette.dcm", "SC_ybr_full_422_uncompressed.dcm",
    "SC_ybr_full_uncompressed.dcm", "SC_rgb_2frame.dcm", "SC_rgb_expb_16bit_2frame.dcm", "rtdose.dcm",
    "rtdose_expb.dcm", "liver.dcm", "emri_small.dcm", "emri_small_RLE.dcm", "emri_small_jpeg_2k_lossless.dcm",
    "emri_small_jpeg_ls_lossless.dcm", "emri_small_big_endian.dcm", "eCT_Supplemental.dcm",
)  # fmt: skip
OTHERS = ("test-SR.dcm", "reportsi.dcm", "waveform_ecg.dcm")
PDF = b"%PDF-1.4\n% a page of nothing\n%%EOF\n"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Any
    body: bytes

    @property
    def type(self) -> str:
        return str(self.headers["Content-Type"])

    @property
    def parts(self) -> list["Answer"]:
        """The parts of a multipart body."""
        boundary = _parameter(self.type, "boundary")
        pieces = self.body.split(f"\r\n--{boundary}".encode())
        assert pieces[-1] == b"--\r\n"
        return [self._part(piece) for piece in pieces[1:-1]]

    @property
    def transfer_syntax(self) -> str:
        return _parameter(self.type, "transfer-syntax")

    def _part(self, piece: bytes) -> "Answer":
        head, _, body = piece.partition(b"\r\n\r\n")
        lines = head.decode("ascii").strip().split("\r\n")
        return Answer(self.status, dict(line.split(": ", 1) for line in lines), body)


def _parameter(content_type: str, name: str) -> str:
    message = Message()
    message["Content-Type"] = content_type
    return str(message.get_param(name))


@dataclass
class Viewer:
    """A clinician's session with a node that holds one study with everything."""

    node: Running
    http: ClientSession
    held: dict[str, Dataset] = field(default_factory=dict)

    def path(self, name: str) -> str:
        held = self.held[name]
        return f"/studies/{STUDY}/series/{held.SeriesInstanceUID}/instances/{held.SOPInstanceUID}"

    async def get(self, path: str, accept: str = "*/*", **headers: str) -> Answer:
        base = "" if path.startswith("http") else f"{self.node.api}/dicom-web"
        async with self.http.get(f"{base}{path}", headers={"Accept": accept, **headers}) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def json(self, path: str) -> Any:
        base = f"{self.node.api}/dicom-web"
        async with self.http.get(f"{base}{path}", headers={"Accept": "application/dicom+json"}) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.content_type == "application/dicom+json"
            return await answer.json(content_type=None)

    async def store(self, *files: bytes) -> int:
        body = b"".join(b"\r\n--cut\r\nContent-Type: application/dicom\r\n\r\n" + data for data in files)
        kind = 'multipart/related; type="application/dicom"; boundary="cut"'
        url = f"{self.node.api}/dicom-web/studies"
        content = io.BytesIO(body + b"\r\n--cut--")
        async with self.http.post(url, data=content, headers={"Content-Type": kind, "Accept": "*/*"}) as answer:
            assert answer.content_type == "application/dicom+json"
            return answer.status

    async def keep(self, name: str, dataset: Dataset) -> None:
        """Store ``dataset`` as one more instance of the study."""
        data = file_of(name, dataset)
        assert await self.store(data) == 200, name
        self.held[name] = pydicom.dcmread(io.BytesIO(data))


def file_of(name: str, dataset: Dataset) -> bytes:
    """``dataset`` as a file: one more instance of the study, in a series of its own."""
    dataset.StudyInstanceUID, dataset.PatientID, dataset.PatientName = STUDY, PATIENT, "Brain^Bella"
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", name])
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["instance", name])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dataset_of(name: str) -> Dataset:
    """A fresh copy of one of the test files."""
    return pydicom.dcmread(next(path for path in zoo() if path.name == name))


def pdf() -> Dataset:
    """A PDF of odd length, as a report that was scanned."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EncapsulatedPDFStorage
    dataset.Modality, dataset.StudyDate = "DOC", "20240102"
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = PDF + b"\0" * (len(PDF) % 2)
    dataset.EncapsulatedDocumentLength = len(PDF)
    return dataset


@asynccontextmanager
async def viewing(directory: Path) -> AsyncIterator[Viewer]:
    """A node with all of IMAGES and OTHERS and a PDF."""
    async with running(directory) as node:
        headers = {"Authorization": f"Bearer {await node.token('clinician')}"}
        async with ClientSession(headers=headers) as http:
            viewer = Viewer(node, http)
            for name in (*IMAGES, *OTHERS):
                await viewer.keep(name, dataset_of(name))
            await viewer.keep("pdf", pdf())
            yield viewer
