"""Searches (QIDO-RS) beside Orthanc's, in an index of a million instances, and single frames of a 200 MB object.

Run ``make bench ARGS='-k query'``. One client, one connection that is kept; times are those that it sees.
"""

import contextlib
import http.client
import io
import json
import math
import random
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RLELossless
from support.ct import CtStudy
from support.facility import Facility
from support.many import Made, fill
from support.peers import Orthanc, orthanc

from node.app.keys import open_keys
from node.config import load

pytestmark = [pytest.mark.bench, pytest.mark.peers, pytest.mark.timeout(1800)]
ROUNDS = 50
STUDIES, INSTANCES = 5000, 4  # beside Orthanc
SENDERS = 4
PAGE = 100
FRAMES = 100  # of 2 MB
FRAME_ROWS, FRAME_COLUMNS = 1024, 1024
OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
_UID, _NAME = "1.2.826.0.1.3680043.10.543.9.999999.9999", "N" * 32


class Client:
    """GETs on one connection."""

    def __init__(self, url: str, token: str = "") -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=300)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str, accept: str = "application/dicom+json") -> bytes:
        self._connection.request("GET", path, headers={"Accept": accept, **self._headers})
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status in {200, 204}, (answer.status, body[:500])
        return body


def searches(number: int) -> dict[str, str]:
    """The questions, as paths; ``number`` varies what is asked for."""
    made = Made(number)
    month = made.date[:6]
    return {
        "PatientID": f"PatientID={made.patient_id}",
        "name prefix*": f"PatientName={quote(made.name[:6])}*",
        "a month": f"StudyDate={month}01-{month}28",
        "AccessionNumber": f"AccessionNumber={made.accession}",
        "name *SMITH*": "PatientName=*SMITH*",
        "ModalitiesInStudy": f"ModalitiesInStudy={made.modality}&StudyDate={month}01-{month}28",
    }


def measure(url: str, studies: int, token: str = "") -> dict[str, list[float]]:
    """Milliseconds of each question, sorted."""
    took: dict[str, list[float]] = {}
    with contextlib.closing(Client(url, token)) as client:
        for number in random.Random(1).sample(range(studies), ROUNDS):
            for what, query in searches(number).items():
                began = time.perf_counter()
                body = client.get(f"/dicom-web/studies?limit={PAGE}&{query}")
                took.setdefault(what, []).append((time.perf_counter() - began) * 1000)
                assert json.loads(body), query
    return {what: sorted(times) for what, times in took.items()}


def figures(times: list[float]) -> str:
    return f"p50 {statistics.median(times):7.1f} ms  p95 {times[math.ceil(len(times) * 0.95) - 1]:7.1f} ms"


def tiny_files(studies: int) -> Iterator[bytes]:
    """Part 10 files of two kilobytes, ``INSTANCES`` for each study, cut from one pattern."""
    out = io.BytesIO()
    (raw,) = CtStudy(instances=1, rows=2).files()
    pattern = pydicom.dcmread(io.BytesIO(raw))
    pattern.file_meta.MediaStorageSOPInstanceUID = pattern.SOPInstanceUID = UID(f"{_UID}.3")
    pattern.StudyInstanceUID, pattern.SeriesInstanceUID = UID(f"{_UID}.1"), UID(f"{_UID}.2")
    pattern.PatientID, pattern.PatientName = "PAT-000000", _NAME
    pattern.StudyDate, pattern.AccessionNumber, pattern.Modality = "10000101", "ACC0000000", "QQ"
    pattern.save_as(out)
    for number in range(studies):
        made = Made(number)
        name = made.name.encode()
        told = {
            b"PAT-000000": made.patient_id.encode(),
            _NAME.encode(): name + b" " * (len(_NAME) - len(name)),
            b"10000101": made.date.encode(),
            b"ACC0000000": made.accession.encode(),
            b"QQ": made.modality.encode(),
        }
        study = out.getvalue()
        for before, after in told.items():
            study = study.replace(before, after)
        for instance in range(INSTANCES):
            uid = _UID.replace("999999.9999", f"{number + 100000}.{instance + 1000}").encode()
            of_study = _UID.replace("999999.9999", f"{number + 100000}.1000").encode()
            yield (
                study.replace(f"{_UID}.3".encode(), uid + b".3")
                .replace(f"{_UID}.1".encode(), of_study + b".1")
                .replace(f"{_UID}.2".encode(), of_study + b".2")
            )


def send(peer: Orthanc, files: list[bytes]) -> None:
    """Post files to Orthanc on several connections."""

    def sender(mine: list[bytes]) -> None:
        connection = http.client.HTTPConnection(peer.url.removeprefix("http://"), timeout=300)
        for data in mine:
            connection.request("POST", "/instances", body=data)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
        connection.close()

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(sender, [files[first::SENDERS] for first in range(SENDERS)]))


def write(files: list[bytes], folder: Path) -> Path:
    folder.mkdir()
    for number, data in enumerate(files):
        (folder / f"{number}.dcm").write_bytes(data)
    return folder


