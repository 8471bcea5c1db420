import base64
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.crypto.identity import Identity
from node.crypto.keystore import (
    CredentialProtector,
    KeyFileProtector,
    KeyStore,
    PassphraseProtector,
    Protector,
    create_keystore,
    open_keystore,
    protection_kind,
)
from node.crypto.protect import MAX_MEMORY_BYTES
from node.errors.crypto_keys import (
    KeyFileExposed,
    KeyFileMalformed,
    KeyFileMissing,
    KeyStoreDamaged,
    KeyStoreExists,
    KeyStoreMissing,
    KeyStoreNewer,
    KeyStoreUnwritable,
    OtherProtection,
    PassphraseMemory,
    PassphraseUnusable,
    WrongKeyFile,
    WrongKeyOrDamaged,
    WrongPassphrase,
)

VECTORS: list[dict[str, str]] = json.loads((Path(__file__).parents[1] / "data" / "object_vectors.json").read_text())[
    "keystores"
]
IDENTITY = Identity.from_seed(b"i" * 32)
STUDY = b"s" * 16


def cheap(passphrase: bytes) -> PassphraseProtector:
    return PassphraseProtector(passphrase, operations=1, memory_bytes=65536)


def make(folder: Path) -> tuple[Path, KeyFileProtector, KeyStore]:
    path, protector = folder / "keys.json", KeyFileProtector(folder / "node.key")
    return path, protector, create_keystore(path, protector, IDENTITY)


def rewrite(path: Path, *, honest_checksum: bool = True, **changes: Any) -> None:
    """Change members of a key store as somebody would who knows the format."""
    document = json.loads(path.read_text()) | changes
    if honest_checksum:
        bare = json.dumps(document | {"checksum": ""}, separators=(",", ":")).encode()
        document["checksum"] = base64.b64encode(hashlib.sha256(bare).digest()).decode()
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["kind"])
def test_key_stores_of_the_vectors_open(vector: dict[str, str], tmp_path: Path) -> None:
    path, key_file = tmp_path / "keys.json", tmp_path / "leveret.key"
    path.write_text(vector["keys_json"])
    key_file.write_text(vector["key_file"])
    key_file.chmod(0o600)
    protectors: dict[str, Protector] = {
        "key_file": KeyFileProtector(key_file),
        "systemd_credential": CredentialProtector.from_environment({"CREDENTIALS_DIRECTORY": str(tmp_path)}),
        "passphrase": PassphraseProtector(vector["passphrase"].encode()),
    }
    assert protection_kind(path) == vector["kind"]
    store = open_keystore(path, protectors.pop(vector["kind"]))
    assert store.identity.public_key.hex() == vector["public_key"]
    assert store.index_key().hex() == vector["index_key"]
    for other in protectors.values():
        with pytest.raises(OtherProtection):
            open_keystore(path, other)


