"""One object stream: frames of whole instances, at the peer's pace, checked before each.

An instance that is packed on the disk goes as it lies there if the recipient can take that: decrypted, not unpacked.

A stream that must stop does so before the next instance, with a STOP frame that says why; if the instance that is on
its way is not out within half a second, the connection is cut.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from node.clock import Clock
from node.errors.base import LeveretError
from node.errors.sharing import ObjectUnavailable, StreamCut
from node.errors.storage import ObjectDamaged
from node.model.ids import PeerId, RequestId
from node.model.release import ReleaseManifest
from node.peers import frames
from node.peers.limits import PIECE_BYTES
from node.sharing.budget import Budget
from node.store.codec import CODEC_SHUFFLE_ZSTD, MAX_WIRE_BYTES
from node.store.objects import ObjectStore
from node.store.reading import ObjectReader, Opening

STOP_SECONDS = 0.5  # between the order to stop and the cut
WHOLE_BYTES = 8 * 1024 * 1024  # objects up to this are decrypted in one go, so damage is known before the first byte
LOOK_UP = 64  # instances whose places are looked up at once, and the most that are read together
GROUP_BYTES = 4 * 1024 * 1024  # of small objects that are read in one visit to a thread, while others are sent
LANE_BYTES = 64 * 1024 * 1024  # of objects in memory for one peer, however many streams it opens and does not read
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


class Lane:
    """What all streams to one peer share."""

    def __init__(self, clock: Clock) -> None:
        self.pace = Pace(clock)
        self.memory = Budget(LANE_BYTES)
        self.streams = 0


class LiveRelease:
    """A release that is being streamed, or was a moment ago."""

    def __init__(self, request_id: RequestId, peer: PeerId, lane: Lane) -> None:
        self.request_id = request_id
        self.peer = peer
        self.lane = lane
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
        self._places: dict[int, ObjectReader | None] = {}  # of the instances that come next

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
        groups = self._groups()
        ahead = self._begin(groups)
        try:
            while ahead is not None:
                try:
                    group = await ahead
                except LeveretError as exc:
                    await write(frames.stop_frame(exc.code))
                    return
                ahead = self._begin(groups)  # read while this one is on its way
                try:
                    if not await self._send_group(group, write):
                        return
                finally:
                    self._live.lane.memory.give_back(group.taken)
            await write(frames.END_FRAME)
        finally:
            await self._drop(ahead)

    def _groups(self) -> Iterator[list[int]]:
        """What is read together: a few small instances, or a large one."""
        group: list[int] = []
        size = 0
        for index in self._indexes:
            more = self._manifest.instances[index][1].size
            if group and (size + more > GROUP_BYTES or len(group) == LOOK_UP):
                yield group
                group, size = [], 0
            group.append(index)
            size += more
        yield group

    def _begin(self, groups: Iterator[list[int]]) -> "asyncio.Task[_Group] | None":
        indexes = next(groups, None)
        return None if indexes is None else asyncio.create_task(self._read(indexes), name="transfer-read")

    async def _drop(self, ahead: "asyncio.Task[_Group] | None") -> None:
        """Let go of what was read in vain."""
        if ahead is None:
            return
        ahead.cancel()
        await asyncio.wait((ahead,))
        if not ahead.cancelled() and ahead.exception() is None:
            self._live.lane.memory.give_back(ahead.result().taken)

    async def _read(self, indexes: Sequence[int]) -> "_Group":
        """Instances in the form in which they go, with their first bytes (all of them unless they are large)."""
        entries = [self._manifest.instances[index][1] for index in indexes]
        taken = await self._live.lane.memory.take(sum(min(2 * entry.size, 2 * WHOLE_BYTES) for entry in entries))
        try:
            readers = await self._look_up(indexes)
            openings = await self._open(list(readers.values()))
        except BaseException:
            self._live.lane.memory.give_back(taken)
            raise
        opened = {
            index: _Opened(reader, opening)
            for (index, reader), opening in zip(readers.items(), openings, strict=True)
            if isinstance(opening, Opening)
        }
        return _Group([(index, opened.get(index)) for index in indexes], taken)

    async def _look_up(self, indexes: Sequence[int]) -> dict[int, ObjectReader]:
        """Readers of those that are still held as they were released."""
        if any(index not in self._places for index in indexes):
            start = self._indexes.index(indexes[0])
            ahead = {i: self._manifest.instances[i][1] for i in self._indexes[start : start + LOOK_UP]}
            found = await self._store.readers([entry.sop_instance_uid for entry in ahead.values()])
            self._places = {i: found.get(entry.sop_instance_uid) for i, entry in ahead.items()}
        places = [(index, self._places.get(index), self._manifest.instances[index][1].size) for index in indexes]
        return {index: reader for index, reader, size in places if reader is not None and reader.size == size}

    async def _open(self, readers: Sequence[ObjectReader]) -> Sequence[Opening | ObjectDamaged]:
        if not readers:
            return ()
        packed = self._packed and readers[0].size <= MAX_WIRE_BYTES  # larger ones are read alone
        return await readers[0].open_with(readers[1:], WHOLE_BYTES, packed=packed)

    async def _send_group(self, group: "_Group", write: Writer) -> bool:
        """Send what was read together; False: it had to stop, and has said so."""
        for index, opened in group.instances:
            try:
                self._check(self._live)
                if opened is None or index in self._live.damaged:
                    raise ObjectUnavailable
            except LeveretError as exc:
                await write(frames.stop_frame(exc.code))
                return False
            await self._send_instance(index, opened, write)
        return True

    async def _send_instance(self, index: int, opened: "_Opened", write: Writer) -> None:
        reader, layout = opened.reader, opened.opening.layout
        if layout is None:
            end = reader.size
            head = frames.head(index, end)
        else:
            end = layout.starts[-1]
            head = frames.head(index, layout.packed_size, CODEC_SHUFFLE_ZSTD) + layout.encode()
        offset = len(opened.opening.first)
        await self._write(head + opened.opening.first, write)
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
            await self._live.lane.pace.take(len(piece))
            await write(piece)
            self._live.wire_bytes += len(piece)


@dataclass(frozen=True, slots=True)
class _Opened:
    """An instance that is about to be sent."""

    reader: ObjectReader
    opening: Opening

    async def read(self, offset: int) -> bytes:
        """What follows at ``offset``: of the blocks, or of the data set."""
        if self.opening.layout is None:
            return await self.reader.read(offset, WHOLE_BYTES)
        return (await self.reader.read_packed(offset, WHOLE_BYTES))[1]


@dataclass(frozen=True, slots=True)
class _Group:
    """Instances that were read together (None: gone or damaged), and the memory that is accounted for them."""

    instances: Sequence[tuple[int, _Opened | None]]
    taken: int
