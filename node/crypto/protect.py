"""How the master key is protected at rest: a key file, a systemd credential, or a passphrase.

Each protector turns its secret into a 32-byte wrapping key; the key store (``crypto.keystore``) seals the master key
under it and records, in the protector's ``Protection``, what is needed to do so again. The secret itself is never
inside the data directory.
"""

import base64
import binascii
import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, Protocol, Self

import msgspec
from nacl import exceptions, pwhash
from nacl.utils import random

from node.crypto.seal import KEY_BYTES, derive
from node.errors.base import LeveretError
from node.errors.crypto_keys import (
    KeyFileExposed,
    KeyFileMalformed,
    KeyFileMissing,
    KeyStoreDamaged,
    KeyStoreUnwritable,
    OtherProtection,
    PassphraseMemory,
    PassphraseUnusable,
    WrongKeyFile,
    WrongPassphrase,
)

KEY_FILE_HEADER: Final = b"leveret-key 1"
CREDENTIAL_NAME: Final = "leveret.key"  # LoadCredential=leveret.key:/path in the systemd unit
MAX_KEY_FILE: Final = 1024  # bytes; a key file has 59
MAX_PASSPHRASE: Final = 4096  # bytes

# argon2id: what a new key store uses (RFC 9106 would have 64 MiB and 3 passes as its second choice), and what one that
# is read may ask for, so that a tampered file cannot make the node claim a terabyte or compute for a day.
OPERATIONS: Final = 3
MEMORY_BYTES: Final = 256 * 1024 * 1024
MAX_OPERATIONS: Final = 10
MAX_MEMORY_BYTES: Final = 1024 * 1024 * 1024


class KeyFileProtection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="key_file"):
    """The secret is a file outside the data directory."""


class CredentialProtection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="systemd_credential"):
    """The secret is handed over by systemd."""


class PassphraseProtection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="passphrase"):
    """The secret is known by heart; argon2id with these parameters makes a key of it."""

    salt: bytes
    operations: int
    memory_bytes: int


Protection = KeyFileProtection | CredentialProtection | PassphraseProtection


class Protector(Protocol):
    """One way to protect the master key."""

    wrong: ClassVar[type[LeveretError]]
    """What is raised when the secret is well-formed, but not the one of this key store."""

    def protect(self) -> tuple[Protection, bytes]:
        """What a new key store records, and the wrapping key; makes the secret where it does not exist yet."""

    def recover(self, protection: Protection) -> bytes:
        """The wrapping key again. Raises OtherProtection if the key store is protected in another way."""


class KeyFileProtector:
    """A file of 32 random bytes, mode 0600; by default ``DIR.key`` beside the data directory."""

    wrong: ClassVar[type[LeveretError]] = WrongKeyFile

    def __init__(self, path: Path) -> None:
        self._path = path

    def protect(self) -> tuple[Protection, bytes]:
        """Use the key file; make it if it is not there, and never overwrite one."""
        with contextlib.suppress(FileExistsError):
            _write_new(self._path, KEY_FILE_HEADER + b"\n" + base64.b64encode(random(KEY_BYTES)) + b"\n")
        return KeyFileProtection(), self.recover(KeyFileProtection())

    def recover(self, protection: Protection) -> bytes:
        """The wrapping key from the file.

        Raises:
            KeyFileMissing, KeyFileExposed, KeyFileMalformed: the file's own trouble.
        """
        if not isinstance(protection, KeyFileProtection):
            raise OtherProtection
        return derive(_read_key_file(self._path, private=True), "leveret/keystore/key-file/v1")


