"""The form of a backup (docs/formats.md, "Backups"): a tar file or a folder, with a signed manifest of its members.

Members: ``leveret.toml``, ``keys.json`` (wrapped keys), ``index.db`` (SQLCipher), ``packs/AB/ABCD….pack`` (ciphertext),
``manifest.json`` (size and SHA-256 of each) and ``manifest.sig`` (the node's Ed25519 signature). What secret opens the
keys is never among them. A backup is written under another name and gets its own once it is durable.
"""

import base64
import contextlib
import fcntl
import hashlib
import io
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Final, Protocol, Self

import msgspec

from node.config import CONFIG_NAME
from node.crypto.identity import Domain, verify_signature
from node.errors.crypto_identity import BadSignature
from node.errors.vault import BackupDamaged, BackupExists, BackupFailed, BackupNewer, BackupUnreadable
from node.store.files import sync_directory

INDEX: Final = "index.db"
KEYS: Final = "keys.json"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
FORMAT: Final = "leveret-backup"
VERSION: Final = 1
SMALL_BYTES: Final = 64 * 1024  # settings and keys are a few KiB
MANIFEST_BYTES: Final = 2**30  # a line for each pack; a million packs have 150 MB
PARTIAL: Final = ".partial"

_BUFFER = 1024 * 1024
_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file until one of the two changes
_PACK = re.compile(r"packs/([0-9a-f]{2})/\1[0-9a-f]{30}\.pack")

Progress = Callable[[int, int], None]  # bytes so far, files so far
_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One member."""

    path: str
    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: _Digest


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the backup consists of."""

    format: str
    version: int
    made_at: int  # seconds since the epoch
    peer_id: str
    program: str  # the version of leveret
    files: list[FileEntry]
    deleted: list[_Name]  # packs of studies that were deleted while the backup was made
    missing: list[_Name]  # packs that the disk had lost before


class _Envelope(msgspec.Struct):
    format: str
    version: int


class Writer(Protocol):
    """Where a backup goes."""

    def add(self, name: str, source: Path, *, immutable: bool = False) -> FileEntry:
        """Copy a file; ``immutable``: it will never change, so its blocks may be shared."""

    def add_bytes(self, name: str, data: bytes) -> None:
        """Add what is in memory."""

    def finish(self) -> None:
        """Make it durable and give it its name."""

    def discard(self) -> None:
        """Remove what was written."""


def is_member(name: str) -> bool:
    """Whether a backup may have a member of that name: nothing else is ever written to a disk."""
    return name in {CONFIG_NAME, KEYS, INDEX, MANIFEST, SIGNATURE} or _PACK.fullmatch(name) is not None


class TarWriter:
    """A backup in one file."""

    def __init__(self, target: Path) -> None:
        if target.exists():
            raise BackupExists(str(target))
        self._target = target
        self._partial = target.with_name(target.name + PARTIAL)
        fd = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._file = io.BufferedWriter(io.FileIO(fd, "wb"), _BUFFER)
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name: str, source: Path, *, immutable: bool = False) -> FileEntry:
        """Copy a file as long as it is now."""
        del immutable
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            reader = _Hashing(file, size)
            self._tar.addfile(_tar_info(name, size), reader)
            self._tar.members = []  # type: ignore[attr-defined]  # else one each is kept in memory
            return FileEntry(name, size, reader.digest.hexdigest())

    def add_bytes(self, name: str, data: bytes) -> None:
        """Add what is in memory."""
        self._tar.addfile(_tar_info(name, len(data)), io.BytesIO(data))

    def finish(self) -> None:
        """End marker, fsync, rename."""
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._partial.rename(self._target)
        sync_directory(self._target.parent)

    def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._partial.unlink(missing_ok=True)


class FolderWriter:
    """A backup in a folder: unchanged packs are shared with the store where the filesystem can, or by hard links."""

    def __init__(self, target: Path, *, link: bool) -> None:
        if target.exists():
            raise BackupExists(str(target))
        self._target = target
        self._link = link
        self._root = target.with_name(target.name + PARTIAL)
        _remove_folder(self._root)  # of a run that was killed
        self._root.mkdir(mode=0o700)

    def add(self, name: str, source: Path, *, immutable: bool = False) -> FileEntry:
        """Link, clone or copy a file."""
        path = self._root / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self._link and immutable and _linked(source, path)):
            _copy(source, path)
        with path.open("rb") as file:
            reader = _Hashing(file, os.fstat(file.fileno()).st_size)
            while reader.read(_BUFFER):
                pass
            os.fsync(file.fileno())
            return FileEntry(name, reader.size, reader.digest.hexdigest())

    def add_bytes(self, name: str, data: bytes) -> None:
        """Add what is in memory."""
        with (self._root / name).open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> None:
        """Make the names durable, rename."""
        for folder, _, _ in os.walk(self._root):
            sync_directory(Path(folder))
        self._root.rename(self._target)
        sync_directory(self._target.parent)

    def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            _remove_folder(self._root)


