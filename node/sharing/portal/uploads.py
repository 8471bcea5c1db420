"""Images that patients bring from elsewhere: taken in piece by piece, kept out of sight, decided about by staff.

What arrives is parsed in the worker processes, as ``leveret import`` does, and staged like a transfer: durable,
encrypted, invisible. Its patient identifiers are another facility's word, or a stranger's, so they never become a
local patient's: every instance is kept under an issuer of its upload's own, and belongs to a local patient only by the
link that staff make when they accept it. An accepted study counts as received, from this facility's own door: it is
neither announced nor handed on.
"""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace

from node.clock import Clock
from node.dicom.part10 import PREAMBLE_BYTES, PREFIX, Buffer, split_part10
from node.dicom.pool import ParserPool
from node.dicom.sources import ZIP_MAGIC, RefusedSource, SourceFile, archive_sources
from node.errors.access import NotFound
from node.errors.dicom import DicomRefused, MediaDirectory
from node.errors.portal_pages import TooManyUploads, UploadBusy, UploadTooLarge
from node.errors.storage import DiskFull
from node.model.access import Caller
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PatientKey, PeerId, RequestId
from node.model.instance import InstanceHeader
from node.model.transitions import step
from node.model.upload import TRANSITIONS, Upload, UploadEvent, UploadId, UploadState
from node.sharing.budget import Budget
from node.sharing.portal.records import Record, Records
from node.store import audit
from node.store import portal_pages as rows
from node.store.engine import Database
from node.store.objects import STREAM_FROM_BYTES, ObjectStore
from node.store.spool import Spool, SpoolReader

