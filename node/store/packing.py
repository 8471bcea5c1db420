"""The forms in which a stream is kept: as it is, packed here, or packed by whoever sent it.

One block is in memory at a time. A form takes bytes as they come and yields pairs: bytes of the data set, for its
digest, and the bytes that are kept for them.
"""

from collections.abc import Iterator
from typing import Protocol

from node.errors.storage import BlockDamaged
from node.store.codec import (
    BLOCK_BYTES,
    CODEC_IDENTITY,
    CODEC_SHUFFLE_ZSTD,
    Buffer,
    Codec,
    Layout,
    block_size,
)

_TRIES = 4  # blocks in a row that did not get smaller before most are not even tried
_PAUSE = 8  # of which one is tried then

Pair = tuple[Buffer, Buffer]


class Form(Protocol):
    """See above."""

    codec: int  # of the record

    def update(self, data: Buffer) -> Iterator[Pair]:
        """Take the next bytes; yields what they complete."""

    def finish(self) -> Iterator[Pair]:
        """There are no more; yields what is left."""


class AsItIs:
    """The data set itself."""

    codec = CODEC_IDENTITY

    def update(self, data: Buffer) -> Iterator[Pair]:
        """Yields ``data``."""
        yield data, data

    def finish(self) -> Iterator[Pair]:
        """Yields nothing."""
        yield from ()


class Trying:
    """Whether to try to pack the next block, by what became of those before it."""

    def __init__(self) -> None:
        self._misses = 0

    @property
    def is_due(self) -> bool:
        """Whether it is worth a try."""
        return self._misses < _TRIES or self._misses % _PAUSE == 0

    def note(self, *, smaller: bool) -> None:
        """What became of it."""
        self._misses = 0 if smaller else self._misses + 1


class PackingStream:
    """Packs a data set whose size is not known before its end."""

    codec = CODEC_SHUFFLE_ZSTD

    def __init__(self, codec: Codec, width: int) -> None:
        self._codec = codec
        self._width = width
        self._pending = bytearray()
        self._lengths: list[int] = []
        self._size = 0
        self._trying = Trying()

    def update(self, data: Buffer) -> Iterator[Pair]:
        """Yields each block that is complete, and the same packed."""
        view = memoryview(data)
        self._size += len(view)
        while len(self._pending) + len(view) >= BLOCK_BYTES:
            missing = BLOCK_BYTES - len(self._pending)
            if self._pending:
                self._pending += view[:missing]
                yield self._pack(memoryview(self._pending))
                self._pending = bytearray()
            else:
                yield self._pack(view[:missing])
            view = view[missing:]
        self._pending += view

    def finish(self) -> Iterator[Pair]:
        """Yields the last block, and the tail, which is kept for no bytes of the data set."""
        if self._pending:
            yield self._pack(memoryview(self._pending))
        yield b"", Layout(self._size, self._width, tuple(self._lengths)).encode()

    def _pack(self, block: memoryview) -> Pair:
        packed: Buffer = self._codec.pack_block(block, self._width) if self._trying.is_due else block
        self._trying.note(smaller=len(packed) < len(block))
        self._lengths.append(len(packed))
        return block, packed


class UnpackingStream:
    """Takes the blocks of a packed data set as they come, in pieces of any size."""

    codec = CODEC_SHUFFLE_ZSTD

    def __init__(self, codec: Codec, layout: Layout) -> None:
        self._codec = codec
        self._layout = layout
        self._pending = bytearray()
        self._next = 0  # block

    def update(self, data: Buffer) -> Iterator[Pair]:
        """Yields the bytes of each block that is complete, and the block.

        Raises:
            BlockDamaged: a block does not hold what the layout says, or there are more bytes than blocks.
        """
        view = memoryview(data)
        layout = self._layout
        while view:
            if self._next == len(layout.lengths):
                raise BlockDamaged
            length = layout.lengths[self._next]
            part = view[: length - len(self._pending)]
            view = view[len(part) :]
            block: Buffer = part
            if len(part) < length:
                self._pending += part
                block = self._pending
            if len(block) == length:
                yield self._codec.unpack_block(block, layout.width, block_size(layout.size, self._next)), block
                self._pending = bytearray()
                self._next += 1

    def finish(self) -> Iterator[Pair]:
        """Yields the tail, which is kept for no bytes of the data set.

        Raises:
            BlockDamaged: blocks are missing.
        """
        if self._next != len(self._layout.lengths):
            raise BlockDamaged
        yield b"", self._layout.encode()
