"""After a stop of any kind: bring the index up to what is durable in the packs.

Every unsealed pack is read from where the index left off. A record counts if its meta data and every chunk of its body
verify; whatever stands behind the last readable record was never acknowledged and is cut off. A record that is whole
but does not verify stays where it is, void, and is logged: its neighbours are not given up for it. Packs are then
sealed, so that no file is ever appended to by two runs.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from node.crypto.objects import HEADER_BYTES
from node.errors.crypto_keys import IntegrityError
from node.errors.storage import ObjectDamaged, PackUnreadable
from node.log import Logger
from node.model.ids import ObjectId
from node.store import index_rows
from node.store.engine import Database, Write
from node.store.index_rows import Entry
from node.store.indexer import Observer
from node.store.pack_format import (
    PACK_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    RecordHeader,
    RecordMeta,
    SpaceKey,
    body_fits,
    open_body,
    open_meta,
    space_of_pack,
)
from node.store.packs import NAME_BYTES, PACK_SUFFIX, pack_path
from node.store.spaces import Spaces

MAX_BATCH = 1000  # entries in one transaction


@dataclass(slots=True)
class _Tail:
    """What was found in a pack behind the indexed part."""

    entries: list[Entry] = field(default_factory=list)
    end: int = 0
    cut: int = 0  # bytes
    damaged: int = 0  # records


class Replay:
    """One start's look at the packs."""

    def __init__(self, directory: Path, db: Database, spaces: Spaces, log: Logger, observer: Observer | None) -> None:
        self._directory = directory
        self._db = db
        self._spaces = spaces
        self._log = log
        self._observer = observer

    async def run(self) -> None:
        """Index what is durable and not indexed; seal every pack; unlink packs of deleted studies."""
        await unlink_doomed(self._directory, self._db)
        async with self._db.read() as rx:
            known = {bytes(row[0]) for row in await rx.fetch_all("SELECT name FROM pack")}
            unsealed = await rx.fetch_all("SELECT name, space, indexed_bytes FROM pack WHERE sealed = 0")
        for row in unsealed:
            await self._follow(bytes(row[0]), bytes(row[1]), row[2])
        for name in await asyncio.to_thread(lambda: sorted(set(_names(self._directory)) - known)):
            space = await self._space_of(name)
            if space is not None:
                await self._follow(name, space, PACK_HEADER_BYTES)

    async def _space_of(self, name: bytes) -> bytes | None:
        try:
            return await asyncio.to_thread(_space_of, pack_path(self._directory, name), name)
        except PackUnreadable:
            self._log.warning("a file among the packs is not a pack", code=PackUnreadable.code, pack=name.hex())
            return None

    async def _follow(self, name: bytes, space: bytes, start: int) -> None:
        key = await self._spaces.key_of(space)
        if key is None:  # no key, no study: left alone, in case an older index was put in place by mistake
            self._log.warning("a pack belongs to no study of this index", pack=name.hex())
            return
        try:
            tail = await asyncio.to_thread(_read_tail, pack_path(self._directory, name), name, key, start)
        except FileNotFoundError:
            self._log.warning("a pack is missing", code=ObjectDamaged.code, pack=name.hex())
            return
        for first in range(0, len(tail.entries), MAX_BATCH):
            async with self._db.write() as tx:
                await self._add(tx, tail.entries[first : first + MAX_BATCH])
        async with self._db.write() as tx:
            await tx.execute("UPDATE pack SET sealed = 1, indexed_bytes = ? WHERE name = ?", (tail.end, name))
        if tail.entries or tail.cut:
            self._log.info("replayed a pack", pack=name.hex(), count=len(tail.entries), bytes=tail.cut)
        if tail.damaged:
            self._log.warning("records do not verify", code=ObjectDamaged.code, pack=name.hex(), count=tail.damaged)

    async def _add(self, tx: Write, entries: Sequence[Entry]) -> None:
        await index_rows.add(tx, entries)
        if self._observer is not None:
            await self._observer(tx, entries)


