"""One object stream as it comes in, and the way of each instance from there into the staging area."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from node.dicom.pool import ParserPool
from node.errors.peers import RemoteRefusal
from node.errors.sharing import FrameError, InstanceConflict, ReleaseMismatch, StreamCut
from node.errors.storage import DigestMismatch
from node.model.instance import InstanceHeader, ManifestEntry
from node.model.release import ReleasedStudy, ReleaseManifest
from node.peers.client import PeerClient
from node.peers.frames import HEAD_BYTES, MAX_CODE_BYTES, EndFrame, FrameReader, PieceFrame, StopFrame
from node.peers.handlers_requests import OBJECTS, Wanted
from node.sharing.budget import Budget
from node.store.objects import ObjectStore, PutOutcome, PutResult

MEMORY_BYTES = 64 * 1024 * 1024  # instances of one transfer that are in memory at once, whole or in pieces
PIECE_BYTES = 16 * 1024 * 1024  # larger instances pass through in pieces of this; a header must fit into the first
PIECES = 3  # of one large instance in memory: being read, waiting, being written
OVERHEAD_BYTES = 64 * 1024  # what even the smallest instance counts for: its task and buffers
PUTS = 48  # instances on their way to the disk at once: many share a sync, and few queue inside the store
HEAD_SECONDS = 60.0  # the holder may have to load the release first

# Codes of a STOP frame after which the holder may well go on a moment later.
_PASSING = frozenset({"peer_not_trusted", "storage_failed", "index_busy", "store_closed"})


@dataclass(slots=True)
class Count:
    """What has come so far."""

    instances: int = 0
    size: int = 0
    wire_bytes: int = 0


class Stager:
    """Checks instances against the manifest and stages them."""

    def __init__(self, store: ObjectStore, parsers: ParserPool, manifest: ReleaseManifest, count: Count) -> None:
        self._store = store
        self._parsers = parsers
        self._manifest = manifest
        self._count = count
        self.budget = Budget(MEMORY_BYTES)
        self._places = asyncio.Semaphore(PUTS)

    async def take(self, index: int, data: bytes, taken: int) -> None:
        """Stage one whole instance; gives the budget back that was ``taken`` for it."""
        study, entry = self._manifest.instances[index]
        try:
            header = await self._parsers.parse_header(data, entry.transfer_syntax_uid)
            async with self._places:
                await self._stage(checked(header, study, entry), entry, data)
        finally:
            self.budget.give_back(taken)

    async def take_pieces(self, index: int, pieces: "asyncio.Queue[bytes | None]", taken: int) -> None:
        """Stage one large instance from its pieces; None is the end."""
        study, entry = self._manifest.instances[index]
        try:
            first = await pieces.get()
            assert first is not None
            source = _Beginning(first, entry.size)
            header = await self._parsers.parse_header(source, entry.transfer_syntax_uid)
            await self._stage(checked(header, study, entry), entry, _pieces(first, pieces))
        finally:
            self.budget.give_back(taken)

    async def _stage(self, header: InstanceHeader, entry: ManifestEntry, data: bytes | AsyncIterator[bytes]) -> None:
        try:
            result = await self._put(header, entry, data)
        except DigestMismatch as exc:
            raise ReleaseMismatch from exc
        if result.outcome is PutOutcome.QUARANTINED:
            raise InstanceConflict
        self._count.instances += 1
        self._count.size += entry.size

    async def _put(self, header: InstanceHeader, entry: ManifestEntry, data: bytes | AsyncIterator[bytes]) -> PutResult:
        origin, transfer = self._manifest.holder, self._manifest.request_id
        if isinstance(data, bytes):
            return await self._store.put(
                header, data, source="peer", origin=origin, transfer=transfer, expected=entry.digest
            )
        return await self._store.put_stream(
            header, data, source="peer", origin=origin, transfer=transfer, expected=entry.digest
        )


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
        header.patient.patient_id,
        header.patient.issuer or study.patient.issuer,
    )
    promised = (
        entry.sop_instance_uid,
        entry.sop_class_uid,
        entry.series_instance_uid,
        study.study_instance_uid,
        study.patient.patient_id,
        study.patient.issuer,
    )
    if said != promised:
        raise ReleaseMismatch
    return replace(header, patient=study.patient)


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
        self._expected: deque[int] = deque()
        self._taken = 0  # budget for the instance that comes next
        self._pieces: asyncio.Queue[bytes | None] | None = None  # of the large instance that is coming
        self._large: asyncio.Task[None] | None = None  # what takes them

    async def run(self, batch: Sequence[int]) -> None:
        """Ask for these instances and hand each to the stager; they may not be durable yet when this returns."""
        self._expected = deque(batch)
        reader = FrameReader(self._size_of, piece_bytes=PIECE_BYTES)
        most = sum(self._size(index) + HEAD_BYTES for index in batch) + HEAD_BYTES + MAX_CODE_BYTES
        path = OBJECTS.format(id=self._manifest.request_id)
        try:
            await self._make_room()
            async with self._client.stream(
                "POST", path, body=Wanted(list(batch)), max_bytes=most, head_seconds=HEAD_SECONDS
            ) as body:
                async for data in body:
                    self._count.wire_bytes += len(data)
                    for frame in reader.feed(data):
                        await self._handle(frame)
        finally:
            self._stager.budget.give_back(self._taken)
            self._taken = 0
            if self._pieces is not None and self._large is not None:
                self._large.cancel()  # its other pieces will not come
        if not reader.ended:
            raise StreamCut

    async def _handle(self, frame: PieceFrame | StopFrame | EndFrame) -> None:
        if isinstance(frame, StopFrame):
            raise StreamCut(frame.code) if frame.code in _PASSING else RemoteRefusal(frame.code, 403)
        if isinstance(frame, EndFrame):
            if self._expected:
                raise FrameError("instances are missing")
            return
        if frame.is_last and self._pieces is None:
            self._begin(self._stager.take(frame.index, frame.data, self._hand_over()))
        else:
            await self._pass_on(frame)
        if frame.is_last:
            self._expected.popleft()
            await self._make_room()

    async def _pass_on(self, frame: PieceFrame) -> None:
        if self._pieces is None:
            self._pieces = asyncio.Queue(maxsize=1)
            self._large = self._begin(self._stager.take_pieces(frame.index, self._pieces, self._hand_over()))
        await self._pieces.put(frame.data)
        if frame.is_last:
            await self._pieces.put(None)
            self._pieces = None

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        try:
            return self._puts.create_task(work)
        except RuntimeError:  # another instance has failed, and its error is on the way to end this stream too
            work.close()
            raise StreamCut from None

    async def _make_room(self) -> None:
        if self._expected:
            cost = min(self._size(self._expected[0]), PIECES * PIECE_BYTES) + OVERHEAD_BYTES
            self._taken = await self._stager.budget.take(cost)

    def _hand_over(self) -> int:
        taken, self._taken = self._taken, 0
        return taken

    def _size_of(self, index: int) -> int | None:
        """Instances come in the order in which they were asked for."""
        return self._size(index) if self._expected and self._expected[0] == index else None

    def _size(self, index: int) -> int:
        return self._manifest.instances[index][1].size


class _Beginning:
    """The first piece of a large data set, for the parser (``dicom.pool.ByteSource``)."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = data
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    async def read(self, offset: int, length: int) -> bytes:
        if min(offset + length, self._size) > len(self._data):
            raise ReleaseMismatch("a header of that length")
        return bytes(memoryview(self._data)[offset : offset + length])


async def _pieces(first: bytes, following: "asyncio.Queue[bytes | None]") -> AsyncIterator[bytes]:
    yield first
    while (piece := await following.get()) is not None:
        yield piece
