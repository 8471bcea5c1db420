"""Which secret opens a node's keys: as leveret.toml says, as systemd hands it over, or asked on the terminal."""

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from node.config import NodeSettings
from node.crypto.keystore import (
    CredentialProtector,
    KeyFileProtector,
    KeyStore,
    PassphraseProtector,
    Protector,
    open_keystore,
    protection_kind,
)
from node.errors.crypto_keys import KeyFileMissing, PassphraseUnusable

KEYSTORE_NAME = "keys.json"


def open_keys(directory: Path, settings: NodeSettings, environ: Mapping[str, str] | None = None) -> KeyStore:
    """Open ``directory``'s key store. May take a second and ask on the terminal: not on the event loop.

    Raises:
        KeyStoreMissing and others: see ``crypto.keystore.open_keystore``.
        KeyFileMissing, PassphraseUnusable: the secret is nowhere.
    """
    path = directory / KEYSTORE_NAME
    return open_keystore(path, _protector(protection_kind(path), settings, os.environ if environ is None else environ))


def _protector(kind: str, settings: NodeSettings, environ: Mapping[str, str]) -> Protector:
    if kind == "systemd_credential":
        if settings.key_file and "CREDENTIALS_DIRECTORY" not in environ:  # a copy of the key, away from its service
            return CredentialProtector(Path(settings.key_file))
        return CredentialProtector.from_environment(environ)
    if kind == "key_file":
        if not settings.key_file:
            raise KeyFileMissing("[node] key_file is not set")
        return KeyFileProtector(Path(settings.key_file))
    if settings.passphrase_file:
        return PassphraseProtector.from_file(Path(settings.passphrase_file))
    if not sys.stdin.isatty():
        raise PassphraseUnusable("[node] passphrase_file is not set, and there is no terminal to ask on")
    return PassphraseProtector(getpass.getpass("Passphrase: ").encode())
