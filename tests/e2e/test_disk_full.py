"""A disk that is really full, through the running daemon: clear refusals everywhere, reads go on, no restart needed."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ct import CtStudy, dataset_of
from support.facility import Facility
from support.peers import NODELAY
from support.tmpfs import filled, tmpfs

pytestmark = pytest.mark.peers
DISK, RESERVE = 64_000_000, 4_000_000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Facility]:
    with tmpfs(tmp_path / "disk", DISK) as disk:
        made = Facility.create("node", disk, LEVERET_STORE_RESERVE=str(RESERVE))
        made.start()
        yield made
        made.stop()


def stow(node: Facility, files: list[bytes], token: str) -> tuple[int, dict[str, str], bytes]:
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join(part + file + b"\r\n" for file in files) + b"--b--\r\n"
    request = urllib.request.Request(
        node.api + "/dicom-web/studies", data=body, method="POST",
        headers={
            "Authorization": f"Bearer {token}", "Accept": "application/dicom+json",
            "Content-Type": 'multipart/related; type="application/dicom"; boundary=b',
        },
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, dict(refusal.headers), refusal.read()


def c_store(node: Facility, folder: Path) -> str:
    host, port = node.listen("dicom")
    done = subprocess.run(
        ["storescu", "-v", "--scan-directories", "--call", "LEVERET", host, str(port), str(folder)],
        env=NODELAY, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_full_and_then_not_any_more(node: Facility, tmp_path: Path) -> None:
    first, other = CtStudy(instances=3), CtStudy(instances=6, seed=2)
    first.write(tmp_path / "first")
    other.write(tmp_path / "other")
    files = [path.read_bytes() for path in sorted((tmp_path / "other").iterdir())]
    node.run("import", str(tmp_path / "first"))
    token = node.token()
    whole = sorted(dataset_of(path.read_bytes()) for path in (tmp_path / "first").iterdir())
    with filled(node.directory.parent, RESERVE - 500_000):
        assert "(Refused: OutOfResources)" in c_store(node, tmp_path / "other"), "dcmtk's words for A700"
        status, _headers, body = stow(node, files, token)
        assert status in {409, 503, 507}, body
        assert stow(node, files, token)[0] == status
        line = node.refused("import", str(tmp_path / "other"))
        assert "[disk_full]" in line
        assert "0 instances" in line
        assert node.run("status")["problems"] == ["disk_full"]
        assert sorted(map(dataset_of, node.retrieve(first.study_uid, token))) == whole, "reads go on"
        assert [s["instances"] for s in node.run("studies")["studies"]] == [3]
    assert node.run("status")["problems"] == []
    assert stow(node, files[:2], token)[0] == 200
    assert "Success" in c_store(node, tmp_path / "other")
    assert node.run("import", str(tmp_path / "other"))["same"] == 6
    assert len(node.retrieve(other.study_uid, token)) == 6


def test_it_fills_up_in_the_middle_of_an_import(node: Facility, tmp_path: Path) -> None:
    study = CtStudy(instances=40)
    study.write(tmp_path / "study")
    with filled(node.directory.parent, RESERVE + 6_000_000):
        line = node.refused("import", str(tmp_path / "study"))
        assert "[disk_full]" in line
        taken = int(line.split("Stopped with ")[1].split()[0])
        assert 0 < taken < 40
        [held] = node.run("studies")["studies"]
        assert taken <= held["instances"] < 40, "all that it told of is there"
    done = node.run("import", str(tmp_path / "study"))
    assert done["same"] == held["instances"]
    assert done["stored"] == 40 - held["instances"]
    checks = json.loads(node.call("doctor", "--json", "--deep").stdout)["checks"]
    assert [c for c in checks if not c["ok"]] == []
