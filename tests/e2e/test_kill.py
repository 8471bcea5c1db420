"""SIGKILL in mid-transfer: it resumes by itself, completes, and nothing half-arrived is ever shown."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.ct import CtStudy, dataset_of
from support.facility import Facility, pair, peer_id, wait_for

WHO = ("--name", "Testperson^Conny", "--birth-date", "19610203", "--sex", "F")
INSTANCES = 400
KILLS = 6


def children(pid: int) -> list[int]:
    """Process ids of the daemon's workers (Linux)."""
    return [int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def progress(facility: Facility) -> dict[str, object]:
    (transfer,) = [t for t in facility.run("transfers", "list")["transfers"] if t["direction"] in ("in", "incoming")]
    return dict(transfer)


@pytest.mark.timeout(300)
def test_either_side_killed_six_times(facility: Callable[..., Facility], tmp_path: Path) -> None:
    north, lake = facility("north"), facility("lake")
    study = CtStudy(instances=INSTANCES, rows=64)
    files = study.write(tmp_path / "media")
    north.run("import", str(tmp_path / "media"))
    pair(north, lake)
    size = sum(len(dataset_of(f.read_bytes())) for f in files)
    north.run("peers", "policy", peer_id(lake), f"max_rate={size // 12}")  # about 12 seconds of transfer
    code = north.run("share-code", "create", "--patient-id", study.patient_id)["code"]
    asked = lake.run(
        "request", "--from", peer_id(north), "--study", study.study_uid, "--share-code", "-", *WHO, stdin=code
    )
    assert asked["request_id"]

    done = 0
    for kill in range(KILLS):
        target = (lake, north)[kill % 2]
        goal = INSTANCES * (kill + 1) // (KILLS + 2)
        now = wait_for(lambda goal=goal: (p := progress(lake))["instances_done"] >= goal and p, 60)
        assert now["state"] != "COMPLETED", "too fast to hit"
        assert now["instances_done"] >= done, "resumed, not restarted"
        done = now["instances_done"]
        assert lake.run("studies")["studies"] == [], "half a study is never shown"
        assert target.process is not None
        workers = children(target.process.pid)
        target.kill()
        assert wait_for(lambda workers=workers: not any(alive(w) for w in workers), 5), "workers die with their parent"
        target.start()
    wait_for(lambda: progress(lake)["state"] == "COMPLETED", 90)
    (received,) = lake.run("studies")["studies"]
    assert received["instances"] == INSTANCES
    arrived = lake.retrieve(study.study_uid, lake.token())
    assert len(arrived) == INSTANCES
    assert {dataset_of(p) for p in arrived} == {dataset_of(f.read_bytes()) for f in files}
    for one in (north, lake):
        assert one.run("audit", "verify")["ok"]
