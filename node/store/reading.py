"""Reading objects back: any range at any time, each 256 KiB chunk verified before a byte of it is handed out.

A packed object costs the blocks that the range touches. Its table is read first, once for each reader; it is the end
of the body, so that proves the body's length on the way.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from node.crypto.objects import CHUNK_BYTES, HEADER_BYTES, Decryptor
from node.errors.crypto_keys import IntegrityError
from node.errors.storage import BlockDamaged, CodecUnknown, ObjectDamaged
from node.store.codec import BLOCK_BYTES, CODEC_SHUFFLE_ZSTD, CODECS, Codec, Layout, tail_size
from node.store.pack_format import RECORD_HEADER_BYTES, RecordHeader, SpaceKey, body_fits, open_body
from node.store.packs import pack_path
from node.store.study_queries import Location

_T = TypeVar("_T")

READ_AHEAD_BYTES = 1024 * 1024  # read and decrypted in one visit to a thread
MAX_READ_BYTES = 256 * 1024 * 1024  # one ``read``; longer ranges are streamed by ``chunks``


@dataclass(frozen=True, slots=True)
class _Body:
    """An object's body: where it begins in the pack, what decrypts it, and where its blocks are if it is packed."""

    start: int
    decryptor: Decryptor
    layout: Layout | None


@dataclass(frozen=True, slots=True)
class Opening:
    """The first bytes of an object on its way: of its blocks, packed as ``layout`` says, or (None) of the data set."""

    layout: Layout | None
    first: bytes


