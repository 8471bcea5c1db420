"""Every DICOM file there is to test with: pydicom's, those of pydicom-data, and the MR series in tests/data."""

import contextlib
from functools import cache
from pathlib import Path

import data_store  # type: ignore[import-untyped]
import pydicom

from node.dicom.part10 import split_part10
from node.dicom.structure import skip_fragments
from node.errors.dicom import DicomRefused
from node.model.ids import TransferSyntaxUID

BRAIN = Path(__file__).resolve().parents[1] / "data" / "brain_mr"


@cache
def zoo() -> tuple[Path, ...]:
    """All files (DICOM or not, whole or not) in a stable order."""
    roots = (Path(pydicom.__file__).parent / "data", Path(next(iter(data_store.__path__))), BRAIN)
    skip = {".py", ".pyc", ".json", ".md", ".typed"}
    return tuple(
        path for root in roots for path in sorted(root.rglob("*")) if path.is_file() and path.suffix not in skip
    )


def datasets() -> list[tuple[Path, bytes, TransferSyntaxUID]]:
    """The data set, and its transfer syntax, of each file that is one."""
    found = []
    for path in zoo():
        data = path.read_bytes()
        with contextlib.suppress(DicomRefused):
            part = split_part10(data)
            found.append((path, data[part.dataset_offset :], part.transfer_syntax))
    return found


@cache
def brain() -> tuple[bytes, ...]:
    """The 20 files of the MR series."""
    return tuple(path.read_bytes() for path in sorted(BRAIN.glob("*.dcm")))


class MemorySource:
    """A data set in memory, as the walker reads it."""

    one_way = False

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    def reaches(self, end: int) -> bool:
        return end <= len(self.data)

    def after_fragments(self, offset: int) -> int:
        end, found = skip_fragments(self.data, offset, most=1 << 20)
        assert found
        return end
