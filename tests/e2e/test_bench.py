"""``leveret bench`` measures, and leaves nothing behind, also when somebody has enough of it."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.facility import LEVERET

ENVIRONMENT = {"PATH": "/nowhere", "LEVERET_DATA": "/nowhere"}  # no storescp and no Orthanc: half the time


def start(folder: Path) -> subprocess.Popen[str]:
    command = [str(LEVERET), "bench", "--instances", "10", "--json", "--data", str(folder / "node")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


@pytest.fixture(autouse=True)
def heeded_interrupts() -> Iterator[None]:
    """Children heed SIGINT, also where whoever started the tests in the background had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_figures_and_nothing_left(tmp_path: Path) -> None:
    done = start(tmp_path)
    out, err = done.communicate(timeout=110)
    assert done.returncode == 0, err
    document = json.loads(out)
    figures = {(f["what"], f["unit"]): f for f in document["figures"]}
    assert set(figures) == {
        ("C-STORE, 1 association", "instances/s"),
        ("C-STORE, 4 associations", "instances/s"),
        ("QIDO-RS, studies of a patient", "ms, median"),
        ("transfer between two facilities", "MB/s of images"),
    }
    assert all(f["rate"] > 0 and f["seconds"] > 0 for f in figures.values())
    assert figures["transfer between two facilities", "MB/s of images"]["instances"] == 10
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it_and_cleans_up(tmp_path: Path) -> None:
    running = start(tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("leveret-bench-*/north/node/leveret.toml")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started = children(running.pid)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert list(tmp_path.iterdir()) == []
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
