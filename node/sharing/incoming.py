"""One object stream as it comes in, and the way of each instance from there into the staging area."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from node.dicom.pool import ByteSource, ParserPool
from node.errors.peers import RemoteRefusal
from node.errors.sharing import FrameError, InstanceConflict, ReleaseMismatch, StreamCut
from node.errors.storage import BlockDamaged, DigestMismatch
from node.model.ids import Digest, PeerId, RequestId
from node.model.instance import InstanceHeader, ManifestEntry
from node.model.release import ReleasedStudy, ReleaseManifest
from node.peers.client import PeerClient
from node.peers.frames import EndFrame, FrameReader, PieceFrame, StopFrame
from node.peers.handlers_requests import OBJECTS, Wanted
from node.peers.object_stream import ObjectStream
from node.sharing.budget import Budget
from node.store.buffers import Buffers
from node.store.codec import (
    CODEC_IDENTITY,
    CODEC_SHUFFLE_ZSTD,
    MAX_WIRE_BYTES,
    Buffer,
    Layout,
    Packed,
    packed_limit,
    tail_size,
)
from node.store.objects import ObjectStore, PutOutcome, PutResult

MEMORY_BYTES = 64 * 1024 * 1024  # instances of one transfer that are in memory at once, whole or in pieces
PIECE_BYTES = (
    16 * 1024 * 1024
)  # larger instances pass through in pieces of this; tail and header must fit into the first
FORMS = 2  # in which a small one is in memory: as it came, and as it is
PIECES = 3  # of one large instance in memory: being read, waiting, being written
CODECS = (CODEC_SHUFFLE_ZSTD,)  # that holders are asked for; what they do not know they do not use
OVERHEAD_BYTES = 64 * 1024  # what even the smallest instance counts for: its task and buffers
AHEAD = 4  # instances that a stream may receive before the next look at the budget
AHEAD_SHARE = 8  # and the part of the budget that they may take together
UNSYNCED_BYTES = 192 * 1024 * 1024  # on their way to the disk: written, not yet durable, and in no memory of this node
HEAD_SECONDS = 60.0  # the holder may have to load the release first

# Codes of a STOP frame after which the holder may well go on a moment later.
_PASSING = frozenset({"peer_not_trusted", "storage_failed", "index_busy", "store_closed"})


@dataclass(slots=True)
class Count:
    """What has come so far."""

    instances: int = 0
    size: int = 0
    wire_bytes: int = 0


class _How(TypedDict):
    source: str
    origin: PeerId
    transfer: RequestId
    expected: Digest


class Stager:
    """Checks instances against the manifest and stages them."""

    def __init__(self, store: ObjectStore, parsers: ParserPool, manifest: ReleaseManifest, count: Count) -> None:
        self._store = store
        self._parsers = parsers
        self._manifest = manifest
        self._count = count
        self.budget = Budget(MEMORY_BYTES)
        self.rooms = Buffers()
        self._on_the_way = Budget(UNSYNCED_BYTES)

    async def take(self, frame: PieceFrame, taken: int) -> None:
        """Stage one whole instance; gives the budget back that was ``taken`` for it."""
        study, entry = self._manifest.instances[frame.index]
        memory = _Memory(self, frame.room, taken)
        data: Buffer
        try:
            packed, data = None, frame.data
            if frame.codec == CODEC_SHUFFLE_ZSTD:
                packed = Packed.from_wire(data, entry.size)
                data = memory.room(entry.size)
                await self._store.unpack_into(packed, data)
            header = await self._parsers.header(data, entry.transfer_syntax_uid)
            unsynced = await self._on_the_way.take(entry.size)
            try:
                put = self._store.put(
                    checked(header, study, entry), data, packed=packed, written=memory.is_free, **self._how(entry)
                )
                self._staged(await put, entry)
            finally:
                self._on_the_way.give_back(unsynced)
        except (BlockDamaged, DigestMismatch) as exc:
            raise ReleaseMismatch from exc
        finally:
            memory.release()

    async def take_pieces(self, index: int, pieces: "asyncio.Queue[PieceFrame | None]", taken: int) -> None:
        """Stage one large instance from its pieces; None is the end."""
        study, entry = self._manifest.instances[index]
        try:
            first = await pieces.get()
            assert first is not None
            layout, data = None, first.data
            source: ByteSource = _Beginning(data, entry.size)
            if first.codec == CODEC_SHUFFLE_ZSTD:
                layout, data = _layout(first, entry.size), data[tail_size(entry.size) :]
                source = _PackedBeginning(self._store, layout, data)
            header = await self._parsers.parse_header(source, entry.transfer_syntax_uid)
            stream = _pieces(data, pieces)
            put = self._store.put_stream(checked(header, study, entry), stream, layout=layout, **self._how(entry))
            self._staged(await put, entry)
        except (BlockDamaged, DigestMismatch) as exc:
            raise ReleaseMismatch from exc
        finally:
            self.budget.give_back(taken)

    def _how(self, entry: ManifestEntry) -> "_How":
        return _How(
            source="peer", origin=self._manifest.holder, transfer=self._manifest.request_id, expected=entry.digest
        )

    def _staged(self, result: PutResult, entry: ManifestEntry) -> None:
        if result.outcome is PutOutcome.QUARANTINED:
            raise InstanceConflict
        self._count.instances += 1
        self._count.size += entry.size


class _Memory:
    """What one instance takes of a stager's memory until it is written, or has failed."""

    def __init__(self, stager: Stager, room: bytearray, taken: int) -> None:
        self._stager = stager
        self._rooms = [room]
        self._taken = taken

    def room(self, size: int) -> memoryview:
        """Room for another form of it."""
        self._rooms.append(self._stager.rooms.take(size))
        return memoryview(self._rooms[-1])[:size]

    def is_free(self) -> None:
        """Nobody looks at its bytes any more: let other instances be received there."""
        for room in self._rooms:
            self._stager.rooms.give_back(room)
        self.release()

    def release(self) -> None:
        """Give the budget back; the memory itself goes when whoever still looks at it is done."""
        taken, self._taken = self._taken, 0
        self._stager.budget.give_back(taken)


