"""Who gets in: nobody that is not on the trust list, and nobody any more once revoked."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.ct import CtStudy, dataset_of
from support.facility import Facility, pair, peer_id, wait_for

WHO = ("--name", "Testperson^Conny", "--birth-date", "19610203", "--sex", "F")


@pytest.mark.timeout(120)
def test_revocation_ends_a_running_transfer_within_a_second(facility: Callable[..., Facility], tmp_path: Path) -> None:
    north, lake = facility("north"), facility("lake")
    study = CtStudy(instances=40, rows=256)
    files = study.write(tmp_path / "media")
    north.run("import", str(tmp_path / "media"))
    pair(north, lake)
    size = sum(len(dataset_of(f.read_bytes())) for f in files)
    north.run("peers", "policy", peer_id(lake), f"max_rate={size // 20}")
    code = north.run("share-code", "create", "--patient-id", study.patient_id)["code"]
    lake.run("request", "--from", peer_id(north), "--study", study.study_uid, "--share-code", "-", *WHO, stdin=code)

    def running() -> dict[str, Any]:
        (transfer,) = lake.run("transfers", "list")["transfers"]
        return dict(transfer)

    wait_for(lambda: running()["instances_done"] >= 3, 30)
    north.run("peers", "revoke", peer_id(lake))
    time.sleep(1.0)
    then = running()
    time.sleep(1.5)  # three instances, had it gone on
    later = running()
    assert later["instances_done"] == then["instances_done"], "nothing came after one second"
    assert later["state"] in {"SUSPENDED", "FAILED"}
    assert lake.run("studies")["studies"] == []


@pytest.mark.timeout(120)
def test_wrong_code_locked_code_revoked_code(facility: Callable[..., Facility], tmp_path: Path) -> None:
    north, lake = facility("north"), facility("lake", LEVERET_CONSENT_CODE_FAILURES="3")
    one, other = (
        CtStudy(instances=2, rows=16),
        CtStudy(instances=2, rows=16, seed=2, patient_id="CT-0002", patient_name="Other^Olga"),
    )
    for study in (one, other):
        study.write(tmp_path / study.patient_id)
        north.run("import", str(tmp_path / study.patient_id))
    pair(north, lake)

    def ask(code: str, study: str, *who: str) -> dict[str, str]:
        done = lake.call(
            "request",
            "--from",
            peer_id(north),
            "--study",
            study,
            "--share-code",
            "-",
            *(who or WHO),
            "--wait",
            "--json",
            stdin=code,
        )
        assert done.returncode == 1, done.stdout
        return dict(json.loads(done.stdout))

    good = north.run("share-code", "create", "--patient-id", one.patient_id)
    mistyped = good["code"][:-1] + ("A" if good["code"][-1] != "A" else "B")
    assert ask(mistyped, one.study_uid)["state"] == "REFUSED"
    wrong_study = ask(good["code"], other.study_uid)
    assert wrong_study["state"] == "REFUSED"
    assert wrong_study["code"] != "not_released", "who proved a valid code is told why"
    north.run("share-code", "revoke", good["code_id"])
    assert ask(good["code"], one.study_uid)["state"] == "REFUSED"
    fresh = north.run("share-code", "create", "--patient-id", one.patient_id)["code"]
    conflict = lake.call(
        "request", "--from", peer_id(north), "--study", one.study_uid, "--share-code", "-", "--wait", "--json",
        "--name", "Somebody^Else", "--birth-date", "19000102", "--sex", "M", stdin=fresh,
    )  # fmt: skip
    assert '"REVIEW"' in conflict.stdout, "conflicting demographics wait for a person"
    (waiting,) = north.run("inbox", "list")["requests"]
    north.run("inbox", "refuse", waiting["request_id"], "--reason", "another person")
    assert lake.run("studies")["studies"] == []
