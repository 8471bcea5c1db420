"""What is wrong is withdrawn by hand, by a rejection note from a PACS, or corrected; through the command line.

Commands run in this process against daemons of their own: a new process for each would spend a second on imports.
"""

import json
import shutil
import subprocess
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.ct import CtStudy
from support.facility import Facility, pair, peer_id, wait_for
from support.rejection import SAFETY, note

from node.cli.root import run

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # a command's connection ends with its process
]
STUDY = CtStudy(instances=4, rows=32)
OTHER = CtStudy(instances=2, rows=32, seed=2, patient_id="CT-0002", patient_name="Other^Olga", sex="M")
WHO = ("--name", "Testperson^Conny", "--birth-date", "19610203", "--sex", "F")
MakeFacility = Callable[..., Facility]
Say = Callable[..., str]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a command that must succeed; what it prints."""

    def call(facility: Facility, *arguments: str) -> str:
        status = run([*arguments, "--data", str(facility.directory)])
        out, err = capsys.readouterr()
        assert status == 0, err
        return out

    return call


@pytest.fixture
def tell(say: Say) -> Callable[..., Any]:
    """Runs a command that must succeed; its JSON document."""
    return lambda facility, *arguments: json.loads(say(facility, *arguments, "--json"))


def held(document: Any) -> dict[str, int]:
    return {s["study_instance_uid"]: s["instances"] for s in document["studies"]}


def status_of(facility: Facility, path: str, token: str, accept: str = "application/dicom+json") -> int:
    try:
        facility.get(path, token, accept)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def test_withdrawn_by_hand_across_a_restart_of_the_recipient(
    facility: MakeFacility, say: Say, tell: Callable[..., Any], tmp_path: Path
) -> None:
    north, lake = facility("north"), facility("lake")
    STUDY.write(tmp_path / "media")
    north.run("import", str(tmp_path / "media"))
    pair(north, lake)
    code = tell(north, "share-code", "create", "--patient-id", STUDY.patient_id)["code"]
    ask = ("request", "--from", peer_id(north), "--study", STUDY.study_uid, "--share-code", code, *WHO, "--wait")
    assert tell(lake, *ask)["state"] == "COMPLETED"
    token = lake.token()
    lake.kill()
    done = tell(north, "withdraw", "--study", STUDY.study_uid, "--reason", "images of another patient")
    assert (done["instances"], done["recipients"][0]["state"]) == (4, "QUEUED")
    assert held(tell(north, "studies")) == {}
    assert "1 still to tell" in say(north, "status")
    lake.start()

    def acknowledged() -> list[Any]:
        (withdrawal,) = tell(north, "withdrawals", "list", "--study", STUDY.study_uid)["withdrawals"]
        return [r for r in withdrawal["recipients"] if r["state"] == "ACKNOWLEDGED"]

    (recipient,) = wait_for(acknowledged)
    assert (recipient["peer_id"], recipient["outcome"]) == (peer_id(lake), "done")
    assert "acknowledged" in say(north, "withdrawals", "list")
    assert held(tell(lake, "studies")) == {}
    study = f"/dicom-web/studies/{STUDY.study_uid}"
    for path in (f"{study}/metadata", f"{study}/series/{STUDY.series_uid}/metadata"):
        assert status_of(lake, path, token) == 410
    assert status_of(lake, study, token, 'multipart/related; type="application/dicom"; transfer-syntax=*') == 410
    assert status_of(lake, "/dicom-web/studies/1.2.3/metadata", token) == 404
    (gone,) = tell(lake, "studies", "--withdrawn")["studies"]
    assert (gone["words"], gone["reason"], gone["origin"]) == (
        "images of another patient", "retracted", peer_id(north)
    )  # fmt: skip
    assert "images of another patient" in say(lake, "studies", "--withdrawn")
    assert "images of another patient" in say(lake, "withdrawals", "received")
    assert "1 from other facilities" in say(lake, "status")
    assert north.refused("withdraw", "--study", STUDY.study_uid, "--reason", "again").endswith("[unknown_study]")
    assert north.run("import", str(tmp_path / "media"))["same"] == 4
    assert held(tell(north, "studies")) == {}
    for one in (north, lake):
        assert tell(one, "audit", "verify")["ok"]


@pytest.fixture
def sender(facility: MakeFacility, tmp_path: Path) -> tuple[Facility, Callable[..., None]]:
    """A node that holds both studies, and dcmtk's storescu to send to it."""
    if shutil.which("storescu") is None:
        pytest.skip("dcmtk is not installed")
    north = facility("north")
    host, port = north.listen("dicom")

    def send(data: bytes, *options: str) -> None:
        path = tmp_path / "sent.dcm"
        path.write_bytes(data)
        arguments = ["storescu", *options, "--call", "LEVERET", host, str(port), str(path)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    send(note(OTHER, [2]))  # before its objects
    for study in (STUDY, OTHER):
        study.write(tmp_path / "media" / study.patient_id)
    north.run("import", str(tmp_path / "media"))
    return north, send


@pytest.mark.peers
def test_rejection_notes_by_c_store(
    sender: tuple[Facility, Callable[..., None]], tell: Callable[..., Any], say: Say
) -> None:
    north, send = sender
    assert held(tell(north, "studies")) == {STUDY.study_uid: 4, OTHER.study_uid: 1}
    send(note(STUDY, [1], SAFETY))
    assert held(tell(north, "studies"))[STUDY.study_uid] == 3
    send(next(STUDY.files()))  # a resend is answered with success, and stays hidden
    assert held(tell(north, "studies"))[STUDY.study_uid] == 3
    instance = f"/dicom-web/studies/{STUDY.study_uid}/series/{STUDY.series_uid}/instances/{STUDY.sop_uid(1)}"
    assert status_of(north, f"{instance}/metadata", north.token()) == 410
    history = tell(north, "studies", "--study", STUDY.study_uid)
    assert history["hidden"] == {"rejected_safety": 1, "rejection_note": 1}
    assert [(r["revision"], r["cause"], r["instances"]) for r in history["revisions"]] == [
        (2, "rejection", 3), (1, "instances", 4)
    ]  # fmt: skip
    assert "rejected_safety" in say(north, "studies", "--study", STUDY.study_uid)


@pytest.mark.peers
def test_a_contradiction_and_a_correction(
    sender: tuple[Facility, Callable[..., None]], tell: Callable[..., Any], say: Say
) -> None:
    north, send = sender
    _, first, second, _ = replace(STUDY, smooth=True).files()
    send(first, "--aetitle", "CT_ROOM_2")
    send(second)
    discarded, aside = tell(north, "quarantine", "list")["quarantine"]
    assert aside["reason"] == "content_differs"
    assert aside["source"] == "c-store CT_ROOM_2@127.0.0.1"
    assert "2 in quarantine" in say(north, "status")
    assert "CT_ROOM_2" in say(north, "quarantine", "list")
    assert "replaces what is held" in say(north, "quarantine", "inspect", str(aside["number"]))
    assert tell(north, "quarantine", "accept", str(aside["number"]))["study_instance_uid"] == STUDY.study_uid
    say(north, "quarantine", "discard", str(discarded["number"]))
    assert tell(north, "quarantine", "list")["quarantine"] == []
    assert run(["quarantine", "inspect", str(aside["number"]), "--data", str(north.directory)]) == 1
    say(north, "quarantine", "list")

    changes = ("--set", "name=Neu^Nora", "--set", "id=N-1")
    done = tell(north, "patient", "correct", "--patient-id", STUDY.patient_id, *changes)
    assert done["studies"] == [STUDY.study_uid]
    (study,) = tell(north, "studies", "--patient-id", "N-1")["studies"]
    assert (study["patient_name"], study["instances"]) == ("Neu^Nora", 4)
    told = json.loads(north.get(f"/dicom-web/studies/{STUDY.study_uid}/metadata", north.token())[1])
    assert {i["00100010"]["Value"][0]["Alphabetic"] for i in told} == {"Neu^Nora"}
    (before,) = told[0]["04000561"]["Value"][0]["04000550"]["Value"]
    assert before["00100020"]["Value"] == [STUDY.patient_id]
    say(north, "patient", "merge", "--from", OTHER.patient_id, "--into", "N-1")
    assert len(tell(north, "studies", "--patient-id", "N-1")["studies"]) == 2
    merge = tell(north, "patient", "corrections")["corrections"][0]["correction_id"]
    assert merge in say(north, "patient", "corrections")
    say(north, "patient", "undo", merge)
    assert len(tell(north, "studies", "--patient-id", "N-1")["studies"]) == 1
    say(north, "patient", "move-study", "--study", OTHER.study_uid, "--into", "N-1")
    assert len(tell(north, "studies", "--patient-id", "N-1")["studies"]) == 2
    causes = [r["cause"] for r in tell(north, "studies", "--study", STUDY.study_uid)["revisions"]]
    assert causes == ["correction", "replacement", "instances"]
    assert tell(north, "audit", "verify")["ok"]
