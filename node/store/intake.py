"""Taking instances in: judge, encrypt, append, answer when durable.

The order of things for one instance: its study's space is open (key row committed), nobody else is storing the same SOP
Instance UID, what is held under that UID is known (from the index and from the records that the index does not know
yet); then one thread hashes, judges and encrypts, and the pack's thread writes and syncs.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from node.clock import Clock
from node.errors.base import LeveretError
from node.errors.storage import DigestMismatch
from node.model.ids import Digest, ObjectId, PeerId, RequestId, SOPInstanceUID, StudyInstanceUID
from node.model.instance import InstanceHeader
from node.store.buffers import Buffers
from node.store.codec import Codec, Packed, element_width
from node.store.direct import Direct
from node.store.index_rows import Entry
from node.store.indexer import Indexer
from node.store.known import Kind, Known, KnownInstances
from node.store.pack_format import Buffer, QuarantineReason, RecordBuilder, RecordMeta
from node.store.packing import AsItIs, Form, PackingStream
from node.store.packs import Disk, Done, Pack, Written
from node.store.preparing import Preparation
from node.store.replay import is_intact
from node.store.spaces import Space, Spaces
from node.store.waiting import Steady, Turns, steadily
from node.store.workers import Workers

MAX_OPEN_PACKS = 64  # files kept open for appending; the least recently used are sealed


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of an instance beside its header and its bytes."""

    file_meta: bytes
    source: str
    origin: PeerId | None
    transfer: RequestId | None
    expected: Digest | None
    packed: Packed | None = None  # the same bytes, packed already
    written: Written | None = None  # called once their memory is not needed any more
    preparation: Preparation | None = None  # what was done while they arrived


@dataclass(frozen=True, slots=True)
class Record:
    """A record that is about to be durable."""

    meta: RecordMeta
    object_id: ObjectId
    length: int


def judge(
    known: Sequence[Known], digest: Digest, contradiction: QuarantineReason | None
) -> Known | QuarantineReason | None:
    """What becomes of an instance with ``digest``: held already, to be put aside, or (None) new.

    One that was put aside before is new once what it contradicted is gone.
    """
    kept = [one for one in known if one.kind is not Kind.ASIDE]
    same = [one for one in kept if one.digest == digest]
    if same:
        return same[0]
    held = any(one.kind is not Kind.SUPERSEDED for one in kept)
    reason = QuarantineReason.CONTENT_DIFFERS if held else contradiction
    if reason is None:
        return None
    return next((one for one in known if one.digest == digest), reason)


class _Landing:
    """An instance on its way into a pack, and whoever waits for it: how it is held, and whether it was already."""

    def __init__(self, intake: "Intake", space: Space, pack: bytes, known: Sequence[Known] = ()) -> None:
        self._loop = asyncio.get_running_loop()
        self._intake = intake
        self._pack = pack
        self.space = space
        self.known = known
        self.future: Steady[tuple[Known, bool]] = Steady()
        space.unindexed += 1

    def tell(self, what: Callable[..., None], *args: object) -> None:
        """Call in the loop; from a thread."""
        self._loop.call_soon_threadsafe(what, *args)

    def landed(self, record: Record, outcome: int | LeveretError) -> None:
        """The record is durable at an offset, or not."""
        if isinstance(outcome, LeveretError):
            self.failed(type(outcome)(outcome.fact))
            return
        meta = record.meta
        kind = Kind.ASIDE if meta.quarantine else Kind.STAGED if meta.transfer else Kind.VISIBLE
        held = Known(kind, meta.digest, record.object_id, meta.transfer)
        entry = Entry(meta, record.object_id, self._pack, outcome, outcome + record.length, self.space.key.space)
        self._intake.landed(entry, held, self.space)
        self.future.set_result((held, False))

    def is_held(self, known: Known) -> None:
        """It was held already."""
        self.space.unindexed -= 1
        self.future.set_result((known, True))

    def failed(self, error: BaseException) -> None:
        """It is not stored."""
        self.space.unindexed -= 1
        self.future.set_exception(error)


