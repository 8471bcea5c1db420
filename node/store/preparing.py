"""Digest and packed form of a data set, made block by block while the rest of it arrives.

Two strands: bytes are hashed in their order, and packed meanwhile in another thread, if one is free: a sender that
waits for its answer waits less. Where many send, the threads have enough to do.
"""

import hashlib
import threading
from collections.abc import Callable
from functools import partial

from node.model.ids import Digest
from node.store.codec import BLOCK_BYTES, SMALLEST_BYTES, Buffer, Codec, Layout, Packed
from node.store.packing import Trying
from node.store.workers import Strand, Workers


class Preparation:
    """Of one data set; ``width`` as of ``codec.element_width``.

    ``advance`` and ``finish`` are called in the loop with all that has arrived; nothing of it is kept between calls, so
    that it may move meanwhile.
    """

    def __init__(self, codec: Codec, width: int, workers: Workers) -> None:
        self._codec = codec
        self._width = width
        self._hashing = Strand(workers)
        self._packing = Strand(workers) if workers.is_free else self._hashing
        self._hash = hashlib.sha256()
        self._hashed = self._packed = 0  # bytes
        self._blocks: list[bytes | None] = []  # packed; None: kept as it is
        self._trying = Trying()
        self._error: BaseException | None = None

    def advance(self, dataset: memoryview) -> None:
        """Let threads work on the blocks that are complete."""
        end = len(dataset) // BLOCK_BYTES * BLOCK_BYTES
        self._hashing.post(partial(self._do, self._hash_to, dataset, end))
        if self._width:
            self._packing.post(partial(self._do, self._pack_to, dataset, end))

    def finish(self, dataset: memoryview, then: Callable[[], None]) -> None:
        """The data set is all there: do the rest of it, and then, in whatever thread ends last, ``then``."""
        then = _Last(2, then)
        self._hashing.post(partial(self._do, self._hash_to, dataset, len(dataset), then))
        self._packing.post(partial(self._do, self._pack_to, dataset, len(dataset), then))

    def digest(self) -> Digest:
        """Of the whole data set, once it is finished; raises what went wrong on the way."""
        if self._error is not None:
            raise self._error
        return Digest(self._hash.digest())

    def packed(self, dataset: memoryview) -> Packed | None:
        """The whole data set packed, likewise; None if that is not worth it."""
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

    def _do(
        self,
        work: Callable[[memoryview, int], None],
        dataset: memoryview,
        end: int,
        then: Callable[[], None] | None = None,
    ) -> None:
        try:
            work(dataset, end)
        except BaseException as exc:  # noqa: BLE001 - it is raised where the digest is asked for
            self._error = exc
        if then is not None:
            then()

    def _hash_to(self, dataset: memoryview, end: int) -> None:
        self._hash.update(dataset[self._hashed : end])
        self._hashed = end

    def _pack_to(self, dataset: memoryview, end: int) -> None:
        while self._width and self._packed < end:
            block = dataset[self._packed : min(self._packed + BLOCK_BYTES, end)]
            self._packed += len(block)
            packed: Buffer = self._codec.pack_block(block, self._width) if self._trying.is_due else block
            smaller = len(packed) < len(block)
            self._trying.note(smaller=smaller)
            self._blocks.append(bytes(packed) if smaller else None)


class _Last:
    """Calls ``then`` when it is called for the last of so many times."""

    def __init__(self, times: int, then: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._left = times
        self._then = then

    def __call__(self) -> None:
        with self._lock:
            self._left -= 1
            is_last = not self._left
        if is_last:
            self._then()