@pytest.mark.parametrize("kind", ["key_file", "passphrase"])
def test_what_was_created_opens_again(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    protector: Protector = KeyFileProtector(tmp_path / "node.key") if kind == "key_file" else cheap(b"open sesame")
    made = create_keystore(path, protector, IDENTITY)
    wrapped = made.wrap_study_key(b"k" * 32, STUDY, made.master_version)
    opened = open_keystore(path, protector)
    assert opened.identity.seed == IDENTITY.seed
    assert (opened.index_key(), opened.master_version) == (made.index_key(), 1)
    assert opened.unwrap_study_key(wrapped, STUDY, 1) == b"k" * 32


def test_files_are_for_their_owner_only_and_nothing_else_is_left(tmp_path: Path) -> None:
    make(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["keys.json", "node.key"]
    for name in ("keys.json", "node.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_no_key_stands_in_the_file(tmp_path: Path) -> None:
    path, _, store = make(tmp_path)
    text = path.read_text()
    for secret in (store.index_key(), IDENTITY.seed, store._master):
        assert base64.b64encode(secret).decode()[:40] not in text
        assert secret.hex() not in text


def test_repr_shows_the_peer_id_only(tmp_path: Path) -> None:
    _, _, store = make(tmp_path)
    assert repr(store) == f"KeyStore({IDENTITY.peer_id.short})"


def test_two_key_stores_share_no_key(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (_, _, one), (_, _, two) = make(tmp_path / "a"), make(tmp_path / "b")
    assert one.index_key() != two.index_key()
    with pytest.raises(WrongKeyOrDamaged):
        two.unwrap_study_key(one.wrap_study_key(b"k" * 32, STUDY, 1), STUDY, 1)


def test_a_study_key_opens_for_its_study_and_version_only(tmp_path: Path) -> None:
    _, _, store = make(tmp_path)
    wrapped = store.wrap_study_key(b"k" * 32, STUDY, 1)
    for study, version in ((b"t" * 16, 1), (STUDY, 2)):
        with pytest.raises(WrongKeyOrDamaged):
            store.unwrap_study_key(wrapped, study, version)
    with pytest.raises(ValueError, match="3"):
        store.wrap_study_key(b"k" * 32, b"ref", 1)


def test_an_existing_key_store_is_never_replaced(tmp_path: Path) -> None:
    path, protector, _ = make(tmp_path)
    before = path.read_bytes()
    with pytest.raises(KeyStoreExists):
        create_keystore(path, protector, IDENTITY)
    assert path.read_bytes() == before


def test_an_existing_key_file_is_used_and_never_replaced(tmp_path: Path) -> None:
    _, protector, _ = make(tmp_path)
    before = (tmp_path / "node.key").read_bytes()
    create_keystore(tmp_path / "second.json", protector, IDENTITY)
    assert (tmp_path / "node.key").read_bytes() == before
    open_keystore(tmp_path / "keys.json", protector)


def test_what_is_wrong_with_a_key_file_is_told_apart(tmp_path: Path) -> None:
    path, protector, _ = make(tmp_path)
    key_file = tmp_path / "node.key"
    good = key_file.read_bytes()

    other = KeyFileProtector(tmp_path / "other.key")
    other.protect()
    with pytest.raises(WrongKeyFile):
        open_keystore(path, other)
    with pytest.raises(KeyFileMissing):
        open_keystore(path, KeyFileProtector(tmp_path / "nowhere.key"))
    with pytest.raises(KeyFileMissing):
        open_keystore(path, KeyFileProtector(tmp_path))
    for bad in (
        b"",
        good[:-10],
        b"leveret-key 2\n" + good[14:],
        good + b"A" * 2000,
        good.replace(b"\n", b""),
        b"\0" * 59,
    ):
        key_file.write_bytes(bad)
        with pytest.raises(KeyFileMalformed):
            open_keystore(path, protector)
    key_file.write_bytes(good)
    key_file.chmod(0o644)
    with pytest.raises(KeyFileExposed):
        open_keystore(path, protector)
    key_file.chmod(0o640)
    open_keystore(path, protector)


def test_a_key_file_survives_an_editor(tmp_path: Path) -> None:
    path, protector, _ = make(tmp_path)
    key_file = tmp_path / "node.key"
    key_file.write_bytes(key_file.read_bytes().replace(b"\n", b"\r\n") + b"\n")
    open_keystore(path, protector)


def test_a_wrong_passphrase_is_wrong_and_not_damage(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    create_keystore(path, cheap(b"right"), IDENTITY)
    for wrong in (b"wrong", b"right ", b"Right"):
        with pytest.raises(WrongPassphrase):
            open_keystore(path, cheap(wrong))


def test_passphrase_files(tmp_path: Path) -> None:
    path, file = tmp_path / "keys.json", tmp_path / "passphrase"
    create_keystore(path, cheap("päss wörd".encode()), IDENTITY)
    for text in ("päss wörd", "päss wörd\n", "päss wörd\r\n", "päss wörd\na second line"):
        file.write_bytes(text.encode())
        open_keystore(path, PassphraseProtector.from_file(file))
    for unusable in (b"", b"\nsecond", b"x" * 5000):
        file.write_bytes(unusable)
        with pytest.raises(PassphraseUnusable):
            PassphraseProtector.from_file(file)
    with pytest.raises(PassphraseUnusable):
        PassphraseProtector.from_file(tmp_path / "nowhere")


def test_a_tampered_file_cannot_ask_for_the_whole_memory_or_a_day(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    create_keystore(path, cheap(b"right"), IDENTITY)
    protection = json.loads(path.read_text())["protection"]
    for change in (
        {"memory_bytes": 2**40},
        {"memory_bytes": MAX_MEMORY_BYTES + 1},
        {"memory_bytes": 0},
        {"operations": 2**31},
        {"operations": 0},
        {"salt": ""},
    ):
        rewrite(path, protection=protection | change)
        with pytest.raises(KeyStoreDamaged):
            open_keystore(path, cheap(b"right"))


def test_too_little_memory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr("nacl.pwhash.argon2id.kdf", refuse)
    with pytest.raises(PassphraseMemory):
        create_keystore(tmp_path / "keys.json", cheap(b"right"), IDENTITY)


def test_no_credentials_of_systemd() -> None:
    with pytest.raises(KeyFileMissing):
        CredentialProtector.from_environment({})
    with pytest.raises(KeyFileMissing):
        CredentialProtector.from_environment({"CREDENTIALS_DIRECTORY": "/nowhere"}).protect()


def test_a_newer_file_says_so_before_anything_else(tmp_path: Path) -> None:
    path, protector, _ = make(tmp_path)
    rewrite(path, version=3, something_new=[1, 2], honest_checksum=False)
    for use in (lambda: open_keystore(path, protector), lambda: protection_kind(path)):
        with pytest.raises(KeyStoreNewer):
            use()


def test_a_missing_file_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    protector = KeyFileProtector(tmp_path / "node.key")
    with pytest.raises(KeyStoreMissing):
        open_keystore(tmp_path / "keys.json", protector)
    with pytest.raises(KeyStoreUnwritable):
        create_keystore(tmp_path / "nowhere" / "keys.json", protector, IDENTITY)
    with pytest.raises(KeyStoreUnwritable):
        KeyFileProtector(tmp_path / "nowhere" / "node.key").protect()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    KeyFileProtector(tmp_path / "node.key").protect()
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(KeyStoreUnwritable):
        make(tmp_path)
    with pytest.raises(KeyStoreUnwritable):
        KeyFileProtector(tmp_path / "other.key").protect()
    assert [file.name for file in tmp_path.iterdir()] == ["node.key"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_is_damage_and_never_a_wrong_key(data: st.DataObject, tmp_path: Path) -> None:
    path, protector = tmp_path / "keys.json", KeyFileProtector(tmp_path / "node.key")
    if not path.exists():
        create_keystore(path, protector, IDENTITY)
        (tmp_path / "good.json").write_bytes(path.read_bytes())
    good = (tmp_path / "good.json").read_bytes()
    changed = bytearray(good)
    changed[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(changed)
    try:
        store = open_keystore(path, protector)
    except (KeyStoreDamaged, KeyStoreNewer):
        return
    finally:
        path.write_bytes(good)
    assert msgspec.json.decode(changed) == msgspec.json.decode(good)  # a blank, or the same byte
    assert store.identity.peer_id == IDENTITY.peer_id


@pytest.mark.parametrize("name", ["master", "identity", "index", "public_key", "key_check", "master_version"])
def test_members_exchanged_with_another_key_store_are_refused(name: str, tmp_path: Path) -> None:
    path, protector, _ = make(tmp_path)
    other = tmp_path / "other.json"
    create_keystore(other, KeyFileProtector(tmp_path / "other.key"), Identity.generate())
    changes: dict[str, Any] = {name: 7 if name == "master_version" else json.loads(other.read_text())[name]}
    rewrite(path, **changes)
    expected = WrongKeyFile if name == "key_check" else KeyStoreDamaged
    with pytest.raises(expected):
        open_keystore(path, protector)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"format":"leveret-keys","version":1}', b" " * 70_000, b"{" * 60_000],
    ids=range(8),
)
def test_what_is_no_key_store_is_damage(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(KeyStoreDamaged):
        open_keystore(path, cheap(b"right"))


def test_another_format_is_damage_and_not_a_newer_version(tmp_path: Path) -> None:
    path, protector, _ = make(tmp_path)
    for change in ({"format": "something", "version": 9}, {"version": 0}, {"master_version": 0}):
        rewrite(path, **change)
        with pytest.raises(KeyStoreDamaged):
            open_keystore(path, protector)