MAX_UPLOAD_BYTES = 6_000_000_000  # a DVD and some
MAX_MEMBER_BYTES = 512 * 1024 * 1024  # one file of an archive: it is held in memory while it is taken in
MAX_FILES = 20_000
MAX_UNDECIDED = 3  # uploads of one account
MAX_NOTE = 400  # characters
STALE_SECONDS = 24 * 3600  # an upload that nobody sent off is forgotten then
KEEP_FREE = 2_000_000_000  # bytes of the disk that uploads leave to everything else, beside the reserve
SOURCE = "portal"
_ROOM_BYTES = MAX_MEMBER_BYTES  # of all files of all uploads in memory at once
_HELD_BYTES = STREAM_FROM_BYTES  # a larger file waits in a scratch file
_META_BYTES = 2 * 1024 * 1024  # in which file meta information surely ends
_PIECE_BYTES = 1024 * 1024
_LOOK_BYTES = 64 * 1024 * 1024  # of a scratch file between two looks at the disk
_HEAD_BYTES = PREAMBLE_BYTES + len(PREFIX)
_UNDECIDED = frozenset({UploadState.OPEN, UploadState.WAITING})


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one file, or of the files of an archive."""

    taken: int = 0
    refused: int = 0
    size: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        """Both."""
        return Taken(self.taken + other.taken, self.refused + other.refused, self.size + other.size)


@dataclass(frozen=True, slots=True)
class UploadParts:
    """What uploads work with. ``me``: this facility, by whose door they come."""

    db: Database
    store: ObjectStore
    pool: ParserPool
    records: Records
    me: PeerId
    clock: Clock


class Uploads:
    """What patients do with uploads."""

    def __init__(self, parts: UploadParts) -> None:
        self._parts = parts
        self._room = Budget(_ROOM_BYTES)
        self._arriving_now: set[UploadId] = set()

    async def records(self, caller: Caller) -> tuple[Record, ...]:
        """For whom the caller may bring images."""
        return await self._parts.records.records(caller)

    async def mine(self, caller: Caller) -> list[Upload]:
        """What the caller brought, newest first."""
        async with self._parts.db.read() as rx:
            return await rows.uploads_of(rx, caller.actor)

    async def get(self, caller: Caller, name: str) -> Upload:
        """One of them; raises NotFound."""
        found = next((one for one in await self.mine(caller) if str(one.upload_id) == name), None)
        if found is None:
            raise NotFound
        return found

    async def begin(self, caller: Caller, access: str, note: str) -> Upload:
        """A new upload for one of the caller's records.

        Raises:
            NotFound: no such record. TooManyUploads: others are not decided. DiskFull: no room for guests.
        """
        record = next((one for one in await self.records(caller) if str(one.access.access_id) == access), None)
        if record is None:
            raise NotFound
        await self._forget_stale()
        await self._require_room()
        now = self._parts.clock.now()
        text = " ".join("".join(c if c.isprintable() else " " for c in note[:MAX_NOTE]).split())
        made = Upload(UploadId.new(), caller.actor, record.patient, text, UploadState.OPEN, 0, 0, 0, now)
        async with self._parts.db.write() as tx:
            held = await rows.uploads_of(tx, caller.actor)
            if sum(one.state in _UNDECIDED for one in held) >= MAX_UNDECIDED:
                raise TooManyUploads
            await rows.add_upload(tx, made)
        return made

    async def take(self, caller: Caller, name: str, pieces: AsyncIterator[bytes], size: int | None = None) -> Taken:
        """One file of ``size`` bytes, or a ZIP archive, as it arrives. What is no image is counted, not an error.

        Raises:
            NotFound: no such open upload. UploadTooLarge: it would hold too much. UploadBusy: another file arrives.
            DiskFull and other troubles of this node.
        """
        upload = await self.get(caller, name)
        if upload.state is not UploadState.OPEN:
            raise NotFound
        await self._require_room()
        with self._alone(upload):
            taken = await self._arriving(upload, pieces, size)
        async with self._parts.db.write() as tx:
            await rows.count_file(tx, upload.upload_id, taken=taken.taken, size=taken.size, refused=taken.refused)
        return taken

    async def send(self, caller: Caller, name: str) -> Upload:
        """That was all: let staff look at it; an upload without images stays open. Raises NotFound.

        One whose images are all held already is sent, too: that they are is not for whoever brings them to learn.
        """
        upload = await self.get(caller, name)
        await self._parts.store.indexed()
        async with self._parts.db.write() as tx:
            held = await rows.get_upload(tx, upload.upload_id)
            staged = await rows.staged(tx, upload.upload_id)
            if held is None or held.state is not UploadState.OPEN or not held.files:
                return held or upload
            sent = replace(held, state=step(TRANSITIONS, held.state, UploadEvent.SEND))
            await rows.set_state(tx, sent)
            await rows.add_studies(tx, sent.upload_id, {one.header.study_instance_uid for one in staged})
            detail: dict[str, str | int] = {"instances": len(staged), "upload": str(sent.upload_id)}
            event = AuditEvent(
                AuditType.PORTAL_UPLOADED, self._parts.clock.now(), caller.actor, patient=sent.patient, detail=detail
            )
            await audit.append(tx, event)
        return sent

    async def withdraw(self, caller: Caller, name: str) -> Upload:
        """Forget one that is not accepted: nothing of it can be read again. Raises NotFound, IllegalTransition."""
        upload = await self.get(caller, name)
        now = self._parts.clock.now()
        await self._parts.store.discard_staged(RequestId(upload.upload_id.value))
        async with self._parts.db.write() as tx:
            gone = replace(upload, state=step(TRANSITIONS, upload.state, UploadEvent.DELETE), decided_at=now)
            await rows.set_state(tx, gone)
            event = AuditEvent(
                AuditType.PORTAL_UPLOAD_DELETED, now, caller.actor, patient=upload.patient,
                detail={"upload": str(upload.upload_id)},
            )  # fmt: skip
            await audit.append(tx, event)
        return gone

    async def _require_room(self) -> None:
        """Raises DiskFull if guests would take what everything else needs."""
        if await self._parts.store.free() < KEEP_FREE:
            raise DiskFull

    @contextlib.contextmanager
    def _alone(self, upload: Upload) -> Iterator[None]:
        """One file of an upload at a time, so that its limits are those of what has been counted."""
        if upload.upload_id in self._arriving_now:
            raise UploadBusy
        self._arriving_now.add(upload.upload_id)
        try:
            yield
        finally:
            self._arriving_now.discard(upload.upload_id)

    async def _forget_stale(self) -> None:
        before = self._parts.clock.now() - STALE_SECONDS
        async with self._parts.db.read() as rx:
            stale = await rows.uploads_in(rx, UploadState.OPEN, begun_before=before)
        for one in stale:
            await self._parts.store.discard_staged(RequestId(one.upload_id.value))
            async with self._parts.db.write() as tx:
                await rows.set_state(tx, replace(one, state=UploadState.DELETED))

    # One file

    async def _arriving(self, upload: Upload, pieces: AsyncIterator[bytes], size: int | None) -> Taken:
        beginning = bytearray()
        async for piece in pieces:
            beginning += piece
            if len(beginning) >= _HEAD_BYTES:
                break
        if beginning.startswith(ZIP_MAGIC):
            return await self._archive(upload, bytes(beginning), pieces)
        if beginning[PREAMBLE_BYTES:_HEAD_BYTES] != PREFIX:
            async for _ in pieces:  # read to its end, so that the browser hears an answer
                pass
            return Taken(refused=1)
        room = await self._room.take(_HELD_BYTES if size is None else min(size, _HELD_BYTES))
        try:
            async for piece in pieces:
                beginning += piece
                if len(beginning) >= _HELD_BYTES:
                    return await self._large(upload, bytes(beginning), pieces)
            return await self._file(upload, beginning, before=Taken(upload.files, 0, upload.size))
        finally:
            self._room.give_back(room)

    async def _large(self, upload: Upload, beginning: bytes, pieces: AsyncIterator[bytes]) -> Taken:
        with await asyncio.to_thread(self._parts.store.spool) as spool:
            await self._fill(upload, spool, beginning, pieces)
            whole = _Spooled(await asyncio.to_thread(spool.reader), 0, spool.size)
            try:
                part = split_part10(await whole.read(0, _META_BYTES))
                dataset = _Spooled(whole.reader, part.dataset_offset, spool.size)
                header = await self._parts.pool.parse_header(dataset, part.transfer_syntax)
            except DicomRefused:
                return Taken(refused=1)
            await self._parts.store.put_stream(
                self._stamped(upload, header),
                aiter(dataset),
                file_meta=part.file_meta,
                source=SOURCE,
                origin=self._parts.me,
                transfer=RequestId(upload.upload_id.value),
            )
            return Taken(1, 0, spool.size)

    async def _fill(self, upload: Upload, spool: Spool, beginning: bytes, pieces: AsyncIterator[bytes]) -> None:
        await asyncio.to_thread(spool.add, beginning)
        async for piece in pieces:
            await asyncio.to_thread(spool.add, piece)
            if upload.size + spool.size > MAX_UPLOAD_BYTES:
                raise UploadTooLarge
            if spool.size // _LOOK_BYTES != (spool.size - len(piece)) // _LOOK_BYTES:
                await self._require_room()

    async def _archive(self, upload: Upload, beginning: bytes, pieces: AsyncIterator[bytes]) -> Taken:
        with await asyncio.to_thread(self._parts.store.spool) as spool:
            await self._fill(upload, spool, beginning, pieces)
            total = Taken()
            sources = await asyncio.to_thread(_sources_of, spool)
            while (source := await asyncio.to_thread(next, sources, None)) is not None:
                before = total + Taken(upload.files, 0, upload.size)
                total += await self._member(upload, source, before)
            return total

    async def _member(self, upload: Upload, source: SourceFile | RefusedSource, before: Taken) -> Taken:
        if isinstance(source, RefusedSource) or source.size > MAX_MEMBER_BYTES:
            return Taken(refused=1)
        taken = await self._room.take(source.size)
        try:
            return await self._file(upload, await asyncio.to_thread(source.read), before=before)
        except DicomRefused:
            return Taken(refused=1)
        finally:
            self._room.give_back(taken)

    async def _file(self, upload: Upload, data: Buffer, *, before: Taken) -> Taken:
        if before.taken >= MAX_FILES or before.size + len(data) > MAX_UPLOAD_BYTES:
            raise UploadTooLarge
        try:
            part = split_part10(data)
            dataset = memoryview(data)[part.dataset_offset :]
            header = await self._parts.pool.header(dataset, part.transfer_syntax)
        except MediaDirectory:
            return Taken()  # it says what the files say, too
        except DicomRefused:
            return Taken(refused=1)
        await self._parts.store.put(
            self._stamped(upload, header),
            dataset,
            file_meta=part.file_meta,
            source=SOURCE,
            origin=self._parts.me,
            transfer=RequestId(upload.upload_id.value),
        )
        return Taken(1, 0, len(data))

    @staticmethod
    def _stamped(upload: Upload, header: InstanceHeader) -> InstanceHeader:
        patient = PatientKey(issuer_of_upload(upload.upload_id), header.patient.patient_id)
        return replace(header, patient=patient)


class _Spooled:
    """A data set in a scratch file (``dicom.pool.ByteSource``), from ``start``."""

    def __init__(self, reader: SpoolReader, start: int, end: int) -> None:
        self.reader = reader
        self.size = end - start
        self._start = start

    async def read(self, offset: int, length: int) -> bytes:
        return await asyncio.to_thread(self._read, offset, min(length, self.size - offset))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for offset in range(0, self.size, _PIECE_BYTES):
            yield await self.read(offset, _PIECE_BYTES)

    def _read(self, offset: int, length: int) -> bytes:
        self.reader.seek(self._start + offset)
        data = bytearray()
        while len(data) < length and (piece := self.reader.read(length - len(data))):
            data += piece
        return bytes(data)


def issuer_of_upload(upload_id: UploadId) -> str:
    """The issuer that stands for "as the patient's medium says": no two uploads share one."""
    return f"UPLOAD-{str(upload_id)[:24]}"


def _sources_of(spool: Spool) -> Iterator[SourceFile | RefusedSource]:
    reader = spool.reader()
    return iter(_bounded(archive_sources(io.BufferedReader(reader), spool.size, "ZIP")))


def _bounded(sources: Iterable[SourceFile | RefusedSource]) -> Iterator[SourceFile | RefusedSource]:
    for number, source in enumerate(sources):
        if number > 2 * MAX_FILES:
            raise UploadTooLarge
        yield source