@dataclass(frozen=True, slots=True)
class Member:
    """One member that is being read; ``copy_to`` and ``bytes`` may be called once."""

    name: str
    size: int
    stream: IO[bytes]

    def copy_to(self, path: Path) -> str:
        """Write it to a new file, mode 0600, durable but for its name; its SHA-256."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        reader = _Hashing(self.stream, self.size)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor, opened exclusively
            try:
                shutil.copyfileobj(reader, file, _BUFFER)
            except (tarfile.TarError, EOFError) as exc:
                raise BackupDamaged(f"{self.name} is cut off") from exc
            os.fsync(file.fileno())
        if reader.padded:
            raise BackupDamaged(f"{self.name} is cut off")
        return reader.digest.hexdigest()

    def read(self, limit: int) -> bytes:
        """All of it; raises BackupDamaged if that is more than ``limit`` bytes."""
        if self.size > limit:
            raise BackupDamaged(f"{self.name} is too large")
        try:
            return self.stream.read(self.size)
        except (tarfile.TarError, EOFError) as exc:
            raise BackupDamaged(f"{self.name} is cut off") from exc


def members(path: Path) -> Iterator[Member]:
    """The members of a backup, in the order in which they were written.

    Raises:
        BackupUnreadable: not a backup. BackupDamaged: it holds something else, or ends too early.
    """
    yield from (_folder_members(path) if path.is_dir() else _tar_members(path))


def _tar_members(path: Path) -> Iterator[Member]:
    try:
        with path.open("rb", buffering=_BUFFER) as file, tarfile.open(fileobj=file, mode="r|", bufsize=_BUFFER) as tar:
            for info in tar:
                stream = tar.extractfile(info) if info.isreg() else None
                if stream is None or not is_member(info.name):
                    raise BackupDamaged("it holds something that no backup has")
                yield Member(info.name, info.size, stream)
                tar.members = []  # type: ignore[attr-defined]  # else one each is kept in memory
    except (tarfile.TarError, EOFError) as exc:
        raise BackupUnreadable(path.name) from exc
    except FileNotFoundError as exc:
        raise BackupUnreadable(path.name) from exc


def _folder_members(path: Path) -> Iterator[Member]:
    packs = sorted(p.relative_to(path).as_posix() for p in path.glob("packs/??/*.pack"))
    for name in (CONFIG_NAME, KEYS, INDEX, *packs, MANIFEST, SIGNATURE):
        try:
            with (path / name).open("rb") as file:
                if not is_member(name):
                    raise BackupDamaged("it holds something that no backup has")
                yield Member(name, os.fstat(file.fileno()).st_size, file)
        except FileNotFoundError as exc:
            raise BackupUnreadable(f"{path.name}: {name} is missing") from exc


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest; raises BackupNewer, BackupDamaged."""
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
        if envelope.format == FORMAT and envelope.version > VERSION:
            raise BackupNewer
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise BackupDamaged(MANIFEST) from exc
    if (manifest.format, manifest.version) != (FORMAT, VERSION) or not all(is_member(f.path) for f in manifest.files):
        raise BackupDamaged(MANIFEST)
    return manifest


def check_signature(public_key: bytes, manifest: bytes, signature: bytes) -> None:
    """Raises BackupDamaged unless the node signed exactly this manifest."""
    try:
        raw = base64.b64decode(signature.strip(), validate=True)
        verify_signature(public_key, Domain.BACKUP, hashlib.sha256(manifest).digest(), raw)
    except (ValueError, BadSignature) as exc:
        raise BackupDamaged(SIGNATURE) from exc


class _Hashing:
    """A file of which exactly ``size`` bytes are read and hashed; what is missing is zeros, as after a crash."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size
        self.left = size
        self.padded = 0
        self.digest = hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        wanted = self.left if count < 0 else min(count, self.left)
        data = self._file.read(wanted)
        if len(data) < wanted and not data:
            data = bytes(wanted)
            self.padded += wanted
        self.left -= len(data)
        self.digest.update(data)
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None


def _tar_info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


def _linked(source: Path, path: Path) -> bool:
    try:
        os.link(source, path)
    except OSError:  # another filesystem, or one without links
        return False
    return True


def _copy(source: Path, path: Path) -> None:
    with source.open("rb") as file:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb", buffering=0) as copy:  # noqa: PTH123 - a descriptor, opened exclusively
            try:
                fcntl.ioctl(copy.fileno(), _FICLONE, file.fileno())
            except OSError:  # not a filesystem that shares blocks
                shutil.copyfileobj(file, copy, _BUFFER)


def _remove_folder(root: Path) -> None:
    """Remove an unfinished backup; a folder that holds anything else is left alone."""
    if not root.exists():
        return
    for folder, _, files in os.walk(root):
        if not all(is_member((Path(folder) / name).relative_to(root).as_posix()) for name in files):
            raise BackupExists(str(root))
    shutil.rmtree(root)


def failed(error: OSError) -> BackupFailed:
    """Our error for one of the operating system's."""
    return BackupFailed(error.strerror or type(error).__name__)
