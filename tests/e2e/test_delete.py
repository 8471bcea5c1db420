"""The operator deletes, protects, looks for damage, with the daemon and without it."""

import json
from collections.abc import Callable
from pathlib import Path

from support.ct import CtStudy
from support.facility import Facility

STUDY, OTHER = CtStudy(instances=3, rows=64), CtStudy(instances=2, rows=64, seed=2, patient_id="CT-2")


def held(node: Facility) -> set[str]:
    return {study["study_instance_uid"] for study in node.run("studies")["studies"]}


def fill(node: Facility, tmp_path: Path) -> None:
    for number, study in enumerate((STUDY, OTHER)):
        folder = tmp_path / f"files{number}"
        study.write(folder)
        node.run("import", str(folder))


def failed_checks(node: Facility, *options: str) -> dict[str, str]:
    done = node.call("doctor", "--json", *options)
    checks = json.loads(done.stdout)["checks"]
    wrong = {c["check"]: c["problem"] for c in checks if not c["ok"]}
    assert done.returncode == (1 if wrong else 0)
    return wrong


def test_studies_are_deleted_and_protected(facility: Callable[..., Facility], tmp_path: Path) -> None:
    node = facility("node")
    fill(node, tmp_path)
    node.run("protect", "--study", OTHER.study_uid, "--reason", "trial")
    assert "[study_protected]" in node.refused("delete", "--study", OTHER.study_uid, "--reason", "old")
    assert [p["reason"] for p in node.run("studies", "--protected")["protections"]] == ["trial"]
    node.run("delete", "--study", STUDY.study_uid, "--reason", "old")
    assert held(node) == {OTHER.study_uid}
    assert "[unknown_study]" in node.refused("delete", "--study", STUDY.study_uid, "--reason", "old")
    assert node.run("import", str(tmp_path / "files0"))["stored"] == 3, "it may come again"
    node.run("unprotect", "--study", OTHER.study_uid)
    node.run("delete", "--study", OTHER.study_uid, "--reason", "old")
    assert held(node) == {STUDY.study_uid}
    assert node.run("audit", "verify")["ok"]


def test_the_doctor_finds_a_flipped_bit(facility: Callable[..., Facility], tmp_path: Path) -> None:
    node = facility("node")
    fill(node, tmp_path)
    assert failed_checks(node, "--deep") == {}
    node.stop()
    assert failed_checks(node, "--deep") == {}
    pack = max(node.directory.glob("packs/??/*.pack"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.write_bytes(data)
    offline = failed_checks(node, "--deep")
    assert "[object_damaged]" in offline["objects"]
    node.start()
    assert node.run("status")["damaged"] == 1
    online = failed_checks(node, "--deep")
    assert online == offline
    [found] = node.run("studies", "--damaged")["damaged"]
    assert found["ref"] in online["objects"]
    assert STUDY.study_uid == found["study_instance_uid"]
    assert STUDY.study_uid not in online["objects"], "it may be pasted into a ticket"
    assert STUDY.study_uid not in node.log_file.read_text()
    node.run("delete", "--study", STUDY.study_uid, "--reason", "damaged")
    node.run("import", str(tmp_path / "files0"))
    assert failed_checks(node, "--deep") == {}
    assert node.run("status")["damaged"] == 0


def test_an_invitation_replaces_no_file(facility: Callable[..., Facility], tmp_path: Path) -> None:
    node = facility("node")
    path = tmp_path / "letter"
    path.write_text("dear colleague")
    assert "[file_exists]" in node.refused("peers", "invite", "--out", str(path))
    assert path.read_text() == "dear colleague"
    node.run("peers", "invite", "--out", str(tmp_path / "new"))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_wrong_address_names_its_setting(facility: Callable[..., Facility]) -> None:
    node = facility("node", serve=False)
    settings = node.directory / "leveret.toml"
    text = settings.read_text()
    settings.write_text(text.replace("[dicom]\nlisten = ", '[dicom]\nlisten = "nowhere" # '))
    assert text != settings.read_text()
    line = node.refused("serve")
    assert "[dicom] listen" in line
    assert "[invalid_address]" in line
    settings.write_text(text)
