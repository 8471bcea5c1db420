"""The command line as scripts meet it: exit statuses, one line on stderr with a code, JSON as promised."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from support.ct import CtStudy
from support.facility import LEVERET, Facility, wait_for

from node.cli.root import FAILED, run

pytestmark = pytest.mark.timeout(120)
MakeFacility = Callable[..., Facility]
Kept = Callable[[Facility], str]


@pytest.fixture
def facility(tmp_path: Path) -> Iterator[MakeFacility]:
    made: list[Facility] = []

    def make(name: str = "north", *options: str, serve: bool = True, **environment: str) -> Facility:
        made.append(Facility.create(name, tmp_path, *options, **environment))
        if serve:
            made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def kept_from_serving(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Kept:
    """The line that ``leveret serve`` ends with, run in this process: a new one spends a second on imports."""

    def ask(facility: Facility) -> str:
        with monkeypatch.context() as patch:
            for name, value in facility.environ().items():
                patch.setenv(name, value)
            assert run(["serve", "--data", str(facility.directory)]) == FAILED
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    return ask


def code_of(line: str) -> str:
    found = re.search(r"\[([a-z_]+)\]$", line)
    assert found, line
    return found[1]


def plain(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    base = {k: v for k, v in os.environ.items() if not k.startswith("LEVERET_")}
    return subprocess.run(
        [LEVERET, *arguments], capture_output=True, text=True, check=False, env={**base, **environment}, timeout=60
    )


def test_wrong_use_is_2(tmp_path: Path) -> None:
    for arguments in (
        ["nonsense"],
        ["status"],  # no --data
        ["init", "--data", str(tmp_path / "n")],  # no --name
        ["peers", "policy", "x", "nonsense", "--data", str(tmp_path)],
        ["priors", "--name", "A^B", "--data", str(tmp_path)],
        ["share-code", "create", "--patient-id", "1", "--expires", "soon", "--data", str(tmp_path)],
        ["users", "add", "x", "--role", "god", "--data", str(tmp_path)],
        ["consent", "add", "--patient-id", "1", "--data", str(tmp_path)],
        ["consent", "add", "--patient-id", "1", "--permit", "--deny", "--data", str(tmp_path)],
        ["consent", "emergencies", "review", "x", "--note=n", "--justified", "--unjustified", "--data", str(tmp_path)],
        ["audit", "list", "--type", "nonsense", "--data", str(tmp_path)],
        ["init", "--name", "n", "--key-file", "k", "--passphrase-file", "/dev/null", "--data", str(tmp_path / "n")],
    ):
        done = plain(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert done.stdout == ""
    assert not (tmp_path / "n").exists()


def test_help_and_version() -> None:
    assert plain("--version").stdout.startswith("leveret, version")
    for arguments in ([], ["peers"], ["request"]):
        done = plain(*arguments, "--help")
        assert done.returncode == 0
        assert "Usage:" in done.stdout


def test_every_command_of_the_contract_is_there() -> None:
    listed = plain("--help").stdout
    for name in ("backup", "restore", "rotate", "epoch", "bench", "doctor"):
        assert re.search(rf"^  {name}\b", listed, re.MULTILINE), name
        assert plain(name, "--help").returncode == 0


def test_no_node_and_no_daemon(tmp_path: Path, facility: MakeFacility) -> None:
    for arguments in (["status"], ["serve"], ["import", str(tmp_path)], ["audit", "verify"], ["peers", "list"]):
        done = plain(*arguments, "--data", str(tmp_path / "nothing"))
        assert (done.returncode, code_of(done.stderr.strip())) == (1, "not_initialised"), arguments
    north = facility(serve=False)
    for line in (north.refused("status"), north.refused("import", str(tmp_path)), north.refused("studies")):
        assert code_of(line) == "not_running"
    assert north.run("audit", "verify") == {
        "ok": True, "size": 0, "root": north.run("audit", "verify")["root"], "cosigned_by": [], "cosigned": [],
        "checkpoints": 0, "problems": [], "incarnation": 1, "base": 0, "gaps": [],
    }  # fmt: skip


def test_init_twice_and_serve_twice(facility: MakeFacility) -> None:
    north = facility()
    assert code_of(north.refused("init", "--name", "again")) in {"already_initialised", "already_running"}
    assert code_of(north.refused("serve")) == "already_running"
    assert north.run("status")["name"] == "north"


def test_wrong_secrets(tmp_path: Path, facility: MakeFacility, kept_from_serving: Kept) -> None:
    north, other = facility(serve=False), facility("other", serve=False)
    north.environment = {"LEVERET_NODE_KEY_FILE": f"{other.directory}.key"}
    assert code_of(kept_from_serving(north)) == "wrong_key_file"
    north.environment = {"LEVERET_NODE_KEY_FILE": "/nonexistent"}
    assert code_of(kept_from_serving(north)) == "key_file_missing"
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("four random words\n")
    wrong.write_text("three random words\n")
    third = facility("third", "--passphrase-file", str(right), serve=False, LEVERET_NODE_PASSPHRASE_FILE=str(wrong))
    assert code_of(kept_from_serving(third)) == "wrong_passphrase"
    third.environment = {}
    third.start()
    assert "four random words" not in third.log_file.read_text()


def test_port_in_use(facility: MakeFacility, kept_from_serving: Kept) -> None:
    north = facility(serve=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for which in ("PEER", "API", "DICOM"):
            north.environment = {f"LEVERET_{which}_LISTEN": address}
            line = kept_from_serving(north)
            assert code_of(line) == "port_in_use"
            assert address in line
    north.environment = {"LEVERET_PEER_LISTEN": "192.0.2.1:8443"}  # RFC 5737: nobody's
    line = kept_from_serving(north)
    assert code_of(line) == "address_unavailable", "no other program is to blame"
    assert "(192.0.2.1:8443: cannot assign requested address)" in line


def test_bad_settings(facility: MakeFacility, kept_from_serving: Kept) -> None:
    north = facility(serve=False)
    config = north.directory / "leveret.toml"
    good = config.read_text()
    for text, code in (
        (good + "\n[nods]\nname = 'x'\n", "invalid_config"),
        (good.replace("[api]\nlisten", "[api]\nlistn"), "invalid_config"),
        (good + "[", "invalid_config"),
        (good + "\n[log]\nlevel = 'LOUD'\n", "invalid_config"),
        (good.replace("[api]", '[api]\npublic_url = "http://images.example"'), "api_needs_tls"),
        (good.replace("[api]", '[api]\ntls_key = "key.pem"'), "api_tls_unusable"),
        (good.replace('[peer]\nlisten = "127.0.0.1:0"', '[peer]\nlisten = "nowhere"'), "invalid_address"),
    ):
        config.write_text(text)
        assert code_of(kept_from_serving(north)) == code, text
    config.write_text(good.replace("[api]\nlisten", "[api]\nlistn"))
    assert "did you mean 'listen'" in kept_from_serving(north)


def test_init_refuses_what_serve_would(tmp_path: Path) -> None:
    arguments = ["init", "--name", "n", "--api-listen", "here", "--data", str(tmp_path / "n")]
    done = plain(*arguments)
    assert (done.returncode, code_of(done.stderr.strip())) == (1, "invalid_address")
    assert not list(tmp_path.iterdir()), "nothing was made"


def test_damaged_and_newer_directories(facility: MakeFacility) -> None:
    north = facility(serve=False)
    index = north.directory / "index.db"
    good = index.read_bytes()
    index.write_bytes(os.urandom(len(good)))
    assert code_of(north.refused("serve")) == "index_unreadable"
    index.unlink()
    sqlite3.connect(index).execute("CREATE TABLE t (x)").connection.close()
    assert code_of(north.refused("serve")) == "index_unreadable", "an index in clear is nobody's"
    index.unlink()
    assert code_of(north.refused("serve")) == "index_missing", "an empty node would look as if all were well"
    assert code_of(north.refused("audit", "verify")) == "index_missing"
    assert not index.exists()
    index.write_bytes(good)
    keys = north.directory / "keys.json"
    newer = json.loads(keys.read_text())
    newer["version"] = 99
    before = keys.read_text()
    keys.write_text(json.dumps(newer))
    assert code_of(north.refused("serve")) == "keystore_newer"
    keys.write_text(before.replace('"checksum": "', '"checksum": "x'))
    assert code_of(north.refused("serve")) == "keystore_damaged"
    keys.write_text(before)
    north.start()


def test_import_names_what_it_refuses(tmp_path: Path, facility: MakeFacility) -> None:
    north = facility()
    study = CtStudy(instances=3, rows=16)
    files = study.write(tmp_path / "cd")
    (tmp_path / "cd" / "notes.txt").write_text("nothing here")
    (tmp_path / "cd" / "cut.dcm").write_bytes(files[0].read_bytes()[:700])
    (tmp_path / "cd" / "bare.dcm").write_bytes(files[0].read_bytes()[132:])
    done = north.call("import", str(tmp_path / "cd"), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "stored": 3, "same": 0, "quarantined": 0, "refused": 3, "studies": [study.study_uid]
    }  # fmt: skip
    refused = dict(line.rsplit(": ", 1) for line in done.stderr.strip().splitlines() if "[" in line)
    assert len(done.stderr.strip().splitlines()) == 3, done.stderr
    assert {Path(name.split(": ")[0]).name for name in refused} == {"notes.txt", "cut.dcm", "bare.dcm"}
    with zipfile.ZipFile(tmp_path / "media.zip", "w") as archive:
        archive.write(files[0], "IMAGES/1")
    changed = bytearray(files[1].read_bytes())
    changed[-1] ^= 1
    (tmp_path / "changed.dcm").write_bytes(changed)
    done = north.call("import", str(tmp_path / "media.zip"), str(tmp_path / "changed.dcm"), "--json")
    again = json.loads(done.stdout)
    assert (again["same"], again["quarantined"]) == (1, 1)
    assert done.stderr == f"{tmp_path / 'changed.dcm'}: put in quarantine\n"
    assert code_of(north.refused("import", str(tmp_path / "typo"))) == "unreadable_source"
    (listed,) = north.run("studies")["studies"]
    assert (listed["instances"], listed["revision"], listed["origin"]) == (3, 1, None)
    assert "3 stored" not in north.call("import", str(tmp_path / "cd")).stdout
    assert north.run("status")["quarantined"] == 1


def test_documents_have_their_shape(facility: MakeFacility) -> None:
    north = facility("north", "--issuer", "NORD")
    identity = north.run("id")
    assert set(identity) == {"peer_id", "name", "fingerprint"}
    status = north.run("status")
    assert {"peer_id", "name", "studies", "instances", "bytes", "peers"} <= set(status)
    assert set(status["peers"]) >= {"trusted", "connected"}
    assert not any(address.endswith(":0") for address in status["listen"].values())
    assert north.run("peers", "list") == {"peers": []}
    assert north.run("transfers", "list") == {"transfers": []}
    assert north.run("inbox", "list") == {"requests": []}
    assert north.run("studies") == {"studies": []}
    assert north.run("share-code", "list") == {"share_codes": []}
    assert set(north.run("audit", "verify")) >= {"ok", "size", "root", "cosigned_by"}
    assert code_of(north.refused("transfers", "show", "x")) == "no_such_transfer"
    assert code_of(north.refused("inbox", "release", "0" * 32)) == "no_such_request"
    assert code_of(north.refused("peers", "confirm", "nobody")) == "unknown_peer"
    assert code_of(north.refused("peers", "join", "-----BEGIN nonsense")) == "invitation_damaged"
    assert code_of(north.refused("share-code", "create", "--patient-id", "nobody")) == "nothing_to_share"


def test_people_get_words(tmp_path: Path, facility: MakeFacility) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text("four random words\n")
    made = Facility("secret", tmp_path / "secret").call("init", "--name", "secret", "--passphrase-file", str(phrase))
    assert "Keep the passphrase safe" in made.stdout
    north = facility()
    study = CtStudy(instances=1, rows=16, patient_name="\x1b[31mRed^Robin")
    study.write(tmp_path / "cd")
    assert north.call("import", str(tmp_path / "cd")).stdout == "1 stored, 0 held already; 1 study.\n"
    listed = north.call("studies").stdout
    assert "2025-01-15" in listed
    assert "\x1b" not in listed, "a patient's name must not move the cursor"
    for arguments in (["status"], ["id"], ["peers", "list"], ["inbox", "list"], ["users", "list"], ["audit", "list"]):
        done = north.call(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_who_waits_is_told_the_end_whatever_it_is(facility: MakeFacility) -> None:
    """`request --wait --json` is one JSON document and one line on stderr, also where nothing was asked of anybody."""
    north = facility()
    asked = ("request", "--from", "nobody", "--study", "1.2.3", "--share-code", "x", "--wait", "--json")
    for arguments, code in ((asked, "unknown_peer"), ((*asked, "--patient-id", "NOBODY"), "unknown_peer")):
        done = north.call(*arguments)
        document = json.loads(done.stdout)
        assert (done.returncode, document["state"], document["code"]) == (1, "FAILED", code)
        assert code_of(done.stderr.strip()) == code
    north.stop()
    document = json.loads(north.call(*asked).stdout)
    assert (document["state"], document["code"], document["request_id"]) == ("FAILED", "not_running", None)


def test_users_over_the_command_line(facility: MakeFacility, tmp_path: Path) -> None:
    north = facility()
    password = tmp_path / "password"
    password.write_text("correct horse battery staple\n")
    north.run("users", "add", "anna", "--role", "clinician")
    north.run("users", "password", "anna", "--password-file", str(password))
    password.write_text("short\n")
    assert code_of(north.refused("users", "password", "anna", "--password-file", str(password))) == "weak_password"
    made = north.run("users", "token", "anna", "--scope", "read", "--scope", "images", "--label", "viewer")
    (shown,) = north.run("users", "tokens", "anna")["tokens"]
    assert (shown["token_id"], shown["label"], shown["scopes"]) == (made["token_id"], "viewer", ["images", "read"])
    assert "viewer" in north.call("users", "tokens", "anna").stdout
    north.run("users", "revoke", "anna", made["token_id"])
    assert code_of(north.refused("users", "revoke", "anna", made["token_id"])) == "unknown_token"
    north.run("users", "disable", "anna")
    assert north.run("users", "enable", "anna")["disabled_at"] is None


def test_callers_on_the_socket(facility: MakeFacility, tmp_path: Path) -> None:
    """The operating system's user is an operator; --as is that user, with that user's role."""
    north = facility()
    password = tmp_path / "password"
    password.write_text("correct horse battery staple\n")
    for name, role in (("anna", "clinician"), ("otto", "auditor")):
        north.run("users", "add", name, "--role", role, "--password-file", str(password))
    assert north.run("studies", "--as", "anna") == {"studies": []}
    assert code_of(north.refused("studies", "--as", "otto")) == "forbidden"
    assert code_of(north.refused("users", "list", "--as", "anna")) == "forbidden"
    assert code_of(north.refused("studies", "--as", "nobody")) == "unknown_user"
    north.run("users", "disable", "anna")
    assert code_of(north.refused("studies", "--as", "anna")) == "forbidden"
    assert code_of(north.refused("users", "token", "anna")) == "user_disabled"
    assert code_of(north.refused("users", "add", "anna", "--role", "auditor")) == "user_exists"
    actors = {e["actor"] for e in north.run("audit", "list")["events"] if e["type"] == "user_changed"}
    assert actors == {f"os:{os.geteuid()}"}
    assert (north.directory / "admin.sock").stat().st_mode & 0o777 == 0o600


def test_data_by_environment_and_deep_directories(tmp_path: Path) -> None:
    """A Unix socket's path has 108 bytes at most; a data directory may lie deeper."""
    deep = tmp_path.joinpath(*["a-rather-long-name-of-a-directory"] * 5)
    north = Facility("n", deep / "n")
    listen = ("--peer-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--dicom-listen", "127.0.0.1:0")
    north.run("init", "--name", "n", *listen)
    north.start()
    try:
        done = plain("status", "--json", LEVERET_DATA=str(north.directory))
        assert json.loads(done.stdout)["name"] == "n"
    finally:
        north.stop()


