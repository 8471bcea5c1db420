"""`init`: a node is made whole or not at all, and its settings read back as given."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.app.keys import open_keys
from node.app.lock import exclusive
from node.app.setup import NewNode, initialise, quoted
from node.config import load
from node.errors.base import LeveretError
from node.errors.crypto_keys import KeyFileMissing, PassphraseUnusable, WrongKeyFile, WrongPassphrase
from node.errors.setup import AlreadyInitialised, AlreadyRunning, InvalidConfig, NotInitialised
from node.errors.trust import InvalidAddress


@given(st.text().filter(lambda t: not any(0xD800 <= ord(c) < 0xE000 for c in t)))
def test_any_text_survives_toml(text: str) -> None:
    assert tomllib.loads(f"x = {quoted(text)}") == {"x": text}


def test_a_new_node(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "n"
    made = initialise(directory, NewNode('Nörd "1"', issuer="NORD", advertise=("nord.example:8443",), ae_title="NORD"))
    settings = load(directory, {})
    assert settings.node.name == 'Nörd "1"'
    assert settings.node.issuer == "NORD"
    assert settings.peer.advertise == ("nord.example:8443",)
    assert settings.dicom.ae_title == "NORD"
    assert settings.api.listen == "127.0.0.1:8080"
    assert made["key_file"] == f"{directory}.key"
    assert open_keys(directory, settings.node).identity.peer_id.full == made["peer_id"]
    modes = {path: path.stat().st_mode & 0o777 for path in (directory, Path(made["key_file"]), *directory.iterdir())}
    assert modes.pop(directory) == 0o700
    assert set(modes.values()) == {0o600}, modes


def test_twice_changes_nothing(tmp_path: Path) -> None:
    initialise(tmp_path / "n", NewNode("north"))
    before = {p: p.read_bytes() for p in (tmp_path / "n").iterdir()}
    with pytest.raises(AlreadyInitialised):
        initialise(tmp_path / "n", NewNode("north"))
    assert {p: p.read_bytes() for p in (tmp_path / "n").iterdir()} == before


@pytest.mark.parametrize(
    ("new", "error"),
    [
        (NewNode(" "), InvalidConfig),
        (NewNode("n", peer_listen="nowhere"), InvalidAddress),
        (NewNode("n", api_listen="127.0.0.1:99999"), InvalidAddress),
        (NewNode("n", advertise=("x:0",)), InvalidAddress),
        (NewNode("n", ae_title="SEVENTEEN_LETTERS"), InvalidConfig),
        (NewNode("n", passphrase_file=Path("/nonexistent/file")), PassphraseUnusable),
    ],
)
def test_what_cannot_be_leaves_nothing(tmp_path: Path, new: NewNode, error: type[LeveretError]) -> None:
    with pytest.raises(error):
        initialise(tmp_path / "n", new)
    assert not (tmp_path / "n").exists() or not list((tmp_path / "n").glob("*.*"))
    initialise(tmp_path / "n", NewNode("second try"))


def test_the_right_secret_is_needed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        initialise(tmp_path / name, NewNode(name))
    settings = load(tmp_path / "a", {"LEVERET_NODE_KEY_FILE": str(tmp_path / "b.key")})
    with pytest.raises(WrongKeyFile):
        open_keys(tmp_path / "a", settings.node)
    (tmp_path / "a.key").unlink()
    with pytest.raises(KeyFileMissing):
        open_keys(tmp_path / "a", load(tmp_path / "a", {}).node)


def test_passphrase(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("correct horse\n")
    wrong.write_text("wrong horse\n")
    made = initialise(tmp_path / "n", NewNode("n", passphrase_file=right))
    assert made["key_file"] is None
    assert open_keys(tmp_path / "n", load(tmp_path / "n", {}).node).identity.peer_id.full == made["peer_id"]
    with pytest.raises(WrongPassphrase):
        open_keys(tmp_path / "n", load(tmp_path / "n", {"LEVERET_NODE_PASSPHRASE_FILE": str(wrong)}).node)


def test_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    initialise(tmp_path / "other", NewNode("other"))
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (tmp_path / "other.key").rename(credentials / "leveret.key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    made = initialise(tmp_path / "n", NewNode("n"))
    assert made["key_file"] is None
    open_keys(tmp_path / "n", load(tmp_path / "n", {}).node)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(KeyFileMissing):
        open_keys(tmp_path / "n", load(tmp_path / "n", {}).node)


def test_one_daemon_a_directory(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(AlreadyRunning), exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass


def test_no_node(tmp_path: Path) -> None:
    with pytest.raises(NotInitialised):
        load(tmp_path, {})
