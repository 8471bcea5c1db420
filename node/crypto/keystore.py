"""The key store: DIR/keys.json, the node's own keys wrapped (docs/formats.md, "Key store").

::

    key file | passphrase | systemd credential   (crypto.protect)
      └─ master key, random
           ├─ identity: the Ed25519 seed
           ├─ index key: SQLCipher's
           └─ one key per study ─ one key per object   (rows and records of the store)

Changing the master key takes three steps, each of which leaves everything readable: the new key is added to the file,
sealed under the old one (``begin_rotation``); the store wraps every study key again (``rewrap_study_key``); the file is
replaced by one that knows the new key alone (``finish_rotation``).

Everything in the file is sealed or public. A checksum tells damage by accident from a wrong key; against a deliberate
change the seals stand, which bind the protection's parameters, the master key's version and the identity.

Opening with a passphrase computes for about a second: not on the event loop.
"""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec
from nacl.utils import random

from node.crypto.identity import Identity
from node.crypto.protect import (
    CredentialProtection,
    CredentialProtector,
    KeyFileProtection,
    KeyFileProtector,
    PassphraseProtection,
    PassphraseProtector,
    Protection,
    Protector,
    sync_directory,
)
from node.crypto.seal import KEY_BYTES, derive, seal, unseal
from node.errors.crypto_keys import (
    KeyStoreDamaged,
    KeyStoreExists,
    KeyStoreMissing,
    KeyStoreNewer,
    KeyStoreUnwritable,
    WrongKeyOrDamaged,
)

__all__ = [
    "CredentialProtector",
    "KeyFileProtector",
    "KeyStore",
    "PassphraseProtector",
    "Protector",
    "create_keystore",
    "open_keystore",
    "protection_kind",
]

FORMAT: Final = "leveret-keys"
VERSION: Final = 1
ROTATING_VERSION: Final = 2  # of a file with two master keys: a program that knows of one must not touch it
MAX_FILE_BYTES: Final = 64 * 1024  # a key store has about one KiB

_STUDY_BYTES: Final = 16
_CHECK_BYTES: Final = 16


class _Envelope(msgspec.Struct):
    """What every version of the file begins with; other members are ignored at this point."""

    format: str
    version: int


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """keys.json. Bytes are base64."""

    format: str
    version: int
    public_key: bytes  # of the identity, so that it can be told whose keys these are
    protection: Protection
    key_check: bytes  # recognises the wrapping key without opening anything
    master_version: int
    master: bytes  # sealed under the wrapping key
    identity: bytes  # sealed under the master key, as is the next
    index: bytes
    checksum: bytes = b""  # SHA-256 of this structure's JSON with an empty checksum


class _Rotating(_File, frozen=True, forbid_unknown_fields=True):
    """keys.json while the master key is being changed."""

    next_master: bytes = b""  # sealed under the master key


class KeyStore:
    """The opened keys of one node. ``repr`` shows the identity only."""

    __slots__ = ("_index_key", "_master", "_next", "_old", "_protected", "identity", "master_version")

    def __init__(
        self,
        identity: Identity,
        master: bytes,
        master_version: int,
        index_key: bytes,
        *,
        protected: tuple[Protection, bytes] | None = None,
        following: bytes | None = None,
    ) -> None:
        """``protected``: how the file is, and its wrapping key. ``following``: the next master key."""
        self.identity = identity
        self.master_version = master_version
        self._master = master
        self._next = following  # study keys are being wrapped under it now
        self._old: bytes | None = None  # of before a change while this process runs: what was read then opens still
        self._index_key = index_key
        self._protected = protected

    @property
    def is_rotating(self) -> bool:
        """Whether a change of the master key is under way, or was cut short."""
        return self._next is not None

    def __repr__(self) -> str:
        return f"KeyStore({self.identity.peer_id.short})"

    def index_key(self) -> bytes:
        """SQLCipher's key (32 bytes)."""
        return self._index_key

    def wrap_study_key(self, key: bytes, study: bytes, version: int) -> bytes:
        """A study's key under the master key (104 bytes), bound to the study's 16-byte ref and to ``version``."""
        return seal(self._next or self._master, key, _study_aad(study, version))

    def unwrap_study_key(self, blob: bytes, study: bytes, version: int) -> bytes:
        """The key of exactly this study.

        Raises:
            WrongKeyOrDamaged: it is another study's, another version's, another node's, or damaged.
        """
        aad = _study_aad(study, version)
        for master in (self._next, self._old):
            if master is not None:
                with contextlib.suppress(WrongKeyOrDamaged):
                    return unseal(master, blob, aad)
        return unseal(self._master, blob, aad)

    def rewrap_study_key(self, blob: bytes, study: bytes, version: int) -> bytes | None:
        """The same key under the next master key; None if that is what it is under already.

        Raises:
            WrongKeyOrDamaged: it is under neither.
        """
        assert self._next is not None, "begin_rotation comes first"
        aad = _study_aad(study, version)
        with contextlib.suppress(WrongKeyOrDamaged):
            unseal(self._next, blob, aad)
            return None
        return seal(self._next, unseal(self._master, blob, aad), aad)

    def begin_rotation(self, path: Path) -> None:
        """Make the next master key, durable in ``path`` when this returns; one that was begun and cut short goes on.

        Raises:
            KeyStoreUnwritable: the disk refuses; nothing has changed.
        """
        if self._next is not None:
            return
        following = random(KEY_BYTES)
        known = msgspec.structs.asdict(self._document(self._master, self.master_version))
        sealed = seal(self._master, following, _next_aad(self.master_version))
        _write(path, _Rotating(**{**known, "version": ROTATING_VERSION}, next_master=sealed))
        self._next = following

    def finish_rotation(self, path: Path, protector: Protector | None = None) -> None:
        """Forget the old master key, now that every study key is under the next one; ``protector``: a new secret, too.

        Raises:
            KeyStoreUnwritable: the disk refuses; both keys stay known.
        """
        assert self._next is not None, "begin_rotation comes first"
        before = self._protected
        if protector is not None:
            self._protected = protector.protect()
        try:
            _write(path, self._document(self._next, self.master_version + 1))
        except BaseException:
            self._protected = before
            raise
        self._old, self._master, self._next = self._master, self._next, None
        self.master_version += 1

    def write(self, path: Path) -> None:
        """Write the file of a new node; raises KeyStoreUnwritable."""
        _write(path, self._document(self._master, self.master_version))

    def _document(self, master: bytes, version: int) -> _File:
        """The file with this master key alone."""
        assert self._protected is not None, "opened from a file, or about to be written to one"
        protection, wrapping = self._protected
        public_key = self.identity.public_key
        return _File(
            format=FORMAT,
            version=VERSION,
            public_key=public_key,
            protection=protection,
            key_check=_key_check(wrapping),
            master_version=version,
            master=seal(wrapping, master, _master_aad(protection, version)),
            identity=seal(master, self.identity.seed, _own_aad(b"identity", public_key)),
            index=seal(master, self._index_key, _own_aad(b"index", public_key)),
        )