def test_doctor(facility: MakeFacility) -> None:
    north = facility(serve=False)
    assert north.run("doctor") == {
        "running": False,
        "checks": [{"check": c, "ok": True, "problem": ""} for c in ("disk", "clock", "ports", "keys", "log")],
    }
    north.environment = {"LEVERET_STORE_RESERVE": str(2**60), "LEVERET_NODE_KEY_FILE": "/nonexistent"}
    done = north.call("doctor", "--json")
    assert done.returncode == 1
    problems = {c["check"]: code_of(c["problem"]) for c in json.loads(done.stdout)["checks"] if not c["ok"]}
    assert problems == {"disk": "disk_full", "keys": "key_file_missing"}
    north.environment = {}
    north.start()
    assert north.run("doctor")["running"] is True
    assert "ok  log" in north.call("doctor").stdout


def test_stop_and_start_again(tmp_path: Path, facility: MakeFacility) -> None:
    """SIGTERM ends it cleanly, SIGKILL leaves nothing that keeps it from starting, no worker outlives it."""
    north = facility()
    CtStudy(instances=2, rows=16).write(tmp_path / "cd")
    deflated = get_testdata_file("image_dfl.dcm")  # more than a glance takes: a worker reads it
    north.run("import", str(tmp_path / "cd"), str(deflated))
    assert north.process is not None
    workers = Path(f"/proc/{north.process.pid}/task/{north.process.pid}/children").read_text().split()
    assert workers
    north.stop()
    assert not (north.directory / "admin.sock").exists()
    assert '"stopped"' in north.log_file.read_text()
    north.start()
    north.kill()
    north.start()
    assert north.run("status")["instances"] == 3
    assert north.run("audit", "verify")["ok"]
    wait_for(lambda: not any(Path(f"/proc/{worker}/stat").exists() for worker in workers))
    north.process.send_signal(signal.SIGINT)
    assert north.process.wait(15) == 0
    north.process = None


def test_log_lines_are_json_without_patients(tmp_path: Path, facility: MakeFacility) -> None:
    north = facility()
    study = CtStudy(instances=1, rows=16)
    study.write(tmp_path / "cd")
    north.run("import", str(tmp_path / "cd"))
    north.run("studies", "--patient-id", study.patient_id)
    lines = [line for line in north.log_file.read_text().splitlines() if not line.startswith("---")]
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    ready = next(e for e in events if e["event"] == "ready")
    assert all(f"{name}={address}" in ready["address"] for name, address in north.run("status")["listen"].items())
    text = north.log_file.read_text()
    for secret in (study.patient_id, study.study_uid, "Testperson"):
        assert secret not in text
