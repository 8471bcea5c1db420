"""WADO-RS of a whole study and of single frames: Leveret beside Orthanc's DICOMweb plugin, in one run.

Run ``make bench ARGS='-k wado'``. The client is curl, which costs little itself.
"""

import statistics
import subprocess
import time
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.facility import Facility
from support.peers import orthanc, storescu
from support.table import Table

pytestmark = [pytest.mark.bench, pytest.mark.peers, pytest.mark.timeout(900)]
ROUNDS = 5
FRAMES = 50
EVERY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


def curl(url: str, accept: str, token: str = "") -> tuple[float, int]:
    """Seconds and bytes of one GET."""
    headers = ["-H", f"Accept: {accept}", *(["-H", f"Authorization: Bearer {token}"] if token else [])]
    command = ["curl", "--silent", "--fail", "--output", "/dev/null", "--write-out", "%{time_total} %{size_download}"]
    done = subprocess.run([*command, *headers, url], capture_output=True, text=True, check=True, timeout=300)
    seconds, size = done.stdout.split()
    return float(seconds), int(size)


def median_of(url: str, accept: str, token: str = "") -> tuple[float, int]:
    curl(url, accept, token)  # the disk's cache is warm for everybody
    runs = [curl(url, accept, token) for _ in range(ROUNDS)]
    return statistics.median(seconds for seconds, _ in runs), runs[0][1]


def test_wado_study(study: tuple[str, CtStudy, Path], table: Table, tmp_path: Path) -> None:
    kind, facts, folder = study
    with orthanc(tmp_path, "wado") as peer:
        storescu(peer.dicom, folder, aet=peer.aet)
        seconds, size = median_of(f"{peer.url}/dicom-web/studies/{facts.study_uid}", EVERY)
        base = table.row(f"WADO-RS study, {kind}: Orthanc (plaintext)", size, seconds, facts.instances)
    node = Facility.create("wado", tmp_path)
    node.start()
    try:
        storescu(node.listen("dicom")[1], folder)
        token, url = node.token(), f"{node.api}/dicom-web/studies/{facts.study_uid}"
        seconds, size = median_of(url, EVERY, token)
        table.row(f"WADO-RS study, {kind}: Leveret (packed, encrypted)", size, seconds, facts.instances, base)
        place = f"{url}/series/{facts.series_uid}/instances"
        started = time.monotonic()
        for number in range(1, FRAMES + 1):
            _, size = curl(f"{place}/{facts.sop_uid(number)}/frames/1", OCTETS, token)
        table.row(f"WADO-RS frames one by one, {kind}: Leveret", FRAMES * size, time.monotonic() - started, FRAMES)
    finally:
        node.stop()
