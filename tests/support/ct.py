"""Generated CT studies: 512 x 512, 16 bit, about 530 KB an instance, explicit little endian.

Noise-like pixels are the worst case for compression, smooth ones the usual. Built as bytes, because pydicom takes a
millisecond an instance and benchmarks want thousands.
"""

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS = COLUMNS = 512


@dataclass(frozen=True)
class CtStudy:
    """Who and what; the same ``seed`` gives the same study."""

    instances: int = 20
    seed: int = 1
    smooth: bool = False
    patient_id: str = "CT-0001"
    patient_name: str = "Testperson^Conny"
    birth_date: str = "19610203"
    sex: str = "F"
    study_date: str = "20250115"
    rows: int = ROWS

    @property
    def study_uid(self) -> str:
        return str(generate_uid(entropy_srcs=["study", str(self.seed)]))

    @property
    def series_uid(self) -> str:
        return str(generate_uid(entropy_srcs=["series", str(self.seed)]))

    def sop_uid(self, number: int) -> str:
        return str(generate_uid(entropy_srcs=["instance", str(self.seed), str(number)]))

    def files(self) -> Iterator[bytes]:
        """The instances as Part 10 files, in slice order."""
        rng = np.random.default_rng(self.seed)
        for number in range(1, self.instances + 1):
            yield self._file(number, rng)

    def write(self, folder: Path) -> list[Path]:
        """The instances as files below ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, data in enumerate(self.files(), 1):
            path = folder / f"{number:05}.dcm"
            path.write_bytes(data)
            paths.append(path)
        return paths

    def _file(self, number: int, rng: np.random.Generator) -> bytes:
        ds = self._header(number)
        ds.PixelData = self._pixels(number, rng)
        out = io.BytesIO()
        pydicom.dcmwrite(out, ds, enforce_file_format=True)
        return out.getvalue()

    def _pixels(self, number: int, rng: np.random.Generator) -> bytes:
        shape = (self.rows, COLUMNS)
        if not self.smooth:
            return rng.integers(0, 4096, shape, dtype=np.uint16).tobytes()
        y, x = np.ogrid[: self.rows, :COLUMNS]
        disc = (x - 256) ** 2 + (y - self.rows // 2) ** 2 < (180 + number % 20) ** 2
        return (np.where(disc, 1000 + (x + y) // 8, 24) + rng.integers(0, 12, shape)).astype(np.uint16).tobytes()

    def _header(self, number: int) -> Dataset:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = UID(self.sop_uid(number))
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = Dataset()
        ds.file_meta = meta
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, self.sop_uid(number)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = self.study_uid, self.series_uid
        ds.StudyDate, ds.StudyTime, ds.Modality = self.study_date, "101500", "CT"
        ds.AccessionNumber, ds.StudyID, ds.StudyDescription = f"ACC{self.seed}", "1", "CT chest"
        ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "Axial", 2, number
        ds.PatientID, ds.PatientName = self.patient_id, self.patient_name
        ds.PatientBirthDate, ds.PatientSex = self.birth_date, self.sex
        ds.BodyPartExamined, ds.ImagePositionPatient = "CHEST", [0, 0, number * 1.25]
        ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.7, 0.7]
        ds.SliceThickness, ds.KVP, ds.ConvolutionKernel = "1.25", "120", "STANDARD"
        ds.Rows, ds.Columns, ds.SamplesPerPixel = self.rows, COLUMNS, 1
        ds.PhotometricInterpretation, ds.PixelRepresentation = "MONOCHROME2", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
        ds.WindowCenter, ds.WindowWidth = "40", "400"
        ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
        return ds


def dataset_of(part10: bytes) -> bytes:
    """The data set without preamble and group 0002; (0002,0000) is the first element (PS3.10 table 7.1-1)."""
    assert part10[128:132] == b"DICM"
    return part10[144 + int.from_bytes(part10[140:144], "little") :]


def random_seed() -> int:
    """A seed for a study nobody else made in this run."""
    return random.randrange(1 << 48)
