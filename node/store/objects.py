"""The object store: the one door through which data sets come in and go out."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Self

from node.clock import Clock
from node.crypto.keystore import KeyStore
from node.errors.storage import StoreClosed, UnknownInstance
from node.log import Logger
from node.model.ids import (
    Digest,
    ObjectId,
    PatientKey,
    PeerId,
    RequestId,
    SeriesInstanceUID,
    SOPInstanceUID,
    StudyInstanceUID,
)
from node.model.instance import InstanceHeader, Manifest, SeriesSummary, StoredInstance, StudySummary
from node.model.withdrawal import CorrectedIdentity
from node.store import (
    admission,
    frame_tables,
    identity,
    quarantine,
    removal,
    revisions,
    scrub,
    study_queries,
    tombstones,
)
from node.store.admission import Admission
from node.store.codec import Codec, Layout, Packed
from node.store.direct import Direct
from node.store.engine import Database, Write
from node.store.files import make_folder
from node.store.indexer import Indexer, Observer
from node.store.intake import Arrival, Intake
from node.store.known import Kind, Known
from node.store.pack_format import Buffer, SpaceKey
from node.store.packs import Disk, Written
from node.store.preparing import Preparation
from node.store.quarantine import Quarantined
from node.store.reading import ObjectReader
from node.store.replay import Replay, unlink_doomed
from node.store.scrub import Flaw, PackToCheck
from node.store.spaces import Spaces
from node.store.spool import Spool
from node.store.streaming import put_stream
from node.store.study_queries import InstanceQuery, SeriesQuery, StudyQuery, Totals
from node.store.workers import Workers

PACKS_FOLDER = "packs"
STREAM_FROM_BYTES = 64 * 1024 * 1024  # larger data sets should come by ``put_stream``: ``put`` holds two copies
_IO_THREADS = 8  # packs (and readers) that can wait for the disk at the same time

Recorder = Callable[[Write, Manifest], Awaitable[None]]


class PutOutcome(StrEnum):
    """What became of an instance. It is durable in every case."""

    STORED = "stored"
    SAME = "same"  # held already, byte for byte
    QUARANTINED = "quarantined"  # contradicts what is held; kept aside, not visible


@dataclass(frozen=True, slots=True)
class PutResult:
    """The answer to a put."""

    outcome: PutOutcome
    digest: Digest
    object_id: ObjectId


class ObjectStore:
    """Studies as encrypted objects in packs, with their index: ``async with await ObjectStore.open(…)``."""

    def __init__(
        self,
        directory: Path,
        db: Database,
        clock: Clock,
        *,
        spaces: Spaces,
        indexer: Indexer,
        intake: Intake,
        index: Direct,
        codec: Codec,
        cpu: Workers,
        io: ThreadPoolExecutor,
    ) -> None:
        """See ``open``."""
        self._codec = codec
        self._directory = directory
        self._db = db
        self._spaces = spaces
        self._indexer = indexer
        self._intake = intake
        self._index = index
        self._clock = clock
        self._cpu = cpu
        self._io = io
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        directory: Path,
        db: Database,
        keys: KeyStore,
        clock: Clock,
        log: Logger,
        *,
        reserve_bytes: int,
        disk: Disk | None = None,
        observer: Observer | None = None,
        compress: bool = True,
    ) -> Self:
        """Open the store whose packs lie in ``directory``/packs (made if absent), after replaying what a crash left.

        ``reserve_bytes`` of the disk are left free: below that, puts are refused. ``observer`` is called with every
        batch of newly indexed records, in the transaction that indexes them (for the audit log). ``compress``: pack
        what gets smaller by it; packed objects are read in any case.
        """
        packs = directory / PACKS_FOLDER
        await asyncio.to_thread(make_folder, packs)
        spaces = Spaces(db, keys)
        await Replay(packs, db, spaces, log, observer).run()
        indexer = Indexer(db, log, observer)
        cpu = Workers((os.cpu_count() or 1) + 1, "store-cpu")  # one of them may wait for the disk
        io = ThreadPoolExecutor(_IO_THREADS, thread_name_prefix="store-io")
        codec, index = Codec(), Direct(db)
        intake = Intake(
            packs, index, spaces, indexer, clock, codec=codec, compress=compress, cpu=cpu, io=io, disk=disk or Disk(),
            reserve=reserve_bytes,
        )  # fmt: skip
        store = cls(
            packs, db, clock, spaces=spaces, indexer=indexer, intake=intake, index=index, codec=codec, cpu=cpu, io=io
        )
        store._task = asyncio.create_task(indexer.run(), name="store-indexer")
        return store

    async def close(self) -> None:
        """Seal all packs and bring the index up to date. Puts must have ended."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            self._intake.retire()
            await self._intake.settled()
            self._indexer.close()
            await task
        finally:
            await asyncio.to_thread(self._cpu.close)
            await asyncio.to_thread(self._io.shutdown)
            self._index.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # Taking in

    async def put(
        self,
        header: InstanceHeader,
        dataset: Buffer,
        *,
        file_meta: bytes = b"",
        source: str = "",
        origin: PeerId | None = None,
        transfer: RequestId | None = None,
        expected: Digest | None = None,
        packed: Packed | None = None,
        written: Written | None = None,
        preparation: Preparation | None = None,
    ) -> PutResult:
        """Store ``dataset`` (without group 0002), whose elements are ``header``; when this returns it survives a crash.

        Concurrent puts share their fdatasync. ``transfer``: the instance is staged, invisible until ``admit``.
        ``source`` says in one word how it came (``dicom``, ``import``, ``stow``, ``peer``). ``packed``: what
        ``dataset`` was unpacked from, to be kept as it is. ``written`` is called once neither is needed any more, which
        may be long before they are durable; not if this fails, or if they are held already. ``preparation``: what was
        done while ``dataset`` arrived.

        Raises:
            DigestMismatch: it is not ``expected``; nothing was kept.
            DiskFull, StorageFailed: not stored; nothing half-written remains, and what is stored stays readable.
        """
        self._require_open()
        arrival = Arrival(file_meta, source, origin, transfer, expected, packed, written, preparation)
        return _result(*await self._intake.put(header, dataset, arrival))

    def prepare(self, header: InstanceHeader) -> Preparation:
        """For an instance whose data set is still arriving: to be told of what has, and handed to ``put``."""
        return self._intake.prepare(header)

    async def put_stream(
        self,
        header: InstanceHeader,
        stream: AsyncIterator[Buffer],
        *,
        file_meta: bytes = b"",
        source: str = "",
        origin: PeerId | None = None,
        transfer: RequestId | None = None,
        expected: Digest | None = None,
        layout: Layout | None = None,
    ) -> PutResult:
        """Like ``put`` for a data set of any size that arrives in pieces; about a megabyte is in memory at a time.

        ``layout``: what arrives are its blocks, packed like that; they are kept as they are.

        Raises:
            BlockDamaged: they do not hold what the layout says; nothing was kept.
        """
        self._require_open()
        arrival = Arrival(file_meta, source, origin, transfer, expected)
        async with self._spaces.use(header.study_instance_uid) as space:
            return _result(
                *await put_stream(
                    self._intake, space, header, stream, arrival, directory=self._directory, io=self._io, layout=layout
                )
            )

    async def unpack(self, layout: Layout, blocks: Buffer, offset: int, end: int) -> bytes:
        """The bytes from ``offset`` to ``end`` of a packed data set; ``blocks`` need not reach farther.

        Raises:
            BlockDamaged: they do not hold what the layout says.
        """
        work = partial(self._codec.unpack, layout, blocks, offset, min(end, layout.size))
        return b"".join(await self._cpu.run(work))

    async def unpack_into(self, packed: Packed, room: memoryview) -> None:
        """The whole of a packed data set, into ``room`` of its size.

        Raises:
            BlockDamaged: it is not what its layout says.
        """
        await self._cpu.run(partial(self._codec.unpack_into, packed, room))

    async def indexed(self) -> None:
        """Wait until all that was put before is in the index.

        Raises:
            LeveretError: the index cannot follow (disk full, damaged); the instances stay durable.
        """
        await self._indexer.flushed()

    # Transfers

    async def staged(self, transfer: RequestId) -> dict[SOPInstanceUID, Digest]:
        """What ``transfer`` has brought so far: where to resume."""
        await self.indexed()
        async with self._db.read() as rx:
            return await admission.staged(rx, transfer)

    async def admit(self, tx: Write, transfer: RequestId, manifest: Manifest, *, origin: PeerId) -> Admission:
        """Make the manifest's study visible as received from ``origin``, all of it or nothing, and close its revision.

        Part of the caller's transaction. Call ``indexed()`` before that begins: the index cannot follow during it.

        Raises:
            TransferIncomplete: an instance of the manifest is neither held nor staged.
        """
        admitted = await admission.admit(tx, transfer, manifest, origin=origin, now=self._clock.now())
        tx.after_commit(lambda: self._admitted(manifest, transfer))
        return admitted

    async def discard_staged(self, transfer: RequestId) -> None:
        """Forget what ``transfer`` brought and was not admitted. Its puts must have ended."""
        self._intake.retire(transfer=transfer)
        await self._intake.settled()
        await self.indexed()
        await removal.discard_staged(self._directory, self._db, transfer)

    def spool(self) -> Spool:
        """A scratch file beside the packs; for a thread."""
        return Spool(self._directory)

    # Reading

    async def reader(self, instance: SOPInstanceUID) -> ObjectReader:
        """A reader of a visible instance's data set.

        Raises:
            UnknownInstance: not held, or not visible.
        """
        readers = await self.readers((instance,))
        if instance not in readers:
            raise UnknownInstance
        return readers[instance]

    async def readers(self, instances: Sequence[SOPInstanceUID]) -> dict[SOPInstanceUID, ObjectReader]:
        """Readers of those among ``instances`` that are visible; one look into the index for all."""
        if any(self._intake.unindexed(instance) for instance in instances):
            await self.indexed()
        async with self._db.read() as rx:
            found = await study_queries.locate(rx, instances)
        keys: dict[bytes, SpaceKey] = {}
        for where in found.values():
            if where.space not in keys:
                keys[where.space] = self._spaces.unwrap(where.space, where.key_version, where.wrapped_key)
        return {
            uid: ObjectReader(where, keys[where.space], self._directory, codec=self._codec, executor=self._io)
            for uid, where in found.items()
        }

    async def frame_table(self, object_id: ObjectId) -> bytes | None:
        """What ``keep_frame_table`` kept of an object."""
        async with self._db.read() as rx:
            return await frame_tables.get(rx, object_id)

    async def keep_frame_table(self, object_id: ObjectId, frames: bytes) -> None:
        """Keep, as long as the object is here and visible, where its frames lie."""
        async with self._db.write() as tx:
            await frame_tables.keep(tx, object_id, frames)

    async def studies(self, query: StudyQuery = StudyQuery()) -> list[StudySummary]:  # noqa: B008 - frozen
        """Studies that match, newest first (``study_queries.find_studies``)."""
        async with self._db.read() as rx:
            return await study_queries.find_studies(rx, query)

    async def series(self, query: SeriesQuery) -> list[SeriesSummary]:
        """Series that match (``study_queries.find_series``)."""
        async with self._db.read() as rx:
            return await study_queries.find_series(rx, query)

    async def instances(self, query: InstanceQuery) -> list[StoredInstance]:
        """Instances that match (``study_queries.find_instances``)."""
        async with self._db.read() as rx:
            return await study_queries.find_instances(rx, query)

    async def count(self, query: StudyQuery | SeriesQuery | InstanceQuery, *, most: int) -> int:
        """How many match, counted up to ``most``."""
        async with self._db.read() as rx:
            return await study_queries.count(rx, query, most)

    async def totals(self) -> Totals:
        """What the store holds."""
        async with self._db.read() as rx:
            return await study_queries.totals(rx)

    def reader_at(self, where: study_queries.Location) -> ObjectReader:
        """A reader of an object that is not visible (``quarantine.locate``)."""
        key = self._spaces.unwrap(where.space, where.key_version, where.wrapped_key)
        return ObjectReader(where, key, self._directory, codec=self._codec, executor=self._io)

    async def gone(
        self,
        study: StudyInstanceUID,
        series: SeriesInstanceUID | None = None,
        instance: SOPInstanceUID | None = None,
    ) -> bool:
        """Whether what is not visible under these UIDs was withdrawn: errors.storage.Withdrawn, HTTP 410."""
        async with self._db.read() as rx:
            return await tombstones.gone(rx, study, series, instance)

    async def corrected_identity(self, study: StudyInstanceUID) -> tuple[CorrectedIdentity, int] | None:
        """Whose ``study`` is and since when that is known, if its bytes may say something else."""
        async with self._db.read() as rx:
            return await identity.corrected(rx, study)

    def corrected(self, study: StudyInstanceUID, patient: PatientKey) -> None:
        """The study is this patient's from now on (``corrections.apply``, once it is committed)."""
        self._spaces.corrected(study, patient)

    # Revisions

    async def close_revision(self, study: StudyInstanceUID, *, record: Recorder | None = None) -> Manifest | None:
        """Close the open revision of ``study`` and return its manifest; None if nothing came since the last one.

        What ``record`` writes about it is in the same transaction.

        Raises:
            UnknownStudy: not held.
        """
        await self.indexed()
        async with self._db.write() as tx:
            manifest = await revisions.close(tx, study, now=self._clock.now())
            if manifest is not None and record is not None:
                await record(tx, manifest)
        self._intake.retire(study=study)
        return manifest

    async def open_revisions(self, *, quiet_since: int) -> list[StudyInstanceUID]:
        """Studies with an open revision to which nothing was added after ``quiet_since`` (seconds since the epoch)."""
        async with self._db.read() as rx:
            return await revisions.open_revisions(rx, quiet_since=quiet_since)

    async def manifest(self, study: StudyInstanceUID, revision: int | None = None) -> Manifest | None:
        """The manifest of a closed revision (the last one if None); None if there is none."""
        async with self._db.read() as rx:
            return await revisions.manifest(rx, study, revision)

    # Deleting

    async def delete_study(
        self, study: StudyInstanceUID, *, record: Callable[[Write], Awaitable[None]] | None = None
    ) -> None:
        """Crypto-shred ``study``: its key, rows and packs are gone when this returns. Waits for puts under way.

        ``record`` writes in the same transaction, before anything is gone; if it raises, the study stays.

        Raises:
            UnknownStudy: not held.
        """
        async with self._spaces.close_for_good(study):
            self._intake.retire(study=study)
            await self._intake.settled()
            await self.indexed()
            await removal.delete_study(self._directory, self._db, study, record)

    def verify(self, pack: PackToCheck) -> Generator[tuple[int, dict[ObjectId, Flaw]], None, None]:
        """Read through a pack, object by object (``scrub.verify``): in a thread."""
        key = self._spaces.unwrap(pack.space, pack.key_version, pack.wrapped_key)
        return scrub.verify(self._directory, pack, key)

    async def free(self) -> int:
        """Bytes that are free on the disk of the packs."""
        disk = await asyncio.to_thread(os.statvfs, self._directory)
        return disk.f_bavail * disk.f_frsize

    async def shred(self, one: Quarantined, record: Callable[[Write], Awaitable[None]]) -> None:
        """Destroy what was put aside: nobody can read it again when this returns; what ``record`` writes goes with it.

        Raises:
            UnknownQuarantined: somebody was faster.
        """
        study = one.meta.header.study_instance_uid
        async with self._spaces.close_for_good(study):  # nothing is appended to its packs meanwhile
            self._intake.retire(study=study)
            await self._intake.settled()
            await self.indexed()
            async with self._db.read() as rx:
                await quarantine.get(rx, one.number)
            await asyncio.get_running_loop().run_in_executor(self._io, quarantine.shred, self._directory, one)
            async with self._db.write() as tx:
                await quarantine.forget(tx, one)
                await record(tx)
            await unlink_doomed(self._directory, self._db)

    def _require_open(self) -> None:
        if self._task is None:
            raise StoreClosed
        if self._task.done():  # only a defect of ours ends it early: say so with its own traceback
            self._task.result()
            raise StoreClosed

    def _admitted(self, manifest: Manifest, transfer: RequestId) -> None:
        self._spaces.admitted(manifest.study_instance_uid, manifest.patient)
        self._intake.retire(transfer=transfer)


def _result(held: Known, was_held: bool) -> PutResult:  # noqa: FBT001 - unpacked from intake's answer
    told = PutOutcome.SAME if was_held else PutOutcome.STORED
    return PutResult(PutOutcome.QUARANTINED if held.kind is Kind.ASIDE else told, held.digest, held.object_id)
