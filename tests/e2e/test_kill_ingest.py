"""SIGKILL at random moments of C-STORE and import: what was acknowledged is there afterwards, once."""

import json
import os
import random
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.facility import LEVERET, Facility
from support.peers import NODELAY

pytestmark = pytest.mark.peers
BATCH = 40  # instances a round; small ones, so that a kill hits the durable path and not the copying
PAGE = 1000
IN_SUITE, IN_SOAK = 20, 200


def acknowledged(output: str) -> list[str]:
    """Files that ``storescu -v`` was told Success for."""
    sent, done = "", []
    for line in output.splitlines():
        if "Sending file:" in line:
            sent = line.split("Sending file:")[1].strip()
        elif "Received Store Response (Success)" in line:
            done.append(sent)
    return done


def stored_uids(node: Facility, study: CtStudy, token: str) -> list[str]:
    """Every instance of the study, page by page: one answer has so many at most."""
    uids: list[str] = []
    while True:
        path = f"/dicom-web/studies/{study.study_uid}/instances?limit={PAGE}&offset={len(uids)}"
        _, body = node.get(path, token)
        found = [i["00080018"]["Value"][0] for i in json.loads(body or b"[]")]
        uids += found
        if not found:
            return uids


def send_and_kill(node: Facility, command: list[str], delay: float) -> str:
    """Run a sender and kill the daemon ``delay`` seconds in; returns what the sender printed."""
    timer = threading.Timer(delay, node.kill)
    timer.start()
    done = subprocess.run(
        command, env={**NODELAY, **node.environ()}, capture_output=True, text=True, check=False, timeout=60
    )
    timer.join()
    return done.stdout + done.stderr


def one_round(node: Facility, study: CtStudy, folder: Path, number: int, acked: set[str]) -> None:
    by_store = number % 2 == 0
    delay = random.uniform(0.05, 0.9)
    if by_store:
        host, port = node.listen("dicom")
        command = ["storescu", "-v", "--scan-directories", "--call", "LEVERET", host, str(port), str(folder)]
        output = send_and_kill(node, command, delay)
        names = [Path(f).name for f in acknowledged(output)]
        acked |= {study.sop_uid(number * BATCH + int(n.removesuffix(".dcm"))) for n in names}
    else:
        command = [str(LEVERET), "import", str(folder), "--json", "--data", str(node.directory)]
        output = send_and_kill(node, command, delay)
        if '"stored": 40' in output or '"stored":40' in output:
            acked |= {study.sop_uid(number * BATCH + n) for n in range(1, BATCH + 1)}


def run_rounds(facility: Callable[..., Facility], tmp_path: Path, rounds: int) -> None:
    node = facility("node", serve=False)
    study = CtStudy(instances=BATCH * rounds, rows=24)
    folders = []
    for number in range(rounds):
        folders.append(tmp_path / f"round{number}")
        folders[-1].mkdir()
    for number, data in enumerate(study.files()):
        (folders[number // BATCH] / f"{number % BATCH + 1:05}.dcm").write_bytes(data)
    acked: set[str] = set()
    for number, folder in enumerate(folders):
        node.start()
        one_round(node, study, folder, number, acked)
    node.start()
    uids = stored_uids(node, study, node.token())
    assert len(uids) == len(set(uids)), "none twice"
    assert acked <= set(uids), f"{len(acked - set(uids))} acknowledged instances lost"
    assert acked, "some round acknowledged something"
    for folder in folders:  # what was cut off can be sent again; what is there is the same
        done = node.run("import", str(folder))
        assert done["stored"] + done["same"] == BATCH
    assert len(stored_uids(node, study, node.token())) == BATCH * rounds
    assert node.run("audit", "verify")["ok"]


@pytest.mark.timeout(240)
def test_killed_at_random_moments(facility: Callable[..., Facility], tmp_path: Path) -> None:
    run_rounds(facility, tmp_path, int(os.environ.get("LEVERET_TEST_KILLS", IN_SUITE)))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_at_many_random_moments(facility: Callable[..., Facility], tmp_path: Path) -> None:
    run_rounds(facility, tmp_path, IN_SOAK)
