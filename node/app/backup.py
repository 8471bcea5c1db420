"""``leveret backup``: copy everything but the secret, while the node runs or while it does not.

The order makes the copy consistent: first the snapshot of index and keys, then the packs, which only grow; what was
deleted meanwhile is left out, and named, so that a restore deletes it too.
"""

import asyncio
import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from node import __version__
from node.app import archive
from node.app.archive import FileEntry, FolderWriter, Manifest, Progress, TarWriter, Writer
from node.app.keys import open_keys
from node.app.lock import exclusive
from node.app.storage import open_index
from node.clock import SystemClock
from node.config import CONFIG_NAME, load
from node.errors.base import LeveretError
from node.errors.vault import BackupFailed
from node.sharing.backups import Backups
from node.store.objects import PACKS_FOLDER
from node.store.packs import pack_path


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What to copy. ``packs``: name in hexadecimal, and whether it is sealed."""

    peer_id: str
    made_at: int
    folder: Path
    packs: Sequence[tuple[str, bool]]


class Source(Protocol):
    """The node that is backed up: this process's own, or a running daemon."""

    def begin(self) -> Snapshot:
        """Make a snapshot."""

    def deleted(self) -> list[str]:
        """Packs of it that were deleted since."""

    def sign(self, digest: bytes, size: int) -> bytes:
        """The node's signature over the manifest whose SHA-256 this is."""

    def end(self) -> None:
        """The snapshot is not needed any more."""


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """How to write it."""

    folder: bool = False  # a folder instead of one file
    link: bool = False  # hard links to unchanged packs


class OwnNode:
    """A node that is not running, opened by this process."""

    def __init__(self, runner: asyncio.Runner, backups: Backups) -> None:
        self._runner = runner
        self._backups = backups
        self._id = ""

    @classmethod
    @contextmanager
    def open(cls, directory: Path) -> Iterator["OwnNode"]:
        """Hold the directory's lock while the block runs.

        Raises:
            AlreadyRunning: the daemon has it. NotInitialised and others: why the store cannot be opened.
        """
        settings = load(directory)
        with exclusive(directory), asyncio.Runner() as runner:
            keys = open_keys(directory, settings.node)
            db = runner.run(open_index(directory, keys))
            try:
                backups = Backups(
                    directory, db=db, store=None, identity=keys.identity, clock=SystemClock(), lock=asyncio.Lock()
                )
                yield cls(runner, backups)
                runner.run(backups.clear())
            finally:
                runner.run(db.close())

    def begin(self) -> Snapshot:
        """Make a snapshot."""
        begun = self._runner.run(self._backups.begin())
        self._id = begun.backup_id
        packs = [(pack.name.hex(), pack.sealed) for pack in begun.packs]
        return Snapshot(begun.peer_id, begun.made_at, begun.folder, packs)

    def deleted(self) -> list[str]:
        """Nothing: nobody else has the directory."""
        return [name.hex() for name in self._runner.run(self._backups.deleted(self._id))]

    def sign(self, digest: bytes, size: int) -> bytes:
        """The node's signature."""
        return self._runner.run(self._backups.sign(self._id, digest, size=size, by=f"os:{os.getuid()}"))

    def end(self) -> None:
        """Remove the snapshot."""
        self._runner.run(self._backups.end(self._id))


def make_backup(
    directory: Path, target: Path, source: Source, options: BackupOptions, progress: Progress
) -> dict[str, Any]:
    """Write a backup of the node in ``directory`` to ``target``; what to show of it. Memory is bounded.

    Raises:
        BackupExists: ``target`` is there. BackupFailed, DiskFull, StorageFailed: a disk refuses; nothing is left.
        BackupSuperseded: somebody else began one. KeyboardInterrupt: nothing is left.
    """
    writer: Writer
    if target.resolve().is_relative_to(directory.resolve()):
        raise BackupFailed("it would lie in the data directory itself")
    try:
        writer = FolderWriter(target, link=options.link) if options.folder else TarWriter(target)
    except OSError as exc:
        raise archive.failed(exc) from exc
    try:
        snapshot = source.begin()
        try:
            shown = _copy(directory, source, snapshot, writer, progress)
            writer.finish()
        finally:
            _end(source)
        return {"backup": str(target), **shown}
    except OSError as exc:
        writer.discard()
        raise archive.failed(exc) from exc
    except BaseException:
        writer.discard()
        raise


def _end(source: Source) -> None:
    try:
        source.end()
    except LeveretError:  # the next backup, or the next start, removes it
        return


def _copy(directory: Path, source: Source, snapshot: Snapshot, writer: Writer, progress: Progress) -> dict[str, Any]:
    files = [
        writer.add(CONFIG_NAME, directory / CONFIG_NAME),
        writer.add(archive.KEYS, snapshot.folder / "keys.json"),
        writer.add(archive.INDEX, snapshot.folder / "index.db"),
    ]
    lost: list[str] = []
    total = sum(entry.size for entry in files)
    for name, is_sealed in snapshot.packs:
        entry = _add_pack(directory, writer, name, is_sealed=is_sealed)
        if entry is None:
            lost.append(name)
            continue
        files.append(entry)
        total += entry.size
        progress(total, len(files))
    deleted = source.deleted()
    missing = sorted(set(lost) - set(deleted))
    manifest = msgspec.json.encode(
        Manifest(
            archive.FORMAT, archive.VERSION, snapshot.made_at, snapshot.peer_id, __version__, files, deleted, missing
        )
    )
    digest = hashlib.sha256(manifest).digest()
    signature = source.sign(digest, total)
    writer.add_bytes(archive.MANIFEST, manifest)
    writer.add_bytes(archive.SIGNATURE, base64.b64encode(signature) + b"\n")
    return {
        "peer_id": snapshot.peer_id,
        "files": len(files),
        "bytes": total,
        "missing": len(missing),
        "manifest_sha256": digest.hex(),
        "secret": _secret(directory),
    }


def _add_pack(directory: Path, writer: Writer, name: str, *, is_sealed: bool) -> FileEntry | None:
    path = pack_path(directory / PACKS_FOLDER, bytes.fromhex(name))
    try:
        return writer.add(path.relative_to(directory).as_posix(), path, immutable=is_sealed)
    except FileNotFoundError:  # deleted since the snapshot, or lost
        return None


def _secret(directory: Path) -> str:
    """Where what opens the backup is, in words."""
    node = load(directory).node
    if node.key_file:
        return f"key file {node.key_file}"
    if node.passphrase_file:
        return f"passphrase, in {node.passphrase_file}"
    return "passphrase or systemd credential, which is kept in no file that this node knows"
