"""What the demo proves: every data set arrived byte for byte, and nothing of the patient lies in clear on a disk."""

import json
import mmap
import re
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

PIXEL_RUN = 64  # bytes of pixel data that must not be found anywhere


def dataset_of(part10: bytes) -> bytes:
    """A Part 10 file without preamble and group 0002: what must be identical everywhere."""
    group_length = int.from_bytes(
        part10[140:144], "little"
    )  # (0002,0000) is always the first element, PS3.10 table 7.1-1
    return part10[144 + group_length :]


def retrieve_study(api: str, token: str, study_uid: str) -> list[bytes]:
    """All instances of a study by WADO-RS (PS3.18 section 10.4), as Part 10 files."""
    request = urllib.request.Request(  # noqa: S310 - http on loopback
        f"{api}/dicom-web/studies/{study_uid}",
        headers={
            "Authorization": f"Bearer {token}",
            "Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*',
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - http on loopback
        boundary = re.search(r'boundary="?([^";]+)', answer.headers["Content-Type"])
        body = answer.read()
    if boundary is None:
        return []
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary.group(1).encode())
    return [part.split(b"\r\n\r\n", 1)[1] for part in parts[1:-1]]


def search_studies(api: str, token: str, patient_id: str) -> int:
    """How many studies QIDO-RS finds for a patient id."""
    request = urllib.request.Request(  # noqa: S310 - http on loopback
        f"{api}/dicom-web/studies?PatientID={patient_id}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - http on loopback
        return len(json.loads(answer.read() or b"[]"))


@dataclass(frozen=True)
class Secrets:
    """Byte strings that identify a patient or are part of an image."""

    texts: frozenset[bytes]
    pixels: frozenset[bytes]

    @classmethod
    def of_files(cls, files: Iterable[Path]) -> "Secrets":
        """Names, ids, UIDs and samples of the pixel data of Part 10 files."""
        texts, pixels = set(), set()
        for file in files:
            ds = dcmread(file)
            texts |= {str(ds[k].value).encode() for k in ("PatientName", "PatientID") if k in ds}
            texts |= {
                str(ds[k].value).encode()
                for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
                if k in ds
            }
            if "PixelData" in ds:
                pixels |= _runs(ds.PixelData)
        return cls(frozenset(t for t in texts if len(t) > 3), frozenset(pixels))


def _runs(data: bytes) -> set[bytes]:
    """Some runs of 64 bytes that are not a repeated background value."""
    step = max(PIXEL_RUN, len(data) // 16)
    runs = (data[i : i + PIXEL_RUN] for i in range(0, len(data) - PIXEL_RUN, step))
    return {run for run in runs if len(set(run)) > 8}


def find_in_clear(directory: Path, secrets: Secrets) -> list[str]:
    """Files below ``directory`` whose name or content shows any of ``secrets``; empty is the wish."""
    found = []
    for file in sorted(p for p in directory.rglob("*") if p.is_file()):
        name = str(file.relative_to(directory)).encode()
        if any(text in name for text in secrets.texts):
            found.append(f"name of {file.name}")
        if file.stat().st_size == 0:
            continue
        with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found += [f"in {file.name}" for secret in secrets.texts | secrets.pixels if content.find(secret) >= 0]
    return found
