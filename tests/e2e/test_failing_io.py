"""SIGKILL, ENOSPC and EIO at the n-th write or fsync of an ingest: nothing acknowledged is lost, reads go on."""

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.ct import CtStudy, dataset_of
from support.facility import LEVERET, Facility
from support.failing_io import FailingIo, failing_io

pytestmark = pytest.mark.peers
FILES = 12  # of one ingest: more than 100 operations
FIRST = 300  # operations that each fail once in the soak
IN_SUITE = 20
RECOVERS_SECONDS = 10.0
FAILURES = ("ENOSPC", "EIO", "KILL")

MakeFacility = Callable[..., Facility]


def spread(count: int) -> list[tuple[int, str]]:
    """Some of the operations, each kind of failure in turn; more of the first ones, which every ingest has."""
    chance = random.Random(3)
    kinds = ("ENOSPC", "EIO", "ENOSPC", "EIO", "KILL")
    return [(1 + int(60 * chance.random() ** 2), kinds[n % len(kinds)]) for n in range(count)]


def ingest(node: Facility, folder: Path) -> bool:
    """Import a folder; whether all of it was acknowledged. Whatever happens, the command must end and say why."""
    done = subprocess.run(
        [LEVERET, "import", folder, "--json", "--data", node.directory],
        capture_output=True, text=True, timeout=60, check=False, env=node.environ(),
    )  # fmt: skip
    if done.returncode == 0:
        document = json.loads(done.stdout)
        return int(document["stored"]) + int(document["same"]) == FILES
    assert done.stderr.strip().endswith("]"), done.stderr
    assert "internal_error" not in done.stderr
    return False


def reads(node: Facility, study: CtStudy, token: str) -> list[bytes]:
    return [dataset_of(file) for file in node.retrieve(study.study_uid, token)]


@dataclass
class Player:
    """One node on one failing disk."""

    node: Facility
    io: FailingIo
    token: str
    first: CtStudy
    whole: list[tuple[CtStudy, list[bytes]]] = field(default_factory=list)  # acknowledged, and what was sent

    def round(self, number: int, what: str, folder: Path, seed: int) -> None:
        """One ingest during which one operation fails; then the same again on a disk that works."""
        study = CtStudy(instances=FILES, rows=32, seed=seed)
        study.write(folder)
        self.io.fail(number, what)
        ingest(self.node, folder)
        assert self.node.process is not None
        if self.node.process.poll() is not None:
            assert what == "KILL", f"{what} at operation {number} ended the daemon: {self.log}"
            self.node.process = None
            self.io.fail(0, what)
            self.node.start()
        assert len(reads(self.node, self.first, self.token)) == FILES, "reads go on"
        self.io.fail(0, what)
        # A store whose index could not follow takes nothing for a second, and says so; a sender tries again.
        deadline = time.monotonic() + RECOVERS_SECONDS
        while not ingest(self.node, folder):
            assert time.monotonic() < deadline, f"the disk works again, not the node ({number}, {what}): {self.log}"
        self.whole.append((study, sorted(dataset_of(path.read_bytes()) for path in folder.iterdir())))
        shutil.rmtree(folder)

    @property
    def log(self) -> str:
        return self.node.log_file.read_text()[-2000:]


def play(facility: MakeFacility, tmp_path: Path, plan: Iterable[tuple[int, str]]) -> None:
    io = failing_io(tmp_path, tmp_path / "node")
    node = facility("node", serve=False)
    node.environment.update(io.environ)
    node.start()
    first = CtStudy(instances=FILES, rows=32, seed=1)
    first.write(tmp_path / "first")
    assert ingest(node, tmp_path / "first")
    player = Player(node, io, node.token(), first)
    for seed, (number, what) in enumerate(plan, start=10_000):
        player.round(number, what, tmp_path / f"files{seed}", seed)
    node.kill()
    node.start()
    for study, sent in player.whole:
        assert sorted(reads(node, study, player.token)) == sent, "acknowledged is there, whole, after a crash"
    assert node.run("audit", "verify")["ok"]
    assert json.loads(node.call("doctor", "--deep", "--json").stdout)["checks"][-1]["ok"]


@pytest.mark.timeout(300)
def test_twenty_operations_fail(facility: MakeFacility, tmp_path: Path) -> None:
    play(facility, tmp_path, spread(IN_SUITE))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_each_of_the_first_operations_fails(facility: MakeFacility, tmp_path: Path) -> None:
    play(facility, tmp_path, ((number, what) for number in range(1, FIRST + 1) for what in FAILURES))
