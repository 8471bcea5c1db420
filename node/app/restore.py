"""``leveret restore``: put a backup into an empty directory, prove every byte of it, and mark the node restored.

``leveret.toml`` is written last: until then there is no node in the directory, and a restore that was cut short can be
begun again. What the restored node must not do until a person has looked is ``store.restored``'s business.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from node.app import archive
from node.app.archive import Manifest, Member, Progress
from node.app.keys import KEYSTORE_NAME, open_keys
from node.app.lock import LOCK_NAME, exclusive
from node.app.setup import quoted, write_config
from node.app.storage import INDEX_NAME, open_index
from node.config import CONFIG_NAME, NodeSettings, load, parse_text
from node.crypto.keystore import KeyStore
from node.errors.audit import AuditLogDamaged
from node.errors.setup import DirectoryUnusable
from node.errors.vault import BackupDamaged, BackupUnreadable, RestoreTargetInUse
from node.sharing.audit import prove
from node.store import backup, restored, scrub, study_queries
from node.store.engine import Database
from node.store.files import sync_directory
from node.store.objects import PACKS_FOLDER
from node.store.spaces import Spaces

_MARKER = "RESTORING"  # a restore is under way here, or was cut short


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What the operator says of it."""

    key_file: Path | None = None  # where the key file is now; None: as leveret.toml says
    passphrase_file: Path | None = None
    despite_damage: bool = False  # take what is whole


@dataclass(slots=True)
class _Read:
    """What was read of the backup."""

    config: str = ""
    digests: dict[str, tuple[int, str]] = field(default_factory=dict)
    manifest: bytes = b""
    signature: bytes = b""


def restore(target: Path, directory: Path, options: RestoreOptions, progress: Progress) -> dict[str, Any]:
    """Restore the backup ``target`` into ``directory`` (made; must be empty); what to show of it.

    Raises:
        RestoreTargetInUse: there is something. BackupUnreadable, BackupDamaged, BackupNewer: the backup's trouble.
        WrongKeyFile and others: the secret does not open it. DirectoryUnusable, DiskFull: the disk refuses.
    """
    _claim(directory)
    with exclusive(directory):
        try:
            _clear(directory)
            _write(directory / _MARKER, "")
            return _restore(target, directory, options, progress)
        except OSError as exc:
            _clear(directory)
            raise DirectoryUnusable(exc.strerror or type(exc).__name__) from exc
        except BaseException:
            _clear(directory)
            raise


def mark_in_place(directory: Path) -> dict[str, Any]:
    """Mark a node restored whose directory was put back to an older state by other means (a snapshot, a copy).

    Raises:
        NotInitialised, AlreadyRunning and others: why its index cannot be opened.
    """
    settings = load(directory)
    with exclusive(directory):
        keys = open_keys(directory, settings.node)
        marked = asyncio.run(_mark(directory, keys, 0))
    return {"peer_id": keys.identity.peer_id.full, "codes_void": marked.codes, "transfers_ended": marked.transfers}


def _restore(target: Path, directory: Path, options: RestoreOptions, progress: Progress) -> dict[str, Any]:
    read, node, keys = _extract(target, directory, options, progress)
    manifest, problems = _check_manifest(read, keys)
    if problems and not options.despite_damage:
        raise BackupDamaged(problems[0])
    found = asyncio.run(_prove_store(directory, keys, manifest, progress))
    if found.problems and not options.despite_damage:
        raise BackupDamaged(found.problems[0])
    made_at = manifest.made_at if manifest else 0
    marked = asyncio.run(_mark(directory, keys, made_at))
    write_config(directory / CONFIG_NAME, with_secret(read.config, node))
    (directory / _MARKER).unlink()
    sync_directory(directory)
    return {
        "peer_id": keys.identity.peer_id.full,
        "name": node.name,
        "backup_at": made_at or None,
        "studies": found.totals.studies,
        "instances": found.totals.instances,
        "bytes": found.totals.size,
        "objects": found.objects,
        "damaged": found.damaged,
        "deleted": found.deleted,
        "codes_void": marked.codes,
        "transfers_ended": marked.transfers,
        "problems": [*problems, *found.problems],
    }


# The directory ------------------------------------------------------------------------------------------------------


