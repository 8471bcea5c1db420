"""Digest and packed form of a data set, made block by block while the rest of it arrives."""

import hashlib

from node.model.ids import Digest
from node.store.codec import BLOCK_BYTES, SMALLEST_BYTES, Buffer, Codec, Layout, Packed
from node.store.packing import Trying
from node.store.workers import Strand


class Preparation:
    """Of one data set; ``width`` as of ``codec.element_width``. Its methods are for its ``strand``.

    Each call is given all that has arrived; nothing of it is kept between calls, so that it may move meanwhile.
    """

    def __init__(self, codec: Codec, width: int, strand: Strand) -> None:
        self.strand = strand
        self._codec = codec
        self._width = width
        self._hash = hashlib.sha256()
        self._size = 0  # bytes that are done
        self._blocks: list[bytes | None] = []  # packed; None: kept as it is
        self._trying = Trying()

    def advance(self, dataset: memoryview) -> None:
        """Do the blocks that are complete."""
        self._do(dataset, len(dataset) // BLOCK_BYTES * BLOCK_BYTES)

    def digest(self, dataset: memoryview) -> Digest:
        """Of the whole data set, which is now all there."""
        self._do(dataset, len(dataset))
        return Digest(self._hash.digest())

    def packed(self, dataset: memoryview) -> Packed | None:
        """The whole data set packed, after ``digest``; None if that is not worth it."""
        if not self._blocks or len(dataset) < SMALLEST_BYTES:
            return None
        blocks: list[Buffer] = [
            dataset[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES] if block is None else block
            for index, block in enumerate(self._blocks)
        ]
        lengths = tuple(map(len, blocks))
        if not self._codec.is_worth(sum(lengths), len(dataset)):
            return None
        return Packed(Layout(len(dataset), self._width, lengths), blocks)

    def _do(self, dataset: memoryview, end: int) -> None:
        while self._size < end:
            block = dataset[self._size : min(self._size + BLOCK_BYTES, end)]
            self._size += len(block)
            self._hash.update(block)
            if self._width:
                self._blocks.append(self._pack(block))

    def _pack(self, block: memoryview) -> bytes | None:
        packed: Buffer = self._codec.pack_block(block, self._width) if self._trying.is_due else block
        smaller = len(packed) < len(block)
        self._trying.note(smaller=smaller)
        return bytes(packed) if smaller else None
