"""Node to node: a consented transfer of a 1000-slice CT, beside Orthanc's peer transfer over plain HTTP, in one run."""

import time
from pathlib import Path
from statistics import median

import pytest
from support.ct import CtStudy
from support.facility import Facility, pair, peer_id
from support.peers import Orthanc, orthanc, storescu
from support.table import Table

pytestmark = [pytest.mark.bench, pytest.mark.peers, pytest.mark.timeout(900)]
ROUNDS = 5


class Orthancs:
    """One Orthanc that sends the study to another."""

    def __init__(self, origin: Orthanc, target: Orthanc, folder: Path, instances: int) -> None:
        self._origin = origin
        self._target = target
        self._instances = instances
        storescu(origin.dicom, folder, aet=origin.aet)
        (self._resource,) = origin.rest("GET", "/studies")

    def transfer(self) -> float:
        """Seconds of one; the target is empty before and after."""
        started = time.monotonic()
        self._origin.rest("POST", "/peers/target/store", [self._resource])
        took = time.monotonic() - started
        assert self._target.rest("GET", "/statistics")["CountInstances"] == self._instances
        for study in self._target.rest("GET", "/studies"):
            self._target.rest("DELETE", f"/studies/{study}")
        return took


class Nodes:
    """One node that holds the study; each transfer is to a new one."""

    def __init__(self, folder: Path, work: Path, facts: CtStudy) -> None:
        self._work = work
        self._facts = facts
        self._warm = (
            work / "warm"
        )  # a node that has just started has no parser processes; Orthanc's target is warm, too
        CtStudy(instances=2, seed=6, patient_id="CT-0006").write(self._warm)
        self.holder = Facility.create("holder", work)
        self.holder.start()
        self.holder.run("import", str(folder))

    def transfer(self, number: int) -> float:
        """Seconds of one, from the command to its end."""
        asker = Facility.create(f"asker{number}", self._work)
        asker.start()
        try:
            asker.run("import", str(self._warm))
            pair(self.holder, asker)
            code = self.holder.run("share-code", "create", "--patient-id", self._facts.patient_id)["code"]
            study = ("--study", self._facts.study_uid, "--share-code", "-", "--wait")
            started = time.monotonic()
            done = asker.run("request", "--from", peer_id(self.holder), *study, stdin=code)
            took = time.monotonic() - started
            assert done["state"] == "COMPLETED"
            assert done["instances"] == self._facts.instances
            return took
        finally:
            asker.stop()


def test_transfer(study: tuple[str, CtStudy, Path], table: Table, tmp_path: Path) -> None:
    """In turns: this machine's speed may change from one minute to the next."""
    kind, facts, folder = study
    size = sum(f.stat().st_size for f in folder.glob("*.dcm"))
    theirs, ours = [], []
    with (
        orthanc(tmp_path, "target") as target,
        orthanc(tmp_path, "origin", OrthancPeers={"target": [f"{target.url}/"]}) as origin,
    ):
        orthancs = Orthancs(origin, target, folder, facts.instances)
        nodes = Nodes(folder, tmp_path, facts)
        try:
            for number in range(ROUNDS):
                theirs.append(orthancs.transfer())
                ours.append(nodes.transfer(number))
                print(
                    f"   round {number}: {theirs[-1]:.2f} s and {ours[-1]:.2f} s, {theirs[-1] / ours[-1]:.2f} x",
                    flush=True,
                )
        finally:
            nodes.holder.stop()
    base = table.row(f"transfer, {kind}: Orthanc to Orthanc, plain HTTP", size, median(theirs), facts.instances)
    table.row(f"transfer, {kind}: Leveret, TLS, encrypted at both ends", size, median(ours), facts.instances, base)
