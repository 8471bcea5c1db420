"""Backups of real daemons: while they run and while they do not, killed at every step, on full disks, tampered with."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.ct import CtStudy, dataset_of
from support.facility import Facility, pair, peer_id, wait_for
from support.tmpfs import filled, tmpfs

from node.app.restore import RestoreOptions, restore
from node.errors.base import LeveretError
from node.errors.vault import RestoreTargetInUse

MakeFacility = Callable[..., Facility]
ROOT = Path(__file__).parents[2]
KILLED = ROOT / "tests" / "support" / "killed.py"
WHO = ("--name", "Testperson^Conny", "--birth-date", "19610203", "--sex", "F")


def with_study(one: Facility, folder: Path, seed: int = 1, **changes: int) -> CtStudy:
    study = CtStudy(instances=changes.get("instances", 4), rows=64, seed=seed, patient_id=f"CT-{seed}")
    study.write(folder / f"media-{seed}")
    one.run("import", str(folder / f"media-{seed}"))
    return study


def bytes_of(one: Facility, study: CtStudy) -> set[str]:
    got = one.retrieve(study.study_uid, one.token())
    return {hashlib.sha256(dataset_of(part)).hexdigest() for part in got}


def wanted(study: CtStudy) -> set[str]:
    return {hashlib.sha256(dataset_of(file)).hexdigest() for file in study.files()}


def elsewhere(one: Facility, parent: Path, name: str = "again") -> Facility:
    """The same node in another directory, with its key file where it was."""
    return Facility(name, parent / name, dict(one.environment))


def restored(source: Path, target: Path, key: str | Path, *, despite_damage: bool = False) -> dict[str, Any]:
    """``leveret restore`` within this process, which is quicker; what it shows."""
    return restore(source, target, RestoreOptions(Path(key), despite_damage=despite_damage), lambda _done, _files: None)


def refusal(source: Path, target: Path, key: str | Path) -> str:
    """The code with which it is refused; no node is left behind."""
    with pytest.raises(LeveretError) as refused:
        restored(source, target, key)
    assert not (target / "leveret.toml").exists()
    assert not list(target.glob("packs/*/*"))
    return refused.value.code


def killed_at(number: int, *arguments: str | Path) -> int:
    """The status of ``leveret`` when it is killed before its n-th change to the filesystem."""
    command = [sys.executable, str(KILLED), str(number), *map(str, arguments)]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin"}
    return subprocess.run(command, capture_output=True, check=False, env=environment, timeout=60).returncode


def test_a_backup_of_a_running_node_holds_what_was_there_and_nothing_that_tells_of_it(
    facility: MakeFacility, tmp_path: Path
) -> None:
    """Images come in and a study is deleted while it is made; the restored node has what it must have, verified."""
    north = facility("north")
    first, second = with_study(north, tmp_path, 1), with_study(north, tmp_path, 2)
    stop = threading.Event()

    def keep_importing() -> None:
        seed = 10
        while not stop.is_set():
            with_study(north, tmp_path, seed, instances=1)
            seed += 1

    importing = threading.Thread(target=keep_importing)
    importing.start()
    try:
        made = [north.run("backup", str(tmp_path / f"{n}.tar")) for n in range(2)]
        north.run("backup", str(tmp_path / "folder"), "--directory", "--link")
        north.run("delete", "--study", second.study_uid, "--reason", "mistake")
        north.run("backup", str(tmp_path / "last.tar"))
    finally:
        stop.set()
        importing.join()
    assert "north.key" in made[0]["secret"]
    key = Path(str(north.directory) + ".key").read_bytes().split()[-1]
    for archive in (tmp_path / "0.tar", tmp_path / "folder" / "keys.json", tmp_path / "folder" / "manifest.json"):
        data = archive.read_bytes()
        for secret in (key, b"Testperson", b"CT-1", first.study_uid.encode()):
            assert secret not in data
    with tarfile.open(tmp_path / "0.tar") as tar:
        names = tar.getnames()
        assert (names[:3], names[-2:]) == (["leveret.toml", "keys.json", "index.db"], ["manifest.json", "manifest.sig"])
        assert all(info.mode == 0o600 and not info.uname for info in tar)
    assert not (north.directory / ".snapshot").exists(), "the snapshot is gone"
    assert [e["type"] for e in north.run("audit", "list", "--type", "backup_made")["events"]] == ["backup_made"] * 4
    north.stop()
    for number, name in enumerate(("0.tar", "folder", "last.tar")):
        document = restored(tmp_path / name, tmp_path / f"again{number}", f"{north.directory}.key")
        assert (document["peer_id"], document["damaged"]) == (made[0]["peer_id"], 0)
        assert document["objects"] == document["instances"] >= 4
    again = Facility("again2", tmp_path / "again2")
    again.start()
    try:
        assert bytes_of(again, first) == wanted(first)
        uids = {s["study_instance_uid"] for s in again.run("studies")["studies"]}
        assert second.study_uid not in uids, "what was deleted before stays deleted"
    finally:
        again.stop()


def test_a_backup_without_the_daemon_and_what_it_refuses(facility: MakeFacility, tmp_path: Path) -> None:
    north = facility("north", serve=False)
    north.start()
    study = with_study(north, tmp_path)
    north.kill()  # what was acknowledged and not indexed yet is in the backup too
    target = tmp_path / "a.tar"
    north.run("backup", str(target))
    assert "[backup_exists]" in north.refused("backup", str(target))
    assert "[backup_failed]" in north.refused("backup", str(north.directory / "mine.tar"))
    assert north.call("backup", str(tmp_path / "b"), "--link").returncode == 2
    again = elsewhere(north, tmp_path)
    key = f"{north.directory}.key"
    again.directory.mkdir()
    (again.directory / "something").write_text("mine")
    assert "[restore_target_in_use]" in again.refused("restore", str(target), "--key-file", key)
    assert [p.name for p in again.directory.iterdir()] == ["something"]
    (again.directory / "something").unlink()
    other = tmp_path / "other.key"
    other.write_text("leveret-key 1\n" + "A" * 43 + "=\n")
    other.chmod(0o600)
    assert refusal(target, again.directory, other) == "wrong_key_file"
    assert refusal(target, again.directory, tmp_path / "none") == "key_file_missing"
    assert refusal(tmp_path / "media-1" / "00001.dcm", again.directory, key) == "backup_unreadable"
    again.run("restore", str(target), "--key-file", key)
    assert f'key_file = "{key}"' in (again.directory / "leveret.toml").read_text()
    with pytest.raises(RestoreTargetInUse):
        restored(target, again.directory, key)
    assert again.run("restore", "--in-place")["codes_void"] == 0, "as often as anybody likes"
    again.start()
    try:
        assert bytes_of(again, study) == wanted(study)
    finally:
        again.stop()


def test_a_backup_that_was_changed_or_cut_is_refused_or_told_of(facility: MakeFacility, tmp_path: Path) -> None:
    north = facility("north")
    with_study(north, tmp_path, 1)
    with_study(north, tmp_path, 2)
    good = tmp_path / "good"
    north.run("backup", str(good), "--directory")
    north.run("backup", str(tmp_path / "good.tar"))
    north.stop()
    key = f"{north.directory}.key"
    packs = sorted(good.glob("packs/*/*.pack"))

    def told(change: Callable[[Path], None]) -> str:
        bad = tmp_path / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        change(bad)
        return refusal(bad, tmp_path / "bad-node", key)

    pack = packs[0].relative_to(good)
    assert told(lambda bad: flipped(bad / pack, 5000)) == "backup_damaged"
    assert told(lambda bad: (bad / pack).unlink()) == "backup_damaged"
    assert told(lambda bad: flipped(bad / "manifest.json", 40)) == "backup_damaged"
    assert told(lambda bad: flipped(bad / "leveret.toml", 3)) == "backup_damaged"
    assert told(lambda bad: (bad / "manifest.sig").unlink()) == "backup_unreadable"
    assert told(lambda bad: flipped(bad / "keys.json", 100)) == "keystore_damaged"

    def foreign(bad: Path) -> None:  # a manifest that fits, signed by nobody who may
        manifest = json.loads((bad / "manifest.json").read_text())
        flipped(bad / pack, 5000)
        for entry in manifest["files"]:
            if entry["path"] == str(pack):
                entry["sha256"] = hashlib.sha256((bad / pack).read_bytes()).hexdigest()
        (bad / "manifest.json").write_text(json.dumps(manifest))

    assert told(foreign) == "backup_damaged"
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        for name in ("leveret.toml", "keys.json"):
            tar.add(good / name, name)
        tar.add(good / "index.db", "../../escaped.db")
    assert refusal(tmp_path / "evil.tar", tmp_path / "evil-node", key) == "backup_damaged"
    assert not (tmp_path / "escaped.db").exists()
    whole = (tmp_path / "good.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    assert refusal(tmp_path / "cut.tar", tmp_path / "evil-node", key) in {"backup_damaged", "backup_unreadable"}
    take_what_is_whole(Facility("evil-node", tmp_path / "evil-node"), good, pack, key)


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def take_what_is_whole(again: Facility, good: Path, pack: Path, key: str) -> None:
    damaged = good.with_name("damaged")
    shutil.copytree(good, damaged)
    flipped(damaged / pack, 5000)
    document = restored(damaged, again.directory, key, despite_damage=True)
    assert document["damaged"] == 1
    assert document["problems"]
    again.start()
    try:
        assert again.run("status")["damaged"] == 1
        assert len(again.run("studies")["studies"]) == 2
    finally:
        again.stop()


@pytest.mark.timeout(180)
def test_killed_at_every_step_of_backup_and_restore(facility: MakeFacility, tmp_path: Path) -> None:
    north = facility("north")
    study = with_study(north, tmp_path)
    north.stop()
    key = f"{north.directory}.key"
    target = tmp_path / "a.tar"
    for number in (2, 5, 9):
        assert killed_at(number, "backup", target, "--data", north.directory) == -signal.SIGKILL, number
        assert not target.exists(), "never under its name before it is whole"
    north.run("backup", str(target))
    folder = tmp_path / "folder"
    killed_at(9, "backup", folder, "--directory", "--data", north.directory)
    assert not folder.exists()
    north.run("backup", str(folder), "--directory")
    again = elsewhere(north, tmp_path)
    restore = ("restore", target, "--key-file", key, "--data", again.directory)
    for number in (2, 5, 9, 13):
        killed_at(number, *restore)
        if (again.directory / "leveret.toml").exists():
            break
    if not (again.directory / "leveret.toml").exists():
        restored(target, again.directory, key)
    again.start()
    try:
        assert bytes_of(again, study) == wanted(study)
        assert again.run("status")["restored"] is not None
    finally:
        again.stop()


def test_full_disks(facility: MakeFacility, tmp_path: Path) -> None:
    """At the backup's end, at the restore's end, and in the data directory itself: refused, nothing left behind."""
    north = facility("north")
    with_study(north, tmp_path, instances=30)
    with tmpfs(tmp_path / "small", 8 * 2**20) as small:
        with filled(small, 300_000):
            for line in (
                north.refused("backup", str(small / "a.tar")),
                north.refused("backup", str(small / "a"), "--directory"),
            ):
                assert "[backup_failed]" in line
            assert [p.name for p in small.iterdir()] == ["ballast"]
        north.run("backup", str(tmp_path / "a.tar"))
        north.stop()
        again = Facility("again", small / "node")
        with filled(small, 300_000):
            line = again.refused("restore", str(tmp_path / "a.tar"), "--key-file", f"{north.directory}.key")
            assert "[directory_unusable]" in line or "[disk_full]" in line
            assert not (again.directory / "leveret.toml").exists()
        assert restored(tmp_path / "a.tar", again.directory, f"{north.directory}.key")["objects"] == 30


def test_a_restored_holder_waits_for_a_person(facility: MakeFacility, tmp_path: Path) -> None:
    """The old share code is void, a request on a directive waits in the inbox, and after a look all goes on."""
    north, lake = facility("north"), facility("lake")
    pair(north, lake)
    study = with_study(north, tmp_path)
    code = north.run("share-code", "create", "--patient-id", study.patient_id, "--uses", "9")["code"]
    north.run(
        "consent", "add", "--patient-id", study.patient_id, "--permit", "--recorded-by", "N", "--study", study.study_uid
    )
    north.run("announce")
    north.run("backup", str(tmp_path / "a.tar"))
    north.stop()
    shutil.rmtree(north.directory)
    document = north.run("restore", str(tmp_path / "a.tar"))
    assert document["codes_void"] == 1
    north.start()
    status = north.run("status")
    assert status["restored"]["codes_void"] == 1
    assert status["restored"]["peers_answered"] in (0, 1)
    assert "restore_not_reviewed" in north.call("doctor").stdout
    wait_for(lambda: lake.run("status")["peers"]["connected"] == 1)
    ask = ("request", "--from", peer_id(north), "--study", study.study_uid, "--wait")
    assert lake.call(*ask, "--share-code", "-", "--json", stdin=code).stdout.count('"share_code_revoked"') == 1
    waiting = json.loads(lake.call(*ask, "--on-file", *WHO, "--json").stdout)
    assert waiting["state"] == "REVIEW"
    (entry,) = north.run("inbox", "list")["requests"]
    assert entry["reasons"] == ["restored"]
    assert north.run("announce")["peers"] == 0
    north.run("inbox", "release", waiting["request_id"])
    wait_for(lambda: lake.run("studies")["studies"])
    north.run("restore", "--confirm-review")
    assert north.run("status")["restored"] is None
    assert "[nothing_to_review]" in north.refused("restore", "--confirm-review")
    done = lake.run(*ask, "--on-file", *WHO)
    assert (done["state"], done["instances"]) == ("COMPLETED", 4)
    assert north.run("announce")["studies"] == 1
    verified = north.run("audit", "verify")
    assert verified["ok"]
    assert len(verified["gaps"]) == 1


def test_a_new_master_key_while_it_runs_and_killed_at_every_step(facility: MakeFacility, tmp_path: Path) -> None:
    north = facility("north")
    study = with_study(north, tmp_path)
    assert north.run("rotate", "master-key")["master_version"] == 2
    assert "[already_running]" in north.refused("rotate", "master-key", "--new-key-file", str(tmp_path / "new.key"))
    assert bytes_of(north, study) == wanted(study)
    north.stop()
    for number in (3, 5):
        killed_at(number, "rotate", "master-key", "--data", north.directory)
    assert north.run("rotate", "master-key")["master_version"] >= 3
    north.run("rotate", "master-key", "--new-key-file", str(tmp_path / "new.key"))
    assert f'key_file = "{tmp_path / "new.key"}"' in (north.directory / "leveret.toml").read_text()
    Path(str(north.directory) + ".key").unlink()
    north.start()
    assert bytes_of(north, study) == wanted(study)
