"""Taking instances in: from `import`, STOW-RS and C-STORE, through the parser, into the store; and closing revisions.

Whoever calls is told "stored" only when the store says that the bytes are durable. An instance without Issuer of
Patient ID came from this facility's own devices and gets the facility's own issuer; one that names an issuer keeps it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from node.clock import Clock
from node.config import StoreSettings
from node.dicom.glance import glance
from node.dicom.part10 import MEDIA_DIRECTORY, Buffer, split_part10
from node.dicom.pool import ParserPool
from node.dicom.received import Arriving
from node.dicom.scp import ReceivedInstance
from node.errors.base import LeveretError
from node.errors.dicom import InstanceMismatch, MediaDirectory
from node.errors.storage import UnknownStudy
from node.log import Logger
from node.metrics import Metrics
from node.model.audit import NODE_ACTOR, AuditEvent, AuditType
from node.model.ids import PeerId, StudyInstanceUID
from node.model.instance import InstanceHeader, Manifest
from node.model.lifecycle import KEY_OBJECT_CLASS
from node.sharing.budget import Budget
from node.store import audit
from node.store.engine import Database, Write
from node.store.objects import STREAM_FROM_BYTES, ObjectStore, PutOutcome
from node.store.preparing import Preparation

MAX_INSTANCE_BYTES = 2**31  # of one file: what is held in memory while it is taken in
ROOM_BYTES = 512 * 1024 * 1024  # of all bodies held in memory at once; one larger than that has the room to itself
_PIECE_BYTES = 1024 * 1024
_LOOK_SECONDS = 1.0  # between looks for studies that have been quiet long enough


class Source(StrEnum):
    """By which door an instance came."""

    IMPORT = "import"
    STOW = "stow"
    C_STORE = "c-store"


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an instance."""

    outcome: PutOutcome
    header: InstanceHeader


def issuer_of(configured: str, own: PeerId) -> str:
    """This facility's Issuer of Patient ID: as configured, else one that no other facility has."""
    return configured or f"LEVERET-{own.compact[:14]}"


