"""Packing a stream of bytes, and taking a packed stream apart: a block in memory at a time, whatever the size."""

from collections.abc import Iterator

from node.errors.storage import BlockDamaged
from node.store.codec import BLOCK_BYTES, Buffer, Codec, Layout, block_size

_TRIES = 4  # blocks in a row that did not get smaller before most are not even tried
_PAUSE = 8  # of which one is tried then


class PackingStream:
    """Packs a data set whose size is not known before its end."""

    def __init__(self, codec: Codec, width: int) -> None:
        self._codec = codec
        self._width = width
        self._pending = bytearray()
        self._lengths: list[int] = []
        self._size = 0
        self._misses = 0

    def update(self, data: Buffer) -> Iterator[Buffer]:
        """Take the next bytes; yields each block that they complete, packed."""
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

    def finish(self) -> Iterator[Buffer]:
        """Yields what is left: the last block and the tail."""
        if self._pending:
            yield self._pack(memoryview(self._pending))
        yield Layout(self._size, self._width, tuple(self._lengths)).encode()

    def _pack(self, block: memoryview) -> Buffer:
        packed: Buffer = block
        if self._misses < _TRIES or self._misses % _PAUSE == 0:
            packed = self._codec.pack_block(block, self._width)
        self._misses = self._misses + 1 if len(packed) == len(block) else 0
        self._lengths.append(len(packed))
        return packed


class UnpackingStream:
    """Takes the blocks of a packed data set as they come, in pieces of any size, and gives its bytes."""

    def __init__(self, codec: Codec, layout: Layout) -> None:
        self._codec = codec
        self._layout = layout
        self._pending = bytearray()
        self._next = 0  # block

    def update(self, data: Buffer) -> Iterator[bytes]:
        """Take the next bytes; yields the bytes of each block that they complete.

        Raises:
            BlockDamaged: a block does not hold what the layout says, or there are more bytes than blocks.
        """
        view = memoryview(data)
        layout = self._layout
        while view:
            if self._next == len(layout.lengths):
                raise BlockDamaged
            part = view[: layout.lengths[self._next] - len(self._pending)]
            view = view[len(part) :]
            whole: Buffer = part
            if self._pending or len(part) < layout.lengths[self._next]:
                self._pending += part
                whole = self._pending
            if len(whole) == layout.lengths[self._next]:
                yield self._codec.unpack_block(whole, layout.width, block_size(layout.size, self._next))
                self._pending = bytearray()
                self._next += 1

    def finish(self) -> None:
        """Say that this was all.

        Raises:
            BlockDamaged: blocks are missing.
        """
        if self._next != len(self._layout.lengths):
            raise BlockDamaged
