"""C-STORE ingest of a 1000-slice CT from dcmtk's storescu, by one association and by four at a time.

Leveret beside storescp and Orthanc, in turns in one run: instances a second, CPU and memory of all their processes.
TCP_NODELAY is set at both ends.
"""

import os
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.facility import Facility
from support.peers import orthanc, storescp, storescu
from support.table import Table
from support.usage import watching

pytestmark = [pytest.mark.bench, pytest.mark.peers, pytest.mark.timeout(900)]
ROUNDS = 3


@dataclass(frozen=True)
class Target:
    """Where to send, the process that takes it, and how to tell whether all is there."""

    port: int
    pid: int
    count: Callable[[], int]
    aet: str = "LEVERET"


@dataclass(frozen=True)
class Run:
    """What one run took; CPU in seconds, memory in MiB."""

    seconds: float
    cpu: float
    peak: float


@contextmanager
def _orthanc(folder: Path) -> Iterator[Target]:
    with orthanc(folder, "bench") as peer:
        yield Target(
            peer.dicom, peer.process.pid, lambda: peer.rest("GET", "/statistics")["CountInstances"], aet=peer.aet
        )


@contextmanager
def _storescp(folder: Path) -> Iterator[Target]:
    with storescp(folder / "scp", "--fork") as port:
        yield Target(port, os.getpid(), lambda: len(list((folder / "scp").iterdir())))


@contextmanager
def _leveret(folder: Path) -> Iterator[Target]:
    node = Facility.create("node", folder)
    node.start()
    try:
        assert node.process is not None
        yield Target(node.listen("dicom")[1], node.process.pid, lambda: node.run("status")["instances"])
    finally:
        node.stop()


def _send(target: Target, shares: list[Path]) -> Run:
    with watching(target.pid) as usage, ThreadPoolExecutor(len(shares)) as senders:
        each = list(senders.map(lambda share: storescu(target.port, share, aet=target.aet), shares))
    return Run(max(each), usage.cpu, usage.peak)


def _share_out(folder: Path, into: Path, count: int) -> list[Path]:
    """The files of a study dealt out to ``count`` folders, without copying them."""
    shares = [into / f"share{number}" for number in range(count)]
    for share in shares:
        share.mkdir(parents=True)
    for number, path in enumerate(sorted(folder.glob("*.dcm"))):
        os.link(path, shares[number % count] / path.name)
    return shares


@pytest.mark.parametrize("associations", [1, 4])
def test_c_store(study: tuple[str, CtStudy, Path], associations: int, table: Table, tmp_path: Path) -> None:
    kind, facts, folder = study
    size = sum(path.stat().st_size for path in folder.glob("*.dcm"))
    shares = _share_out(folder, folder.parent / f"{folder.name}-{associations}", associations)
    peers: dict[str, Callable[[Path], AbstractContextManager[Target]]] = {
        "Orthanc": _orthanc, "storescp (plaintext, no fsync)": _storescp, "Leveret (encrypted, durable)": _leveret,
    }  # fmt: skip
    runs: dict[str, list[Run]] = {name: [] for name in peers}
    for number in range(ROUNDS):
        for name, start in peers.items():
            home = tmp_path / f"{number}{name[:3]}"
            home.mkdir()
            with start(home) as target:
                runs[name].append(_send(target, shares))
                assert target.count() == facts.instances
    base, theirs = None, statistics.median(run.peak for run in runs["Orthanc"])
    for name, each in runs.items():
        what = f"C-STORE, {kind}, {associations} association{'s'[: associations - 1]}: {name}"
        rate = table.row(what, size, statistics.median(run.seconds for run in each), facts.instances, base)
        base = base or rate
        if "storescp" in name:
            continue
        peak, cpu = max(run.peak for run in each), statistics.median(run.cpu for run in each)
        table.note(
            f"    peak PSS {peak:.0f} MiB ({peak / theirs:.2f} x), CPU {1000 * cpu / facts.instances:.2f} ms each"
        )