class Intake:
    """The way into the packs; owned by one ObjectStore."""

    def __init__(
        self,
        directory: Path,
        index: Direct,
        spaces: Spaces,
        indexer: Indexer,
        clock: Clock,
        *,
        codec: Codec,
        compress: bool,
        cpu: Workers,
        io: Executor,
        disk: Disk,
        reserve: int,
    ) -> None:
        self.disk = disk
        self.reserve = reserve
        self.codec = codec
        self._compress = compress
        self._directory = directory
        self._in_index = KnownInstances(index)
        self._spaces = spaces
        self._indexer = indexer
        self._clock = clock
        self._cpu = cpu
        self._io = io
        self._packs: OrderedDict[tuple[StudyInstanceUID, RequestId | None], Pack] = OrderedDict()
        self._retiring: set[Pack] = set()
        self._recent: dict[SOPInstanceUID, list[Known]] = {}  # durable, not yet in the index
        self._buffers = Buffers()
        self._turns: Turns[SOPInstanceUID] = Turns()

    def unindexed(self, instance: SOPInstanceUID) -> bool:
        """Whether something under this UID is durable that the index does not show yet."""
        return instance in self._recent

    async def put(self, header: InstanceHeader, dataset: Buffer, arrival: Arrival) -> tuple[Known, bool]:
        """Store one instance; returns how it is held, and whether it was held already."""
        if self._indexer.failure is not None:
            raise type(self._indexer.failure)(self._indexer.failure.fact)
        async with (
            self._spaces.use(header.study_instance_uid) as space,
            self.turn(header.sop_instance_uid),
        ):
            contradiction, claimed = await self._claim(space, header, arrival.transfer)
            pack = self._pack_for(space, arrival.transfer)
            pack.enter()
            landing = _Landing(self, space, pack.name, self._known_recently(header.sop_instance_uid, arrival.transfer))
            try:
                work = partial(self._store, landing, pack, header, dataset, arrival, contradiction=contradiction)
                if arrival.preparation is not None:
                    arrival.preparation.finish(memoryview(dataset), work)
                else:
                    self._cpu.post(work)
                return await steadily(landing.future)
            finally:
                pack.leave()
                if claimed:
                    space.unclaim()

    def turn(self, instance: SOPInstanceUID) -> AbstractAsyncContextManager[None]:
        """Keep others from storing the same SOP Instance UID meanwhile."""
        return self._turns.turn(instance)

    async def look_up(
        self, space: Space, header: InstanceHeader, transfer: RequestId | None
    ) -> tuple[list[Known], QuarantineReason | None, bool]:
        """What is held under the instance's UID, what a new one contradicts, and whether it now claims the study."""
        known = self._known_recently(header.sop_instance_uid, transfer)
        known.extend(await self._cpu.run(partial(self._in_index.find, header.sop_instance_uid, transfer)))
        return known, *await self._claim(space, header, transfer)

    async def commit(self, space: Space, record: Record, append: Callable[[Done], None], pack: bytes) -> Known:
        """Append ``record`` and wait until it is durable; from then on it is on its way into the index.

        Goes on to the end if the caller is cancelled, because the record is written all the same.
        """
        landing = _Landing(self, space, pack)
        append(partial(landing.landed, record))
        held, _ = await steadily(landing.future)
        return held

    def landed(self, entry: Entry, held: Known, space: Space) -> None:
        """``entry`` is durable."""
        instance = entry.meta.header.sop_instance_uid
        if held.kind is Kind.VISIBLE:
            space.settle()
        self._recent.setdefault(instance, []).append(held)

        def indexed() -> None:
            space.unindexed -= 1
            recent = self._recent[instance]
            recent.remove(held)
            if not recent:
                del self._recent[instance]

        self._indexer.add(entry, indexed)

    def meta(self, header: InstanceHeader, arrival: Arrival) -> RecordMeta:
        """Meta data that lacks digest, size and verdict."""
        return RecordMeta(
            header=header,
            digest=Digest(bytes(hashlib.sha256().digest_size)),
            size=0,
            file_meta=arrival.file_meta,
            received_at=self._clock.now(),
            source=arrival.source,
            origin=arrival.origin,
            transfer=arrival.transfer,
            quarantine=None,
        )

    def prepare(self, header: InstanceHeader) -> Preparation:
        """For an instance whose data set is still arriving."""
        return Preparation(self.codec, self._width(header), self._cpu)

    def form(self, header: InstanceHeader) -> Form:
        """How a stream of this instance is kept."""
        width = self._width(header)
        return PackingStream(self.codec, width) if width else AsItIs()

    def _width(self, header: InstanceHeader) -> int:
        return element_width(header) if self._compress else 0  # 0: kept as it is

    def is_damaged(self, held: Known, space: Space) -> bool:
        """Whether a visible object is not what was stored, so that the same bytes are to be stored anew; in a thread.

        Whoever sends again what is held is told that it is: so all of it is read, down to the last byte.
        """
        place = self._in_index.place(held.object_id) if held.kind is Kind.VISIBLE else None
        return place is not None and not is_intact(self._directory, *place, held.object_id, space.key)

    def retire(self, study: StudyInstanceUID | None = None, transfer: RequestId | None = None) -> list[Pack]:
        """Seal the open packs of ``study``, or of ``transfer``, or all of them; returns them."""
        chosen = [
            key
            for key in self._packs
            if (study is None or key[0] == study) and (transfer is None or key[1] == transfer)
        ]
        return [self._retire(key) for key in chosen]

    def sealed(self, pack: bytes, size: int) -> None:
        """``pack`` is complete with ``size`` bytes."""
        self._indexer.seal(pack, size)

    async def settled(self) -> None:
        """Wait until every retired pack is sealed."""
        for pack in list(self._retiring):
            await pack.settled()

    async def _claim(
        self, space: Space, header: InstanceHeader, transfer: RequestId | None
    ) -> tuple[QuarantineReason | None, bool]:
        """What the instance contradicts if it is new, and whether it now claims the study.

        Staged instances make no claim: they are compared with the study when they are admitted.
        """
        if transfer is not None:
            return None, False
        contradiction = await self._spaces.contradiction(space, header.patient, header.series_instance_uid)
        return contradiction, contradiction is None

    def _store(
        self,
        landing: "_Landing",
        pack: Pack,
        header: InstanceHeader,
        dataset: Buffer,
        arrival: Arrival,
        *,
        contradiction: QuarantineReason | None,
    ) -> None:
        """All the work on one instance, in one visit to a thread; hashing, packing and encrypting let others go on."""
        try:
            known = [*landing.known, *self._in_index.find(header.sop_instance_uid, arrival.transfer)]
            ready = self._prepare(landing.space, header, dataset, arrival, known=known, contradiction=contradiction)
            if isinstance(ready, Known):
                landing.tell(landing.is_held, ready)
                return
            record, buffer = ready
            pack.append(
                [memoryview(buffer)[: record.length]],
                partial(landing.landed, record),
                written=partial(self._written, buffer, arrival.written, landing),
                here=self._cpu.is_idle,  # else the other instances would wait for the disk, too
            )
        except BaseException as exc:  # noqa: BLE001 - it is raised where the instance is waited for
            landing.tell(landing.failed, exc)

    def _prepare(
        self,
        space: Space,
        header: InstanceHeader,
        dataset: Buffer,
        arrival: Arrival,
        *,
        known: Sequence[Known],
        contradiction: QuarantineReason | None,
    ) -> Known | tuple[Record, bytearray]:
        view = memoryview(dataset)
        preparation = arrival.preparation
        digest = preparation.digest() if preparation else Digest(hashlib.sha256(view).digest())
        if arrival.expected is not None and digest != arrival.expected:
            raise DigestMismatch
        verdict = judge(known, digest, contradiction)
        if isinstance(verdict, Known):
            if not self.is_damaged(verdict, space):
                return verdict
            verdict = None
        packed = arrival.packed
        if packed is None:
            packed = preparation.packed(view) if preparation else self.codec.pack(view, self._width(header))
        builder = RecordBuilder.for_packed(space.key, packed)
        meta = replace(self.meta(header, arrival), digest=digest, size=len(view), quarantine=verdict)
        buffer, length = builder.whole(meta, view, self._buffers, packed)
        return Record(meta, builder.object_id, length), buffer

    def _written(self, buffer: bytearray, then: Written | None, landing: "_Landing") -> None:
        """A record is with the kernel: what is left to do needs none of this node's memory."""
        self._buffers.give_back(buffer)
        if then is not None:
            landing.tell(then)

    def _known_recently(self, instance: SOPInstanceUID, transfer: RequestId | None) -> list[Known]:
        """What is durable and perhaps not in the index yet: to be asked before the index is."""
        return [
            one for one in self._recent.get(instance, ()) if one.kind is not Kind.STAGED or one.transfer == transfer
        ]

    def _pack_for(self, space: Space, transfer: RequestId | None) -> Pack:
        key = (space.study, transfer)
        pack = self._packs.get(key)
        if pack is not None and pack.full:
            self._retire(key)
            pack = None
        if pack is None:
            pack = self._new_pack(space, transfer)
            self._packs[key] = pack
            if len(self._packs) > MAX_OPEN_PACKS:
                self._retire(next(iter(self._packs)))
        self._packs.move_to_end(key)
        return pack

    def _new_pack(self, space: Space, transfer: RequestId | None) -> Pack:
        return Pack(
            self._directory,
            space.key.space,
            transfer.value if transfer else None,
            disk=self.disk,
            executor=self._io,
            reserve=self.reserve,
        )

    def _retire(self, key: tuple[StudyInstanceUID, RequestId | None]) -> Pack:
        pack = self._packs.pop(key)
        self._retiring.add(pack)
        pack.retire(partial(self._retired, pack))
        return pack

    def _retired(self, pack: Pack) -> None:
        self._retiring.discard(pack)
        if pack.size:
            self.sealed(pack.name, pack.size)