class CredentialProtector:
    """The same file, decrypted by systemd for this service alone (``LoadCredentialEncrypted=``)."""

    wrong: ClassVar[type[LeveretError]] = WrongKeyFile

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """The credential CREDENTIAL_NAME in the folder that systemd names in CREDENTIALS_DIRECTORY.

        Raises:
            KeyFileMissing: this process was not started with credentials.
        """
        folder = environment.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise KeyFileMissing("no CREDENTIALS_DIRECTORY")
        return cls(Path(folder) / CREDENTIAL_NAME)

    def protect(self) -> tuple[Protection, bytes]:
        """Use the credential; it must exist."""
        return CredentialProtection(), self.recover(CredentialProtection())

    def recover(self, protection: Protection) -> bytes:
        """The wrapping key from the credential; systemd decides who may read it, so its mode is not looked at."""
        if not isinstance(protection, CredentialProtection):
            raise OtherProtection
        return derive(_read_key_file(self._path, private=False), "leveret/keystore/key-file/v1")


class PassphraseProtector:
    """A passphrase, made into a key by argon2id; opening takes about a second and ``memory_bytes``."""

    wrong: ClassVar[type[LeveretError]] = WrongPassphrase

    def __init__(self, passphrase: bytes, *, operations: int = OPERATIONS, memory_bytes: int = MEMORY_BYTES) -> None:
        """The costs are those of a new key store; one that exists keeps its own.

        Raises:
            PassphraseUnusable: empty or too long.
        """
        if not 0 < len(passphrase) <= MAX_PASSPHRASE:
            raise PassphraseUnusable
        self._passphrase = passphrase
        self._operations = operations
        self._memory_bytes = memory_bytes

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The first line of a file, without its line end.

        Raises:
            PassphraseUnusable: the file cannot be read, or its first line is empty or too long.
        """
        try:
            with path.open("rb") as file:
                line = file.readline(MAX_PASSPHRASE + 2)
        except OSError as exc:
            raise PassphraseUnusable(str(path)) from exc
        return cls(line.rstrip(b"\r\n"))

    def protect(self) -> tuple[Protection, bytes]:
        """A fresh salt and the wrapping key."""
        protection = PassphraseProtection(random(pwhash.argon2id.SALTBYTES), self._operations, self._memory_bytes)
        return protection, self.recover(protection)

    def recover(self, protection: Protection) -> bytes:
        """The wrapping key, with the salt and the costs that the key store records.

        Raises:
            KeyStoreDamaged: costs beyond what this node accepts.
            PassphraseMemory: argon2id could not get its memory.
        """
        if not isinstance(protection, PassphraseProtection):
            raise OtherProtection
        if (
            len(protection.salt) != pwhash.argon2id.SALTBYTES
            or not pwhash.argon2id.OPSLIMIT_MIN <= protection.operations <= MAX_OPERATIONS
            or not pwhash.argon2id.MEMLIMIT_MIN <= protection.memory_bytes <= MAX_MEMORY_BYTES
        ):
            raise KeyStoreDamaged("passphrase parameters out of bounds")
        try:
            stretched = pwhash.argon2id.kdf(
                KEY_BYTES, self._passphrase, protection.salt, protection.operations, protection.memory_bytes
            )
        except (exceptions.RuntimeError, MemoryError) as exc:
            raise PassphraseMemory from exc
        return derive(stretched, "leveret/keystore/passphrase/v1")


def _read_key_file(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_KEY_FILE + 1)
    except OSError as exc:
        raise KeyFileMissing(str(path)) from exc
    if private and mode & stat.S_IRWXO:  # a group may be how a service gets at a mounted secret; everybody may not
        raise KeyFileExposed(str(path))
    header, _, rest = data.partition(b"\n")
    try:
        key = base64.b64decode(rest.strip(), validate=True)
    except binascii.Error as exc:
        raise KeyFileMalformed(str(path)) from exc
    if header.rstrip() != KEY_FILE_HEADER or len(key) != KEY_BYTES:
        raise KeyFileMalformed(str(path))
    return key


def _write_new(path: Path, data: bytes) -> None:
    """A new file, mode 0600, durable with its name when this returns; FileExistsError if there is one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, opened exclusively
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as exc:
        path.unlink(missing_ok=True)  # it is ours: opened exclusively
        raise KeyStoreUnwritable(str(path)) from exc


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
