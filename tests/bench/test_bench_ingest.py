"""C-STORE ingest of a 1000-slice CT from dcmtk's storescu: Leveret beside storescp and Orthanc, in one run."""

from pathlib import Path

import pytest
from support.ct import CtStudy
from support.facility import Facility
from support.peers import orthanc, storescp, storescu
from support.table import Table

pytestmark = [pytest.mark.bench, pytest.mark.peers, pytest.mark.timeout(900)]
ROUNDS = 3


def size_of(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.glob("*.dcm"))


def test_c_store(study: tuple[str, CtStudy, Path], table: Table, tmp_path: Path) -> None:
    kind, facts, folder = study
    size = size_of(folder)
    theirs, plain, ours = [], [], []
    for number in range(ROUNDS):
        with orthanc(tmp_path / str(number), "bench") as peer:
            theirs.append(storescu(peer.dicom, folder, aet=peer.aet))
            assert peer.rest("GET", "/statistics")["CountInstances"] == facts.instances
        with storescp(tmp_path / f"scp{number}") as port:
            plain.append(storescu(port, folder))
        node = Facility.create(f"node{number}", tmp_path)
        node.start()
        try:
            ours.append(storescu(node.listen("dicom")[1], folder))
            assert node.run("status")["instances"] == facts.instances
        finally:
            node.stop()
    base = table.row(f"C-STORE, {kind}: Orthanc", size, sorted(theirs)[ROUNDS // 2], facts.instances)
    table.row(
        f"C-STORE, {kind}: storescp (plaintext, no fsync)", size, sorted(plain)[ROUNDS // 2], facts.instances, base
    )
    table.row(
        f"C-STORE, {kind}: Leveret (encrypted, durable each)", size, sorted(ours)[ROUNDS // 2], facts.instances, base
    )
