"""From another facility into the own PACS: requested for a local patient, or linked by hand; by the command line."""

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from support.ct import CtStudy
from support.facility import Facility, pair, peer_id, wait_for
from support.peers import storescp

pytestmark = [pytest.mark.timeout(180), pytest.mark.peers]


def shared(north: Facility, study: CtStudy, media: Path) -> str:
    """A share code for a study that ``north`` holds."""
    study.write(media)
    north.run("import", str(media))
    return str(north.run("share-code", "create", "--patient-id", study.patient_id)["code"])


def test_a_requested_study_reaches_the_pacs_as_the_local_patient(
    facility: Callable[..., Facility], tmp_path: Path
) -> None:
    north, lake = facility("north"), facility("lake", "--issuer", "LAKE")
    pair(north, lake)
    there = CtStudy(instances=6)
    here = CtStudy(instances=1, seed=8, patient_id="L-1", patient_name=there.patient_name)
    code = shared(north, there, tmp_path / "there")
    here.write(tmp_path / "here")
    lake.run("import", str(tmp_path / "here"))
    ask = ("request", "--from", peer_id(north), "--study", there.study_uid, "--share-code", "-", "--deliver", "pacs")
    who = ("--patient-id", "L-1", "--wait")
    assert "[unknown_pacs]" in lake.refused(*ask, *who, stdin=code)
    with storescp(tmp_path / "pacs", "--aetitle", "PACS", "--accept-all") as port:
        lake.run("pacs", "add", "pacs", "--ae", "PACS", "--host", "127.0.0.1", "--port", str(port))
        assert lake.call(*ask).returncode == 2, "whose study it becomes is to be said"
        done = lake.run(*ask, "--accession", "A-9", *who, stdin=code)
        (delivery,) = done["deliveries"]
        assert (delivery["state"], delivery["sent"], delivery["patient_id"]) == ("COMPLETED", 6, "L-1")
    files = list((tmp_path / "pacs").iterdir())
    assert len(files) == 6
    found = pydicom.dcmread(files[0])
    assert (found.PatientID, found.IssuerOfPatientID, found.AccessionNumber) == ("L-1", "LAKE", "A-9")
    assert found.OtherPatientIDsSequence[0].PatientID == there.patient_id
    (link,) = lake.run("link", "--list")["links"]
    assert (link["patient_id"], link["origin_patient_id"]) == ("L-1", there.patient_id)
    (event,) = [e for e in lake.run("audit", "list")["events"] if e["type"] == "study_linked"]
    assert event["detail"]["basis"] == "request"


def test_what_is_not_confirmed_waits_until_it_is_linked_by_hand(
    facility: Callable[..., Facility], tmp_path: Path
) -> None:
    north, lake = facility("north"), facility("lake", "--issuer", "LAKE")
    pair(north, lake)
    there = CtStudy(instances=3)
    code = shared(north, there, tmp_path / "there")
    with storescp(tmp_path / "pacs", "--aetitle", "PACS", "--prefer-lossless") as port:
        lake.run("pacs", "add", "pacs", "--ae", "PACS", "--host", "127.0.0.1", "--port", str(port))
        ask = ("request", "--from", peer_id(north), "--study", there.study_uid, "--share-code", "-", "--wait")
        lake.run(*ask, stdin=code)
        send = ("send", "--study", there.study_uid, "--to", "pacs")
        assert "[study_not_linked]" in lake.refused(*send)
        link = ("link", "--study", there.study_uid, "--patient-id", "L-1")
        wrong = ("--name", "Somebody^Else", "--birth-date", "1950-01-01", "--sex", "M")
        assert "(birth date, name, sex)" in lake.refused(*link, *wrong)
        linked = lake.call(*link)
        assert f"known as {there.patient_id} where it came from, is L-1 here" in linked.stdout
        shown = lake.call(*send)
        assert "COMPLETED: 3 of 3 instances taken by pacs" in shown.stdout, shown.stdout + shown.stderr
        lake.run("link", "--study", there.study_uid, "--remove")
        assert "[study_not_linked]" in lake.refused(*send)
        assert "[own_study]" in north.refused(*link)
    assert {pydicom.dcmread(path).PatientID for path in (tmp_path / "pacs").iterdir()} == {"L-1"}
    (listed,) = lake.run("send", "--list")["deliveries"]
    assert (listed["state"], listed["sent"]) == ("COMPLETED", 3)
    assert lake.run("status")["deliveries"] == {"suspended": 0, "unlinked": 0}
    north.run("pacs", "add", "gone", "--ae", "PACS", "--host", "127.0.0.1", "--port", str(port))
    north.run("send", "--study", there.study_uid, "--to", "gone", "--no-wait")
    wait_for(lambda: north.run("status")["deliveries"]["suspended"] == 1)
    assert "1 wait for a PACS, 0 to be linked" in north.call("status").stdout