class ObjectReader:
    """One stored data set (without group 0002), exactly as it was received. Holds no file open between reads.

    Every method raises ObjectDamaged, naming the object, if what lies on the disk is not what was stored.
    """

    def __init__(self, location: Location, key: SpaceKey, directory: Path, *, codec: Codec, executor: Executor) -> None:
        self.object_id = location.object_id
        self.size = location.size  # bytes of the data set
        self._path = pack_path(directory, location.pack)
        self._offset = location.offset
        self._key = key
        self._codec = codec
        self._executor = executor
        self._body: _Body | None = None  # known after the first look

    async def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """``length`` bytes from ``offset`` (all that follows if None), fewer at the end of the data set."""
        wanted = self.size - offset if length is None else min(length, self.size - offset)
        if wanted > MAX_READ_BYTES:
            raise ValueError(wanted)
        return await self._in_thread(partial(self._read, offset, max(0, wanted)))

    async def head(self, length: int) -> bytes:
        """The first ``length`` bytes, fewer if the data set is shorter."""
        return await self.read(0, length)

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes from ``start`` to ``end`` (that of the data set if None) in verified pieces of 256 KiB at most."""
        offset, end = start, self.size if end is None else min(end, self.size)
        ahead = self._ahead(offset, end)
        try:
            while ahead is not None:
                pieces = await ahead
                offset += sum(map(len, pieces))
                ahead = self._ahead(offset, end)  # unpacked while these are on their way to whoever reads
                for piece in pieces:
                    yield piece
        finally:
            if ahead is not None:
                ahead.cancel()

    async def read_packed(self, offset: int, length: int) -> tuple[Layout | None, bytes]:
        """``length`` bytes from ``offset`` of the blocks as they are packed, and where those lie.

        (None, no bytes) if the data set is kept as it is.
        """
        return await self._in_thread(partial(self._read_packed, offset, length))

    async def open_with(
        self, others: Sequence["ObjectReader"], length: int, *, packed: bool
    ) -> list[Opening | ObjectDamaged]:
        """The first ``length`` bytes of this object and of ``others``, in one visit to a thread.

        ``packed``: of those that are packed, the blocks. What is damaged is said in its place.
        """
        readers = (self, *others)
        return await self._in_thread(lambda: [reader.opening(length, packed=packed) for reader in readers])

    def opening(self, length: int, *, packed: bool) -> Opening | ObjectDamaged:
        """The same of this object alone, in the caller's thread."""
        try:
            with self._opened() as (fd, body):
                if body.layout is None:
                    return Opening(None, b"".join(self._decrypt(fd, body, 0, min(length, self.size))))
                if packed:
                    blocks = self._decrypt(fd, body, 0, min(length, body.layout.starts[-1]))
                    return Opening(body.layout, b"".join(blocks))
                return Opening(None, b"".join(self._unpack(fd, body, body.layout, 0, length)))
        except ObjectDamaged as damaged:
            return damaged

    def _ahead(self, offset: int, end: int) -> asyncio.Future[list[bytes]] | None:
        if offset >= end:
            return None
        length = min(READ_AHEAD_BYTES - offset % CHUNK_BYTES, end - offset)  # nothing is opened twice
        return self._in_thread(partial(self._pieces, offset, length))

    def _in_thread(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        return asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _read(self, offset: int, length: int) -> bytes:
        return b"".join(self._pieces(offset, length))

    def _pieces(self, offset: int, length: int) -> list[bytes]:
        with self._opened() as (fd, body):
            if body.layout is None:
                return self._decrypt(fd, body, offset, length)
            return self._unpack(fd, body, body.layout, offset, length)

    def _read_packed(self, offset: int, length: int) -> tuple[Layout | None, bytes]:
        with self._opened() as (fd, body):
            if body.layout is None:
                return None, b""
            wanted = min(length, body.layout.starts[-1] - offset)
            return body.layout, b"".join(self._decrypt(fd, body, offset, wanted))

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, "_Body"]]:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield fd, self._body or self._open(fd)
            finally:
                os.close(fd)
        except (OSError, IntegrityError) as exc:
            raise ObjectDamaged(str(self.object_id)) from exc

    def _open(self, fd: int) -> "_Body":
        header = RecordHeader.decode(self._pread(fd, RECORD_HEADER_BYTES, self._offset))
        if header is None or header.object_id != self.object_id or header.space != self._key.space:
            raise ObjectDamaged(str(self.object_id))
        start = self._offset + header.body_offset
        decryptor = open_body(header, header.unwrap(self._key), self._pread(fd, HEADER_BYTES, start))
        if header.codec not in CODECS:  # authentic: the decryptor's context holds it
            raise CodecUnknown(str(self.object_id))
        if not body_fits(header, decryptor.size, self.size):
            raise ObjectDamaged(str(self.object_id))
        body = _Body(start, decryptor, None)
        if header.codec == CODEC_SHUFFLE_ZSTD:
            body = replace(body, layout=self._layout(fd, body))
        self._body = body
        return body

    def _layout(self, fd: int, body: "_Body") -> Layout:
        length = tail_size(self.size)
        layout = Layout.decode(b"".join(self._decrypt(fd, body, body.decryptor.size - length, length)), self.size)
        if layout.packed_size != body.decryptor.size:
            raise BlockDamaged
        return layout

    def _unpack(self, fd: int, body: "_Body", layout: Layout, offset: int, length: int) -> list[bytes]:
        end = min(offset + length, self.size)
        if offset >= end:
            return []
        first, last = offset // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        start = layout.starts[first]
        packed = b"".join(self._decrypt(fd, body, start, layout.starts[last + 1] - start))
        return self._codec.unpack(layout, packed, offset, end, base=start)

    def _decrypt(self, fd: int, body: "_Body", offset: int, length: int) -> list[bytes]:
        where = body.decryptor.locate(offset, length)
        data = memoryview(self._pread(fd, where.length, body.start + where.offset))
        pieces = []
        left, skip = where.take, where.skip
        for index in range(where.first, where.first + where.count):
            at, size = body.decryptor.span(index)
            at -= where.offset
            plain = body.decryptor.chunk(index, data[at : at + size])
            piece = plain[skip : skip + left] if skip or left < len(plain) else plain
            skip = 0
            left -= len(piece)
            pieces.append(piece)
        return pieces

    def _pread(self, fd: int, length: int, offset: int) -> bytes:
        data = os.pread(fd, length, offset)
        while len(data) < length:
            more = os.pread(fd, length - len(data), offset + len(data))
            if not more:
                raise ObjectDamaged(str(self.object_id))
            data += more
        return data