def checked(header: InstanceHeader, study: ReleasedStudy, entry: ManifestEntry) -> InstanceHeader:
    """The header of a received instance under its origin's patient, if it is the instance that the manifest promises.

    Raises:
        ReleaseMismatch: another instance, series, study, class, patient or issuer.
    """
    said = (
        header.sop_instance_uid,
        header.sop_class_uid,
        header.series_instance_uid,
        header.study_instance_uid,
    )
    promised = (
        entry.sop_instance_uid,
        entry.sop_class_uid,
        entry.series_instance_uid,
        study.study_instance_uid,
    )
    patients = {study.patient, *study.formerly}
    named = {replace(header.patient, issuer=header.patient.issuer or one.issuer) for one in patients}
    if said != promised or not named & patients:
        raise ReleaseMismatch
    return replace(header, patient=study.patient, demographics=study.demographics)


class IncomingStream:
    """One POST and the instances that answer it."""

    def __init__(
        self, client: PeerClient, manifest: ReleaseManifest, stager: Stager, count: Count, puts: asyncio.TaskGroup
    ) -> None:
        self._client = client
        self._manifest = manifest
        self._stager = stager
        self._count = count
        self._puts = puts
        self._promised: deque[int] = deque()  # not begun on the wire
        self._taken: deque[int] = deque()  # budget for each instance that may be read

    async def run(self, batch: Sequence[int]) -> None:
        """Ask for these instances and hand each to the stager; they may not be durable yet when this returns."""
        self._promised = deque(batch)
        reader = FrameReader(self._fits, piece_bytes=packed_limit(PIECE_BYTES), allocate=self._stager.rooms.take)
        path, wanted = OBJECTS.format(id=self._manifest.request_id), Wanted(list(batch), list(CODECS))
        stream: ObjectStream | None = None
        try:
            await self._make_room(batch)
            async with self._client.objects(path, wanted, reader, head_seconds=HEAD_SECONDS) as stream:
                ahead = deque(batch)
                while ahead:
                    if not self._taken:
                        await self._make_room(ahead)
                    stream.allow(len(self._taken))
                    while self._taken:
                        await self._take(ahead.popleft(), stream)
                if not isinstance(await stream.take(), EndFrame):
                    raise FrameError("no end after the last instance")
                await stream.finish()
        finally:
            while self._taken:
                self._stager.budget.give_back(self._taken.popleft())
            if stream is not None:
                self._count.wire_bytes += stream.received

    async def _take(self, index: int, stream: ObjectStream) -> None:
        frame = await self._piece(stream)
        if self._size(index) <= PIECE_BYTES:
            self._begin(self._stager.take(frame, self._taken.popleft()))
            return
        pieces: asyncio.Queue[PieceFrame | None] = asyncio.Queue(maxsize=1)
        large = self._begin(self._stager.take_pieces(index, pieces, self._taken.popleft()))
        try:
            await pieces.put(frame)
            while not frame.is_last:
                stream.allow(1)
                frame = await self._piece(stream)
                await pieces.put(frame)
            await pieces.put(None)
        except BaseException:
            large.cancel()  # its other pieces will not come
            raise

    async def _piece(self, stream: ObjectStream) -> PieceFrame:
        frame = await stream.take()
        if isinstance(frame, StopFrame):
            raise StreamCut(frame.code) if frame.code in _PASSING else RemoteRefusal(frame.code, 403)
        if isinstance(frame, EndFrame):
            raise FrameError("instances are missing")
        return frame

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        try:
            return self._puts.create_task(work)
        except RuntimeError:  # another instance has failed, and its error is on the way to end this stream too
            work.close()
            raise StreamCut from None

    async def _make_room(self, ahead: Sequence[int]) -> None:
        """Take the budget of the next few instances, at once: nobody may wait for more with some in hand."""
        costs: list[int] = []
        for index in ahead:
            cost = min(FORMS * self._size(index), PIECES * PIECE_BYTES) + OVERHEAD_BYTES
            if costs and (sum(costs) + cost > MEMORY_BYTES // AHEAD_SHARE or len(costs) == AHEAD):
                break
            costs.append(cost)
        taken = await self._stager.budget.take(sum(costs))
        self._taken.extend(costs if len(costs) > 1 else [taken])

    def _fits(self, index: int, codec: int, length: int) -> bool:
        """Instances come in the order in which they were asked for, and are not longer than the manifest says."""
        if not self._promised or self._promised.popleft() != index:
            return False
        size = self._size(index)
        if codec == CODEC_SHUFFLE_ZSTD:
            return size <= MAX_WIRE_BYTES and tail_size(size) < length <= packed_limit(size)
        return codec == CODEC_IDENTITY and length == size

    def _size(self, index: int) -> int:
        return self._manifest.instances[index][1].size


class _Beginning:
    """The first piece of a large data set, for the parser (``dicom.pool.ByteSource``)."""

    def __init__(self, data: Buffer, size: int) -> None:
        self._data = data
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    async def read(self, offset: int, length: int) -> bytes:
        if min(offset + length, self._size) > len(self._data):
            raise ReleaseMismatch("a header of that length")
        return bytes(memoryview(self._data)[offset : offset + length])


class _PackedBeginning:
    """The same of a packed one, of which it unpacks no more than is read."""

    def __init__(self, store: ObjectStore, layout: Layout, blocks: Buffer) -> None:
        self._store = store
        self._layout = layout
        self._blocks = blocks

    @property
    def size(self) -> int:
        return self._layout.size

    async def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        if end > PIECE_BYTES:
            raise ReleaseMismatch("a header of that length")
        return await self._store.unpack(self._layout, self._blocks, offset, end)


def _layout(first: PieceFrame, size: int) -> Layout:
    layout = Layout.decode(first.data[: tail_size(size)], size)
    if layout.packed_size != first.length:
        raise BlockDamaged
    return layout


async def _pieces(first: Buffer, following: "asyncio.Queue[PieceFrame | None]") -> AsyncIterator[Buffer]:
    yield first
    while (piece := await following.get()) is not None:
        yield piece.data
