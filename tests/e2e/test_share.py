"""The main job by hand: import, pair, share code, priors, request, retrieve; then a search of the disks."""

import mmap
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from support.ct import CtStudy, dataset_of
from support.facility import Facility, pair, peer_id, wait_for

pytestmark = pytest.mark.timeout(180)
WHO = ("--name", "Testperson^Conny", "--birth-date", "19610203", "--sex", "F")


def priors_at(asker: Facility, holder: Facility) -> list[dict[str, object]]:
    found = asker.run("priors", *WHO)
    return [s for p in found["peers"] if p["peer_id"] == peer_id(holder) for s in p["studies"]]


def test_two_facilities_share_a_study(facility: Callable[..., Facility], tmp_path: Path) -> None:
    north, lake = facility("north"), facility("lake")
    study = CtStudy(instances=12)
    media = tmp_path / "media"
    files = study.write(media)
    assert north.run("import", str(media)) == {
        "stored": 12, "same": 0, "quarantined": 0, "refused": 0, "studies": [study.study_uid]
    }  # fmt: skip
    assert north.run("import", str(media))["same"] == 12

    pair(north, lake)
    phrases = {f.name: [p["safety_phrase"] for p in f.run("peers", "list")["peers"]] for f in (north, lake)}
    assert phrases["north"] == phrases["lake"]

    code = north.run("share-code", "create", "--patient-id", study.patient_id, "--expires", "30d", "--uses", "1")
    north.run("announce")
    (prior,) = wait_for(lambda: priors_at(lake, north))
    assert prior["match"] == "candidate"
    assert prior["modalities"] == ["CT"]
    assert prior["instances"] == 12
    assert prior["study_instance_uid"] is None, "not told before consent"
    assert prior["description"] is None
    assert prior["held"] is False
    assert f"\n{prior['year']} " in lake.call("priors", *WHO).stdout, "people see at least the year"
    assert lake.call("announce").stdout.startswith("Nothing was pending")
    nobody = ("--name", "Unknown^Unknown", "--birth-date", "19000101", "--sex", "F")
    assert "[patient_not_searchable]" in lake.call("priors", *nobody).stdout

    ask = ("request", "--from", peer_id(north), "--study", str(prior["ref"]), "--share-code", "-", *WHO, "--wait")
    done = lake.run(*ask, stdin=code["code"])
    assert done["state"] == "COMPLETED", done
    assert done["instances"] == 12
    assert done["bytes"] == sum(len(dataset_of(f.read_bytes())) for f in files)

    (received,) = lake.run("studies")["studies"]
    assert received["study_instance_uid"] == study.study_uid
    assert received["origin"] == peer_id(north)
    assert received["issuer_of_patient_id"] == north.run("studies")["studies"][0]["issuer_of_patient_id"]
    arrived = lake.retrieve(study.study_uid, lake.token())
    assert {dataset_of(p) for p in arrived} == {dataset_of(f.read_bytes()) for f in files}

    again = lake.call(*ask, "--json", stdin=code["code"])
    assert again.returncode == 1
    assert '"REFUSED"' in again.stdout
    assert again.stderr.startswith("This share code was used as often as it may be."), "also where JSON is wanted"
    assert lake.refused(*ask, stdin=code["code"]).endswith("[share_code_used]")
    for one in (north, lake):
        assert one.run("audit", "verify")["ok"]
        one.stop()
        clear = list(in_clear(one.directory, secrets(files, study)))
        assert not clear
        assert one.run("audit", "verify")["ok"], "also without the daemon"


def secrets(files: Iterable[Path], study: CtStudy) -> set[bytes]:
    """Name, id, birth date with name, UIDs, and runs of 64 bytes of pixels."""
    found = {
        study.patient_id.encode(),
        b"Testperson",
        b"TESTPERSON",
        study.study_uid.encode(),
        study.series_uid.encode(),
    }
    for number, file in enumerate(files, 1):
        found.add(study.sop_uid(number).encode())
        pixels = dataset_of(file.read_bytes())[-400_000:]
        found |= {pixels[i : i + 64] for i in range(0, len(pixels) - 64, 50_000)}
    return found


def in_clear(directory: Path, wanted: set[bytes]) -> Iterable[str]:
    for file in directory.rglob("*"):
        name = str(file.relative_to(directory)).encode()
        yield from (f"name {file}" for secret in wanted if secret in name)
        if not file.is_file() or not file.stat().st_size:
            continue
        with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield from (f"{file}: {secret[:20]!r}" for secret in wanted if content.find(secret) >= 0)


def test_nothing_is_in_clear_while_it_works(facility: Callable[..., Facility], tmp_path: Path) -> None:
    """The same search in mid-flight: WAL, temporary files and packs of a killed node."""
    north = facility("north")
    study = CtStudy(instances=30, seed=7)
    files = study.write(tmp_path / "media")
    north.run("import", str(tmp_path / "media"))
    wanted = secrets(files, study)
    assert list(in_clear(tmp_path / "media", wanted)), "the search itself finds what is there"
    assert not list(in_clear(north.directory, wanted))
    north.kill()
    assert not list(in_clear(north.directory, wanted))
    assert not list(in_clear(north.log_file.parent / "none", wanted))
    assert not [s for s in wanted if s in north.log_file.read_bytes()]