class Ingest:
    """Takes instances in (``dicom.scp.StoreSink`` among others)."""

    def __init__(
        self,
        *,
        db: Database,
        store: ObjectStore,
        pool: ParserPool,
        issuer: str,
        settings: StoreSettings,
        clock: Clock,
        metrics: Metrics,
        log: Logger,
    ) -> None:
        self._db = db
        self._store = store
        self._pool = pool
        self._issuer = issuer
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._room = Budget(ROOM_BYTES)
        self.on_key_object: Callable[[], Awaitable[None]] = _nothing  # before the sender of one hears of success

    @contextlib.asynccontextmanager
    async def room(self, size: int) -> AsyncIterator[None]:
        """Wait until a body of ``size`` bytes may be held in memory, while the block runs."""
        taken = await self._room.take(size)
        try:
            yield
        finally:
            self._room.give_back(taken)

    async def take_file(
        self, data: Buffer, *, source: Source, actor: str, only: StudyInstanceUID | None = None
    ) -> Taken:
        """Take in one Part 10 file.

        Raises:
            InstanceMismatch: it is not of the study ``only``.
            DicomRefused: a subclass says why it cannot be kept.
            Retryable: DiskFull and other troubles of this node; the file may be sent again.
        """
        part = split_part10(data)
        if part.media_sop_class_uid == MEDIA_DIRECTORY:
            raise MediaDirectory
        dataset = memoryview(data)[part.dataset_offset :]
        header = await self._pool.header(dataset, part.transfer_syntax)
        if only is not None and header.study_instance_uid != only:
            raise InstanceMismatch("another study")
        return await self._put(header, dataset, file_meta=part.file_meta, source=source, actor=actor)

    async def take_file_stream(
        self,
        beginning: Buffer,
        rest: AsyncIterator[bytes],
        *,
        source: Source,
        actor: str,
        only: StudyInstanceUID | None = None,
    ) -> Taken:
        """Likewise one too large for memory; ``beginning`` holds what identifies it, ``rest`` is what follows."""
        part = split_part10(beginning)
        dataset = memoryview(beginning)[part.dataset_offset :]
        header = await self._pool.parse_header(_Beginning(dataset), part.transfer_syntax)
        if only is not None and header.study_instance_uid != only:
            raise InstanceMismatch("another study")
        return await self._put(header, dataset, rest, file_meta=part.file_meta, source=source, actor=actor)

    def begin(self, received: ReceivedInstance) -> Arriving | None:
        """Hash and pack what a C-STORE brings while it arrives, if a glance tells what it is."""
        seen = glance(received.dataset, received.transfer_syntax)
        if seen is None or seen.end > STREAM_FROM_BYTES:
            return None
        return _Arriving(self._store, self._with_issuer(seen.header), seen.end)

    async def store(self, received: ReceivedInstance) -> None:
        """Take in what a C-STORE brought; raises as :meth:`take_file`, and InstanceMismatch."""
        begun = received.arriving
        if isinstance(begun, _Arriving) and begun.end == len(received.dataset):
            header, preparation = begun.header, begun.preparation
        else:
            header, preparation = await self._pool.header(received.dataset, received.transfer_syntax), None
        told = (received.sop_class_uid, received.sop_instance_uid)
        if told != (header.sop_class_uid, header.sop_instance_uid):
            raise InstanceMismatch
        await self._put(
            header, received.dataset, file_meta=b"", source=Source.C_STORE, actor=NODE_ACTOR, sender=_sender(received),
            preparation=preparation,
        )  # fmt: skip

    async def store_stream(self, received: ReceivedInstance, rest: AsyncIterator[bytes]) -> None:
        """Likewise one too large for memory; ``received.dataset`` is its beginning and holds what identifies it."""
        header = await self._pool.parse_header(_Beginning(received.dataset), received.transfer_syntax)
        if (received.sop_class_uid, received.sop_instance_uid) != (header.sop_class_uid, header.sop_instance_uid):
            raise InstanceMismatch
        await self._put(
            header, received.dataset, rest, file_meta=b"", source=Source.C_STORE, actor=NODE_ACTOR,
            sender=_sender(received),
        )  # fmt: skip

    async def close_revisions(self, studies: Iterable[StudyInstanceUID], *, actor: str = NODE_ACTOR) -> None:
        """Wait until everything taken in is indexed, and close the open revisions of ``studies``."""
        await self._store.indexed()
        for study in studies:
            await self._close(study, actor)

    async def run(self) -> None:
        """Close the revisions of studies that have been quiet for ``stable_age``; ends by cancellation."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._close_quiet()
            except LeveretError as error:  # a full disk must not stop the node; there is a next time
                self._log.warning("revisions not closed", component="ingest", code=error.code)

    async def _close_quiet(self) -> None:
        for study in await self._store.open_revisions(quiet_since=self._clock.now() - self._settings.stable_age):
            await self._close(study, NODE_ACTOR)

    async def _close(self, study: StudyInstanceUID, actor: str) -> None:
        async def record(tx: Write, manifest: Manifest) -> None:
            detail = {"revision": manifest.revision, "instances": len(manifest.entries)}
            event = AuditEvent(
                AuditType.STUDY_STORED, self._clock.now(), actor, patient=manifest.patient, study=study, detail=detail
            )
            await audit.append(tx, event)

        with contextlib.suppress(UnknownStudy):  # everything of it went to quarantine
            manifest = await self._store.close_revision(study, record=record)
            if manifest is None:
                return
            self._log.info("revision closed", revision=manifest.revision, count=len(manifest.entries))

    async def _put(
        self,
        header: InstanceHeader,
        dataset: memoryview,
        rest: AsyncIterator[bytes] | None = None,
        *,
        file_meta: bytes,
        source: Source,
        actor: str,
        sender: str = "",
        preparation: Preparation | None = None,
    ) -> Taken:
        header = self._with_issuer(header)
        size, door = len(dataset), f"{source.value} {sender or actor}"
        if rest is not None or size > STREAM_FROM_BYTES:
            pieces = _Pieces(dataset, rest)
            result = await self._store.put_stream(header, aiter(pieces), file_meta=file_meta, source=door)
            size = pieces.size
        else:
            result = await self._store.put(header, dataset, file_meta=file_meta, source=door, preparation=preparation)
        self._metrics.ingested.labels(result.outcome.value, source.value).inc()
        if result.outcome is PutOutcome.STORED:
            self._metrics.ingested_bytes.inc(size)
        elif result.outcome is PutOutcome.QUARANTINED:
            await self._quarantined(header, source, actor)
        if header.sop_class_uid == KEY_OBJECT_CLASS:
            await self._store.indexed()
            await self.on_key_object()
        return Taken(result.outcome, header)

    def _with_issuer(self, header: InstanceHeader) -> InstanceHeader:
        if header.patient.issuer:
            return header
        return replace(header, patient=replace(header.patient, issuer=self._issuer))

    async def _quarantined(self, header: InstanceHeader, source: Source, actor: str) -> None:
        self._log.warning("instance quarantined", component="ingest", reason=source.value)
        event = AuditEvent(
            AuditType.INSTANCE_QUARANTINED,
            self._clock.now(),
            actor,
            patient=header.patient,
            study=header.study_instance_uid,
            detail={"source": source.value},
        )
        async with self._db.write() as tx:
            await audit.append(tx, event)


def _sender(received: ReceivedInstance) -> str:
    """Who sent it, for whoever asks where it came from."""
    return f"{received.calling_ae}@{received.address}"


class _Arriving:
    """An instance that arrives and whose header is known; ``end``: the size that it should have."""

    def __init__(self, store: ObjectStore, header: InstanceHeader, end: int) -> None:
        self.header = header
        self.end = end
        self.preparation = store.prepare(header)

    def more(self, dataset: memoryview) -> None:
        """Let threads work on it."""
        self.preparation.advance(dataset)


async def _nothing() -> None:
    """Nobody reads key objects here."""


class _Beginning:
    """The beginning of a data set whose rest has not arrived, for the parser."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.size = len(data)

    async def read(self, offset: int, length: int) -> bytes:
        return bytes(self._data[offset : offset + length])


class _Pieces:
    """A large data set in pieces, so that the store does not copy it as a whole; ``size``: of what was taken."""

    def __init__(self, dataset: memoryview, rest: AsyncIterator[bytes] | None) -> None:
        self._dataset = dataset
        self._rest = rest
        self.size = 0

    async def __aiter__(self) -> AsyncIterator[memoryview | bytes]:
        for start in range(0, len(self._dataset), _PIECE_BYTES):
            piece = self._dataset[start : start + _PIECE_BYTES]
            self.size += len(piece)
            yield piece
        if self._rest is not None:
            async for more in self._rest:
                self.size += len(more)
                yield more