def test_query_beside_orthanc(tmp_path: Path) -> None:
    files = list(tiny_files(STUDIES))
    with orthanc(tmp_path, "query") as peer:
        send(peer, files)
        assert peer.rest("GET", "/statistics")["CountStudies"] == STUDIES
        theirs = measure(peer.url, STUDIES)
    node = Facility.create("query", tmp_path)
    node.start()
    try:
        node.run("import", str(write(files, tmp_path / "files")))
        assert node.run("status")["studies"] == STUDIES
        ours = measure(node.api, STUDIES, node.token())
    finally:
        node.stop()
    for what, times in ours.items():
        ratio = statistics.median(theirs[what]) / statistics.median(times)
        print(
            f"QIDO, {STUDIES} studies, {what:18} Leveret {figures(times)} | Orthanc {figures(theirs[what])}"
            f" | {ratio:5.1f} x",
            flush=True,
        )


def filled(name: str, parent: Path, *, studies: int, instances: int) -> Facility:
    """A node, not started, whose index has as many rows."""
    node = Facility.create(name, parent)
    keys = open_keys(node.directory, load(node.directory, {}).node)
    node.start()  # makes the index
    node.stop()
    fill(node.directory / "index.db", keys.index_key(), studies=studies, instances=instances)
    return node


def started(node: Facility) -> float:
    """Seconds until a node says that it is ready."""
    began = time.monotonic()
    node.start()
    return time.monotonic() - began


def cpu_of(node: Facility) -> float:
    """CPU seconds of a daemon so far, without its workers."""
    assert node.process is not None
    fields = Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.parametrize("studies", [2000, 20_000])
def test_query_a_large_index(studies: int, tmp_path: Path) -> None:
    """50 instances a study: 100,000 and a million."""
    folders = [write(list(tiny_files(125)), tmp_path / "files")]  # 500 instances of studies that are new
    nodes = {
        "an empty index": Facility.create("empty", tmp_path),
        f"{studies * 50} instances": filled("full", tmp_path, studies=studies, instances=50),
    }
    for what, node in nodes.items():
        seconds = started(node)
        try:
            before, began = cpu_of(node), time.monotonic()
            node.run("import", str(folders[0]))
            took, cpu = time.monotonic() - began, cpu_of(node) - before
            print(f"{what:20} start {seconds:5.2f} s, import of 500: {took:5.2f} s, {cpu:5.2f} CPU s", flush=True)
            if node.name == "full":
                for name, times in measure(node.api, studies, node.token()).items():
                    print(f"QIDO, {what}, {name:18} {figures(times)}", flush=True)
        finally:
            node.stop()


def large(kind: str) -> tuple[bytes, CtStudy]:
    """One object of 200 MB: native, or encapsulated with a basic, an extended or no offset table."""
    facts = CtStudy(instances=1, seed=len(kind))
    pixels = np.random.default_rng(1).integers(0, 4096, (FRAME_ROWS, FRAME_COLUMNS), dtype=np.uint16).tobytes()
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if kind == "native" else RLELossless
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID(facts.sop_uid(1))
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = facts.study_uid, facts.series_uid, "CT"
    ds.PatientID, ds.PatientName, ds.StudyDate = facts.patient_id, facts.patient_name, facts.study_date
    ds.Rows, ds.Columns, ds.NumberOfFrames, ds.SamplesPerPixel = FRAME_ROWS, FRAME_COLUMNS, FRAMES, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    frames = [pixels] * FRAMES  # never decoded: any bytes will do for an encoded frame
    if kind == "native":
        ds.PixelData = b"".join(frames)
    elif kind == "extended table":
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    else:
        ds.PixelData = encapsulate(frames, has_bot=kind == "basic table")
    ds["PixelData"].VR = "OW" if kind == "native" else "OB"
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue(), facts


def frame_time(client: Client, path: str) -> float:
    """Milliseconds until all of a frame has come."""
    began = time.perf_counter()
    client.get(path, OCTETS)
    return (time.perf_counter() - began) * 1000


@pytest.mark.parametrize("kind", ["native", "basic table", "extended table", "no table"])
def test_query_a_frame(kind: str, tmp_path: Path) -> None:
    """Cold: the first answer of a node that has just started, its files in the page cache."""
    data, facts = large(kind)
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "one.dcm").write_bytes(data)
    node = Facility.create("frames", tmp_path)
    node.start()
    try:
        node.run("import", str(folder))
        token = node.token()
        place = f"/dicom-web/studies/{facts.study_uid}/series/{facts.series_uid}/instances/{facts.sop_uid(1)}/frames"
        cold, chosen = [], random.Random(2)
        for first in (1, 77, 1, 77):
            node.stop()
            node.start()
            with contextlib.closing(Client(node.api, token)) as client:
                client.get("/dicom-web/studies?limit=1")  # the connection and the index, not the object
                cold.append(frame_time(client, f"{place}/{first}"))
                wanted = [chosen.randint(1, FRAMES) for _ in range(ROUNDS)]
                warm = sorted(frame_time(client, f"{place}/{number}") for number in wanted)
    finally:
        node.stop()
    told = ", ".join(f"{one:.0f}" for one in cold)
    print(
        f"a frame of {len(data) / 1e6:.0f} MB, {kind:15}: warm {figures(warm)}; cold (1, 77, 1, 77) {told} ms",
        flush=True,
    )