def _claim(directory: Path) -> None:
    """The directory is there and empty, or holds what an unfinished restore left."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = {path.name for path in directory.iterdir()} - {LOCK_NAME}
    except OSError as exc:
        raise DirectoryUnusable(f"{directory}: {exc.strerror}") from exc
    if names and (_MARKER not in names or CONFIG_NAME in names):
        raise RestoreTargetInUse(str(directory))
    directory.chmod(0o700)


def _clear(directory: Path) -> None:
    """Remove what an unfinished restore left: the marker last, so that this can be cut short too."""
    shutil.rmtree(directory / PACKS_FOLDER, ignore_errors=True)
    for name in (KEYSTORE_NAME, INDEX_NAME, f"{INDEX_NAME}-wal", f"{INDEX_NAME}-shm", _MARKER):
        with contextlib.suppress(OSError):
            (directory / name).unlink()


# Reading the backup -------------------------------------------------------------------------------------------------


def _extract(
    target: Path, directory: Path, options: RestoreOptions, progress: Progress
) -> tuple[_Read, NodeSettings, KeyStore]:
    """Write everything to its place; the keys are opened as soon as they are there, before a terabyte is copied."""
    read, total = _Read(), 0
    node, keys = NodeSettings(), None
    try:
        for member in archive.members(target):
            if member.name == CONFIG_NAME:
                read.config = _text(read, member)
                node = _secret_now(parse_text(read.config).node, options)
            elif member.name == archive.MANIFEST:
                read.manifest = member.read(archive.MANIFEST_BYTES)
            elif member.name == archive.SIGNATURE:
                read.signature = member.read(archive.SMALL_BYTES)
            else:
                read.digests[member.name] = (member.size, member.copy_to(directory / member.name))
                if member.name == archive.KEYS:
                    keys = open_keys(directory, node)
            total += member.size
            progress(total, len(read.digests))
    except (BackupUnreadable, BackupDamaged):
        if not options.despite_damage or keys is None:
            raise
    if keys is None or archive.INDEX not in read.digests or not read.config:
        raise BackupUnreadable(target.name)
    _sync_folders(directory)
    return read, node, keys


def _text(read: _Read, member: Member) -> str:
    data = member.read(archive.SMALL_BYTES)
    read.digests[member.name] = (member.size, hashlib.sha256(data).hexdigest())
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise BackupDamaged(CONFIG_NAME) from exc


def _secret_now(node: NodeSettings, options: RestoreOptions) -> NodeSettings:
    if options.key_file is not None:
        return replace(node, key_file=str(options.key_file.absolute()), passphrase_file="")
    if options.passphrase_file is not None:
        return replace(node, key_file="", passphrase_file=str(options.passphrase_file.absolute()))
    return node


def with_secret(config: str, node: NodeSettings) -> str:
    """The settings as they were, but for where the secret is now."""
    for key, value in (("key_file", node.key_file), ("passphrase_file", node.passphrase_file)):
        config = _with_key(config, key, f"{key} = {quoted(value)}" if value else "")
    return config


def _with_key(config: str, key: str, line: str) -> str:
    """``line`` in the place of what is said of ``key``, or else at the beginning of its section."""
    known = re.compile(rf"^[ \t]*{key}[ \t]*=.*$", re.MULTILINE)
    if known.search(config):
        return known.sub(lambda _match: line, config, count=1)
    return (
        re.sub(r"^\[node\][ \t]*$", lambda _match: f"[node]\n{line}", config, count=1, flags=re.MULTILINE)
        if line
        else config
    )


def _check_manifest(read: _Read, keys: KeyStore) -> tuple[Manifest | None, list[str]]:
    """The manifest, and what contradicts it."""
    try:
        if not read.manifest or not read.signature:
            raise BackupUnreadable("it ends without a manifest")
        archive.check_signature(keys.identity.public_key, read.manifest, read.signature)
        manifest = archive.decode_manifest(read.manifest)
    except (BackupUnreadable, BackupDamaged) as error:
        return None, [error.fact]
    said = {entry.path: (entry.size, entry.sha256) for entry in manifest.files}
    problems = [f"{path} is not what was written" for path, what in said.items() if read.digests.get(path) != what]
    return manifest, problems + [f"{name} is not in the manifest" for name in read.digests if name not in said]


def _sync_folders(directory: Path) -> None:
    for folder, _, _ in os.walk(directory):
        sync_directory(Path(folder))


# Proving it ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Proved:
    """What was found in the restored store."""

    totals: study_queries.Totals
    objects: int = 0
    damaged: int = 0
    deleted: int = 0
    problems: list[str] = field(default_factory=list)


async def _prove_store(directory: Path, keys: KeyStore, manifest: Manifest | None, progress: Progress) -> _Proved:
    """Every page of the index, every object, and the log."""
    packs = directory / PACKS_FOLDER
    packs.mkdir(mode=0o700, exist_ok=True)
    async with await open_index(directory, keys) as db:
        await backup.check_whole(db)
        deleted = 0
        if manifest is not None:
            deleted = await backup.forget(packs, db, [bytes.fromhex(name) for name in manifest.deleted])
        lost = {bytes.fromhex(name) for name in manifest.missing} if manifest else set()
        objects, damaged, new = await _verify(packs, db, keys, lost, progress)
        async with db.read() as rx:
            log = await prove(rx, keys.identity)
            totals = await study_queries.totals(rx)
        problems = [f"{new} stored objects do not verify"] if new else []
        if not log.ok:
            problems.append(f"the audit log: {log.problems[0]} [{AuditLogDamaged.code}]")
        return _Proved(totals, objects, damaged, deleted, problems)


async def _verify(
    packs: Path, db: Database, keys: KeyStore, lost: set[bytes], progress: Progress
) -> tuple[int, int, int]:
    """Objects read, those that are damaged, and those of them of which the backup did not know it."""
    spaces, position, now = Spaces(db, keys), b"", int(time.time())
    objects = damaged = new = total = 0
    while True:
        async with db.read() as rx:
            pack = await scrub.next_pack(rx, position)
        if pack is None:
            return objects, damaged, new
        key = spaces.unwrap(pack.space, pack.key_version, pack.wrapped_key)
        size, flaws = await asyncio.to_thread(scrub.verify_all, packs, pack, key)
        async with db.write() as tx:
            await scrub.done(tx, pack, flaws, size=size, at=now)
        objects, damaged, total = objects + len(pack.objects), damaged + len(flaws), total + size
        new += 0 if pack.name in lost else len(flaws)
        progress(total, objects)
        position = pack.name


async def _mark(directory: Path, keys: KeyStore, backup_at: int) -> restored.Restoration:
    async with await open_index(directory, keys) as db:
        async with db.write() as tx:
            marked = await restored.mark(tx, now=int(time.time()), backup_at=backup_at)
        await db.truncate_wal()
        return marked


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    sync_directory(path.parent)
