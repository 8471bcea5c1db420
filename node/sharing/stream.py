"""One object stream: frames of whole instances, at the peer's pace, checked before each.

An instance that is packed on the disk goes as it lies there if the recipient can take that: decrypted, not unpacked.

A stream that must stop does so before the next instance, with a STOP frame that says why; if the instance that is on
its way is not out within half a second, the connection is cut.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from node.clock import Clock
from node.errors.base import LeveretError
from node.errors.crypto_keys import IntegrityError
from node.errors.sharing import ObjectUnavailable, StreamCut
from node.errors.storage import StoreError
from node.model.ids import PeerId, RequestId, SOPInstanceUID
from node.model.release import ReleaseManifest
from node.peers import frames
from node.peers.limits import PIECE_BYTES
from node.store.codec import CODEC_SHUFFLE_ZSTD, MAX_WIRE_BYTES, Layout
from node.store.objects import ObjectStore
from node.store.reading import ObjectReader

STOP_SECONDS = 0.5  # between the order to stop and the cut
WHOLE_BYTES = 8 * 1024 * 1024  # objects up to this are decrypted in one go, so damage is known before the first byte
LOOK_UP = 64  # instances whose places are looked up at once
BURST_SECONDS = 0.25  # what a pace may save up; short, so that a low rate is smooth

Writer = Callable[[bytes | bytearray | memoryview], Awaitable[None]]


class Pace:
    """How fast a peer is sent to: a token bucket for all its streams. ``rate`` in bytes a second; 0: no limit."""

    def __init__(self, clock: Clock) -> None:
        self.rate = 0
        self._clock = clock
        self._paid_until = clock.monotonic()

    async def take(self, count: int) -> None:
        """Wait until ``count`` bytes may be sent; first come, first served."""
        if self.rate <= 0:
            return
        now = self._clock.monotonic()
        self._paid_until = max(self._paid_until, now - BURST_SECONDS) + count / self.rate
        if self._paid_until > now:
            await asyncio.sleep(self._paid_until - now)


class LiveRelease:
    """A release that is being streamed, or was a moment ago."""

    def __init__(self, request_id: RequestId, peer: PeerId, pace: Pace) -> None:
        self.request_id = request_id
        self.peer = peer
        self.pace = pace
        self.manifest: ReleaseManifest | None = None  # once it was loaded and found good
        self.loading = asyncio.Lock()
        self.streams = 0
        self.idle_since = 0.0
        self.stopped = False
        self.code = ""  # why
        self.sent: set[int] = set()
        self.bytes_sent = 0
        self.done_before = (0, 0)  # instances and bytes of earlier sittings
        self.wire_bytes = 0
        self.unwritten = False  # there is progress that the index does not know
        self.damaged: set[int] = set()
        self._limits: set[asyncio.Timeout] = set()

    def stop(self, code: str) -> None:
        """Let every stream end before its next instance, and cut it off if that takes too long."""
        if self.stopped:
            return
        self.stopped, self.code = True, code
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS
        for limit in self._limits:
            limit.reschedule(deadline)

    def enter(self, limit: asyncio.Timeout) -> None:
        """Cut off whatever runs under ``limit`` after ``stop``."""
        self._limits.add(limit)

    def leave(self, limit: asyncio.Timeout) -> None:
        """It has ended."""
        self._limits.discard(limit)


class OutStream:
    """One stream that was opened (``peers.handlers_requests.ObjectSource``)."""

    def __init__(
        self,
        store: ObjectStore,
        live: LiveRelease,
        manifest: ReleaseManifest,
        indexes: Sequence[int],
        check: Callable[[LiveRelease], None],
        *,
        packed: bool = False,
    ) -> None:
        self._packed = packed
        self._store = store
        self._live = live
        self._manifest = manifest
        self._indexes = indexes
        self._check = check

    async def run(self, write: Writer) -> None:
        """Write the whole stream, its end frame included.

        Raises:
            StreamCut: it had to stop in the middle of an instance; the caller must break the connection.
        """
        try:
            async with asyncio.timeout(None) as limit:
                self._live.enter(limit)
                try:
                    await self._send(write)
                finally:
                    self._live.leave(limit)
        except TimeoutError as exc:
            raise StreamCut from exc

    async def _send(self, write: Writer) -> None:
        readers: dict[SOPInstanceUID, ObjectReader] = {}
        for place, index in enumerate(self._indexes):
            try:
                if place % LOOK_UP == 0:
                    readers = await self._store.readers(self._uids(place))
                self._check(self._live)
                opened = await self._open(index, readers)
            except LeveretError as exc:
                await write(frames.stop_frame(exc.code))
                return
            await self._send_instance(index, opened, write)
        await write(frames.END_FRAME)

    def _uids(self, place: int) -> list[SOPInstanceUID]:
        return [self._manifest.instances[i][1].sop_instance_uid for i in self._indexes[place : place + LOOK_UP]]

    async def _open(self, index: int, readers: Mapping[SOPInstanceUID, ObjectReader]) -> "_Opened":
        """An instance in the form in which it goes, with its first bytes (all of them unless it is large)."""
        entry = self._manifest.instances[index][1]
        reader = readers.get(entry.sop_instance_uid)
        if index in self._live.damaged or reader is None or reader.size != entry.size:
            raise ObjectUnavailable
        try:
            return await _opened(reader, packed=self._packed)
        except (StoreError, IntegrityError) as exc:
            raise ObjectUnavailable from exc

    async def _send_instance(self, index: int, opened: "_Opened", write: Writer) -> None:
        reader, layout = opened.reader, opened.layout
        if layout is None:
            end = reader.size
            await self._write(frames.head(index, end), write)
        else:
            end = layout.starts[-1]
            await self._write(frames.head(index, layout.packed_size, CODEC_SHUFFLE_ZSTD) + layout.encode(), write)
        await self._write(opened.first, write)
        offset = len(opened.first)
        while offset < end:
            try:
                piece = await opened.read(offset)
            except LeveretError as exc:
                self._live.damaged.add(index)  # next time it is refused before it begins
                raise StreamCut from exc
            await self._write(piece, write)
            offset += len(piece)
        if index not in self._live.sent:
            self._live.sent.add(index)
            self._live.bytes_sent += reader.size
        self._live.unwritten = True

    async def _write(self, data: bytes, write: Writer) -> None:
        view = memoryview(data)
        for start in range(0, len(view), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            await self._live.pace.take(len(piece))
            await write(piece)
            self._live.wire_bytes += len(piece)


@dataclass(frozen=True, slots=True)
class _Opened:
    """An instance that is about to be sent: packed as ``layout`` says, or (None) not."""

    reader: ObjectReader
    layout: Layout | None
    first: bytes

    async def read(self, offset: int) -> bytes:
        """What follows at ``offset``: of the blocks, or of the data set."""
        if self.layout is None:
            return await self.reader.read(offset, WHOLE_BYTES)
        return (await self.reader.read_packed(offset, WHOLE_BYTES))[1]


async def _opened(reader: ObjectReader, *, packed: bool) -> _Opened:
    if packed and reader.size <= MAX_WIRE_BYTES:
        layout, first = await reader.read_packed(0, WHOLE_BYTES)
        if layout is not None:
            return _Opened(reader, layout, first)
    return _Opened(reader, None, await reader.read(0, WHOLE_BYTES))
