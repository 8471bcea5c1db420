"""``leveret init``: identity, keys, database and settings of a new node."""

import asyncio
import contextlib
import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from node.api.reach import Reach
from node.app.keys import KEYSTORE_NAME
from node.app.lock import LOCK_NAME, exclusive
from node.app.storage import INDEX_NAME
from node.config import CONFIG_NAME, Settings, parse
from node.crypto.identity import Identity
from node.crypto.keystore import (
    CredentialProtector,
    KeyFileProtector,
    KeyStore,
    PassphraseProtector,
    Protector,
    create_keystore,
)
from node.errors.setup import AlreadyInitialised, DirectoryUnusable, InvalidConfig
from node.model.trust import Address
from node.store.engine import Database
from node.store.files import sync_directory


@dataclass(frozen=True, slots=True)
class NewNode:
    """What the operator says of a new node; None or empty is the default."""

    name: str
    peer_listen: str | None = None
    api_listen: str | None = None
    dicom_listen: str | None = None
    ae_title: str | None = None
    issuer: str | None = None
    advertise: tuple[str, ...] = ()
    key_file: Path | None = None
    passphrase_file: Path | None = None


def initialise(directory: Path, new: NewNode) -> dict[str, Any]:
    """Make a node in ``directory`` (made if absent, mode 0700); returns what to show.

    leveret.toml is written last: without it there is no node, so what a crash leaves can be looked at and removed.

    Raises:
        AlreadyInitialised: there is something of a node already; nothing was changed.
        InvalidConfig, InvalidAddress: a setting that cannot be.
        DirectoryUnusable, KeyStoreUnwritable: the disk refuses.
    """
    key_file = _key_file(directory, new)
    text = _toml(new, key_file)
    _check(new, text)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as exc:
        raise DirectoryUnusable(f"{directory}: {exc.strerror}") from exc
    with exclusive(directory):
        if any((directory / name).exists() for name in (CONFIG_NAME, KEYSTORE_NAME, INDEX_NAME)):
            raise AlreadyInitialised(str(directory))
        keys = _make_keys(directory, new, key_file)
        write_config(directory / CONFIG_NAME, text)
    return {
        "peer_id": keys.identity.peer_id.full,
        "name": new.name,
        "key_file": str(key_file) if key_file else None,
        "config": str(directory / CONFIG_NAME),
    }


def _make_keys(directory: Path, new: NewNode, key_file: Path | None) -> KeyStore:
    try:
        keys = create_keystore(directory / KEYSTORE_NAME, _protector(new, key_file), Identity.generate())
        asyncio.run(_make_index(directory / INDEX_NAME, keys.index_key()))
    except BaseException:
        _clear(directory)
        raise
    return keys


def _key_file(directory: Path, new: NewNode) -> Path | None:
    """Where the key is kept: beside the data directory unless told, so that a copy of that directory opens nothing."""
    if new.passphrase_file or (new.key_file is None and "CREDENTIALS_DIRECTORY" in os.environ):
        return None
    return (new.key_file or Path(f"{directory}.key")).absolute()


def _protector(new: NewNode, key_file: Path | None) -> Protector:
    if new.passphrase_file is not None:
        return PassphraseProtector.from_file(new.passphrase_file)
    return CredentialProtector.from_environment(os.environ) if key_file is None else KeyFileProtector(key_file)


async def _make_index(path: Path, key: bytes) -> None:
    async with await Database.open(path, key):
        pass


def _clear(directory: Path) -> None:
    """Remove what a failed attempt made: nothing of it was used yet."""
    for name in (KEYSTORE_NAME, INDEX_NAME, f"{INDEX_NAME}-wal", f"{INDEX_NAME}-shm", LOCK_NAME):
        with contextlib.suppress(OSError):
            (directory / name).unlink()


def _check(new: NewNode, text: str) -> None:
    """Refuse settings that the daemon would refuse, while nothing is made yet."""
    if not new.name.strip():
        raise InvalidConfig("the name is empty")
    settings = parse(tomllib.loads(text), {})
    for listen in (settings.peer.listen, settings.api.listen, settings.dicom.listen):
        Address.parse(listen, allow_any_port=True)
    Reach(settings.api)
    for address in settings.peer.advertise:
        Address.parse(address)
    if not (1 <= len(settings.dicom.ae_title) <= 16 and settings.dicom.ae_title.isascii()):  # noqa: PLR2004 - PS3.5 AE
        raise InvalidConfig("an AE title has 1 to 16 ASCII characters")


def _toml(new: NewNode, key_file: Path | None) -> str:
    given: dict[str, dict[str, str | tuple[str, ...] | None]] = {
        "node": {
            "name": new.name,
            "issuer": new.issuer,
            "key_file": str(key_file) if key_file else None,
            "passphrase_file": str(new.passphrase_file.absolute()) if new.passphrase_file else None,
        },
        "peer": {"listen": new.peer_listen, "advertise": new.advertise or None},
        "api": {"listen": new.api_listen},
        "dicom": {"listen": new.dicom_listen, "ae_title": new.ae_title},
    }
    known = {section.name for section in fields(Settings)}
    assert set(given) <= known
    lines = ["# Settings of this node. node.example.toml documents every key and its default."]
    for section, values in given.items():
        set_here = {key: value for key, value in values.items() if value is not None}
        if set_here:
            lines += ["", f"[{section}]", *(f"{key} = {_value(value)}" for key, value in set_here.items())]
    return "\n".join(lines) + "\n"


def _value(value: str | tuple[str, ...]) -> str:
    if isinstance(value, str):
        return quoted(value)
    return f"[{', '.join(quoted(item) for item in value)}]"


def quoted(text: str) -> str:
    """A TOML basic string (TOML 1.0, section String)."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in {'"', "\\"}:
        return "\\" + char
    return char if char.isprintable() else f"\\U{ord(char):08X}"


def write_config(path: Path, text: str) -> None:
    """Write leveret.toml, durable and whole when this returns; raises DirectoryUnusable."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)  # a node that was told to be there still is after a power cut
    except OSError as exc:
        raise DirectoryUnusable(f"{path}: {exc.strerror}") from exc