async def unlink_doomed(directory: Path, db: Database) -> None:
    """Unlink the files of packs whose rows are gone."""
    async with db.read() as rx:
        names = [bytes(row[0]) for row in await rx.fetch_all("SELECT name FROM doomed_pack")]
    if not names:
        return
    await asyncio.to_thread(_unlink, directory, names)
    async with db.write() as tx:
        await tx.execute_many("DELETE FROM doomed_pack WHERE name = ?", [(name,) for name in names])


def _read_tail(path: Path, name: bytes, key: SpaceKey, start: int) -> _Tail:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        tail = _Tail(end=start)
        while header := _header_at(fd, tail.end, size, key):
            offset = tail.end
            tail.end += header.length
            try:
                meta = verify_record(fd, offset, header, key)
            except IntegrityError:
                tail.damaged += 1
                continue
            tail.entries.append(Entry(meta, header.object_id, name, offset, tail.end, key.space))
        tail.cut = max(0, size - tail.end)
        os.ftruncate(fd, min(size, tail.end))  # also gives back blocks that were asked for ahead (packs.py)
        os.fdatasync(fd)  # what is indexed must not be in the page cache only
    finally:
        os.close(fd)
    if tail.end <= PACK_HEADER_BYTES:
        path.unlink()
    return tail


def _header_at(fd: int, offset: int, size: int, key: SpaceKey) -> RecordHeader | None:
    header = RecordHeader.decode(os.pread(fd, RECORD_HEADER_BYTES, offset))
    if header is None or header.space != key.space or offset + header.length > size:
        return None
    return header


def verify_record(fd: int, offset: int, header: RecordHeader, key: SpaceKey) -> RecordMeta:
    """Read all of a record; what its meta data say. Blocks. Raises an IntegrityError if a byte is not as written."""
    data_key = header.unwrap(key)
    meta = open_meta(header, data_key, os.pread(fd, header.meta_length, offset + RECORD_HEADER_BYTES))
    body = offset + header.body_offset
    decryptor = open_body(header, data_key, os.pread(fd, HEADER_BYTES, body))
    for index in range(decryptor.chunks):
        at, length = decryptor.span(index)
        decryptor.chunk(index, os.pread(fd, length, body + at))
    if not body_fits(header, decryptor.size, meta.size):
        raise ObjectDamaged(str(header.object_id))
    return meta


def is_intact(directory: Path, pack: bytes, offset: int, object_id: ObjectId, key: SpaceKey) -> bool:
    """Whether an object lies whole in its place. Blocks."""
    try:
        fd = os.open(pack_path(directory, pack), os.O_RDONLY | os.O_CLOEXEC)
        try:
            header = RecordHeader.decode(os.pread(fd, RECORD_HEADER_BYTES, offset))
            if header is None or header.object_id != object_id or header.space != key.space:
                return False
            verify_record(fd, offset, header, key)
        finally:
            os.close(fd)
    except (OSError, IntegrityError):
        return False
    return True


def _names(directory: Path) -> Iterator[bytes]:
    for path in directory.glob(f"??/*{PACK_SUFFIX}"):
        try:
            name = bytes.fromhex(path.stem)
        except ValueError:
            continue
        if len(name) == NAME_BYTES and pack_path(directory, name) == path:
            yield name


def _space_of(path: Path, name: bytes) -> bytes | None:
    """The space of a pack that the index does not know; None, and the file is gone, if nothing was ever durable."""
    with path.open("rb") as file:
        head = file.read(PACK_HEADER_BYTES)
    if len(head) < PACK_HEADER_BYTES or not any(head):  # written and synced with the first record
        path.unlink()
        return None
    return space_of_pack(head, name)


def _unlink(directory: Path, names: Sequence[bytes]) -> None:
    for name in names:
        pack_path(directory, name).unlink(missing_ok=True)