def create_keystore(path: Path, protector: Protector, identity: Identity) -> KeyStore:
    """Make new master and index keys and write them, durable when this returns, with the identity to ``path``.

    Raises:
        KeyStoreExists: there is one; it stays as it is.
        KeyStoreUnwritable: the disk refuses.
        KeyFileMissing and others: what the protector says of its secret.
    """
    if path.exists():
        raise KeyStoreExists(str(path))
    protection, wrapping = protector.protect()
    master, index_key, version = random(KEY_BYTES), random(KEY_BYTES), 1
    keys = KeyStore(identity, master, version, index_key, protected=(protection, wrapping))
    keys.write(path)
    return keys


def _write(path: Path, document: _File) -> None:
    document = msgspec.structs.replace(document, checksum=_checksum(document))
    try:
        _write_atomically(path, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    except OSError as exc:
        raise KeyStoreUnwritable(str(path)) from exc


def open_keystore(path: Path, protector: Protector) -> KeyStore:
    """The keys of the node whose file is ``path``.

    Raises:
        KeyStoreMissing, KeyStoreNewer, KeyStoreDamaged: the file's trouble.
        WrongKeyFile, WrongPassphrase: the secret of another key store (``protector.wrong``).
        OtherProtection, KeyFileMissing and others: what the protector says.
    """
    document = _read(path)
    wrapping = protector.recover(document.protection)
    if _key_check(wrapping) != document.key_check:  # a derived value that the file shows: nothing to time
        raise protector.wrong
    try:
        master = unseal(wrapping, document.master, _master_aad(document.protection, document.master_version))
        seed = unseal(master, document.identity, _own_aad(b"identity", document.public_key))
        index_key = unseal(master, document.index, _own_aad(b"index", document.public_key))
        following = None
        if isinstance(document, _Rotating):
            following = unseal(master, document.next_master, _next_aad(document.master_version))
    except WrongKeyOrDamaged as exc:
        raise KeyStoreDamaged(str(path)) from exc
    identity = Identity.from_seed(seed)
    if identity.public_key != document.public_key or len(index_key) != KEY_BYTES:
        raise KeyStoreDamaged(str(path))
    protected = (document.protection, wrapping)
    return KeyStore(identity, master, document.master_version, index_key, protected=protected, following=following)


def protection_kind(path: Path) -> str:
    """How the key store at ``path`` is protected: ``key_file``, ``systemd_credential`` or ``passphrase``.

    Raises:
        KeyStoreMissing, KeyStoreNewer, KeyStoreDamaged: as for :func:`open_keystore`.
    """
    match _read(path).protection:
        case KeyFileProtection():
            return "key_file"
        case CredentialProtection():
            return "systemd_credential"
        case PassphraseProtection():
            return "passphrase"


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise KeyStoreMissing(str(path)) from exc
    if len(data) > MAX_FILE_BYTES:
        raise KeyStoreDamaged(str(path))
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
        if envelope.format == FORMAT and envelope.version > ROTATING_VERSION:
            raise KeyStoreNewer(str(path))
        kind = _Rotating if envelope.version == ROTATING_VERSION else _File
        document: _File = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise KeyStoreDamaged(str(path)) from exc
    genuine = (document.format, document.version) == (FORMAT, envelope.version) and document.version > 0
    if not genuine or document.checksum != _checksum(document) or not 0 < document.master_version < 2**32:
        raise KeyStoreDamaged(str(path))
    return document


def _write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` as a whole: a crash leaves the old file or the new one, never half of one."""
    temporary = path.with_name(f".{path.name}.{random(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, opened exclusively
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _key_check(wrapping: bytes) -> bytes:
    return derive(wrapping, "leveret/keystore/check/v1", _CHECK_BYTES)


def _checksum(document: _File) -> bytes:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(document, checksum=b""))).digest()


def _master_aad(protection: Protection, version: int) -> bytes:
    return b"master-key\0" + version.to_bytes(4, "big") + msgspec.json.encode(protection)


def _next_aad(version: int) -> bytes:
    return b"next-master-key\0" + version.to_bytes(4, "big")


def _own_aad(what: bytes, public_key: bytes) -> bytes:
    return what + b"\0" + public_key


def _study_aad(study: bytes, version: int) -> bytes:
    if len(study) != _STUDY_BYTES:
        raise ValueError(len(study))
    return b"study-key\0" + study + version.to_bytes(4, "big")
