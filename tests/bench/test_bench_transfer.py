"""Node to node: a consented transfer of a 1000-slice CT, beside Orthanc's peer transfer over plain HTTP, in one run."""

import time
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.facility import Facility, pair, peer_id
from support.peers import orthanc, storescu
from support.table import Table

pytestmark = [pytest.mark.bench, pytest.mark.peers, pytest.mark.timeout(900)]
ROUNDS = 3


def orthanc_to_orthanc(folder: Path, work: Path, instances: int) -> list[float]:
    seconds = []
    with (
        orthanc(work, "target") as target,
        orthanc(work, "origin", OrthancPeers={"target": [f"{target.url}/"]}) as origin,
    ):
        storescu(origin.dicom, folder, aet=origin.aet)
        (resource,) = origin.rest("GET", "/studies")
        for _ in range(ROUNDS):
            started = time.monotonic()
            origin.rest("POST", "/peers/target/store", [resource])
            seconds.append(time.monotonic() - started)
            assert target.rest("GET", "/statistics")["CountInstances"] == instances
            for study in target.rest("GET", "/studies"):
                target.rest("DELETE", f"/studies/{study}")
    return seconds


def node_to_node(folder: Path, work: Path, facts: CtStudy) -> list[float]:
    warm = work / "warm"  # a node that has just started has no parser processes; Orthanc's target is warm, too
    CtStudy(instances=2, seed=6, patient_id="CT-0006").write(warm)
    holder = Facility.create("holder", work)
    holder.start()
    seconds = []
    try:
        holder.run("import", str(folder))
        for number in range(ROUNDS):
            asker = Facility.create(f"asker{number}", work)
            asker.start()
            try:
                asker.run("import", str(warm))
                pair(holder, asker)
                code = holder.run("share-code", "create", "--patient-id", facts.patient_id)["code"]
                ask = ("request", "--from", peer_id(holder), "--study", facts.study_uid, "--share-code", "-", "--wait")
                started = time.monotonic()
                done = asker.run(*ask, stdin=code)
                seconds.append(time.monotonic() - started)
                assert done["state"] == "COMPLETED"
                assert done["instances"] == facts.instances
                print(f"   the node's own figure: {done['seconds']:.2f} s, wall {seconds[-1]:.2f} s", flush=True)
            finally:
                asker.stop()
    finally:
        holder.stop()
    return seconds


def test_transfer(study: tuple[str, CtStudy, Path], table: Table, tmp_path: Path) -> None:
    kind, facts, folder = study
    size = sum(f.stat().st_size for f in folder.glob("*.dcm"))
    theirs = sorted(orthanc_to_orthanc(folder, tmp_path, facts.instances))
    ours = sorted(node_to_node(folder, tmp_path, facts))
    base = table.row(f"transfer, {kind}: Orthanc to Orthanc, plain HTTP", size, theirs[ROUNDS // 2], facts.instances)
    table.row(f"transfer, {kind}: Leveret, TLS, encrypted at both ends", size, ours[ROUNDS // 2], facts.instances, base)
