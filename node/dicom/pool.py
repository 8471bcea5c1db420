"""Worker processes that parse DICOM, so that a hostile data set costs one of them and never the daemon.

Tasks wait in one queue; each worker takes a few at a time (asking a process one thing at a time would cost more than
parsing does). Processes start when there is work and are replaced when they die or take too long.
"""

import asyncio
import collections
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TypeVar

import msgspec

from node.dicom.frames import after_fragments as after_stored_fragments
from node.dicom.glance import glance
from node.dicom.keynote import MAX_REFERENCES, KeyObjectNote, NoteFacts, note_of
from node.dicom.messages import Done, Location, Need, NeedKind, Refused, Supply, Task, TaskKind
from node.dicom.part10 import Buffer
from node.dicom.pixels import Picture, PixelLayout
from node.dicom.process import ParserProcess, WorkerLost, WorkerStuck
from node.dicom.reconcile import Rewrite, Rewritten
from node.dicom.scan import HeaderFacts, header_of
from node.dicom.structure import WINDOW, skip_fragments
from node.errors import LeveretError
from node.errors import dicom as dicom_errors
from node.errors.dicom import DicomRefused, HeaderRefused, HeaderTooLarge, ParserStopped
from node.log import Logger
from node.model.ids import TransferSyntaxUID
from node.model.instance import InstanceHeader

MAX_BATCH = 16
TASK_SECONDS = 20.0  # wall clock; the CPU limit of a worker is lower, so this is for machines that hang
MAX_FRAGMENTS = 1 << 20  # of one instance's pixel data; a whole slide image has some 10,000
_FRAGMENTS_AT_ONCE = 4096  # about 2 ms of the event loop
_MAX_FACT = 80  # characters of a worker's explanation that are passed on
_ATTEMPTS = 2  # a worker may also be killed for want of memory elsewhere

_REFUSALS = {
    cls.code: cls for cls in vars(dicom_errors).values() if isinstance(cls, type) and issubclass(cls, DicomRefused)
}
_decode_facts = msgspec.msgpack.Decoder(HeaderFacts).decode
_decode_location = msgspec.msgpack.Decoder(Location).decode
_decode_rewritten = msgspec.msgpack.Decoder(Rewritten).decode
_decode_layout = msgspec.msgpack.Decoder(PixelLayout).decode
_decode_note = msgspec.msgpack.Decoder(NoteFacts).decode
_T = TypeVar("_T")


class ByteSource(Protocol):
    """A data set that is read piece by piece, such as a stored object."""

    @property
    def size(self) -> int:
        """Bytes of the data set."""

    async def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer only at the end."""


@dataclass(frozen=True, slots=True)
class ValueLocation:
    """Where an element's value lies in the data set."""

    offset: int
    length: int
    vr: str


class _Memory:
    """A data set in memory as a ByteSource."""

    def __init__(self, data: Buffer) -> None:
        self.data = memoryview(data)
        self.size = len(self.data)

    async def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])


@dataclass(slots=True, eq=False)
class _Job:
    """A task, where the rest of its data set is, and who waits for it."""

    task: Task
    source: ByteSource
    done: asyncio.Future[bytes]
    attempts: int = field(default=0)

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class ParserPool:
    """Parses in worker processes; an async context manager that owns them."""

    def __init__(self, workers: int = 2, *, log: Logger | None = None, task_seconds: float = TASK_SECONDS) -> None:
        self._workers = workers
        self._log = log
        self._task_seconds = task_seconds
        self._queue: collections.deque[_Job] = collections.deque()
        self._wake = asyncio.Semaphore(0)
        self._tasks: list[asyncio.Task[None]] = []
        self._open = False

    async def __aenter__(self) -> Self:
        """Ready for tasks; the processes start with the first ones."""
        self._tasks = [asyncio.create_task(self._drive()) for _ in range(self._workers)]
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes; whoever still waits gets ParserStopped."""
        self._open = False
        for task in self._tasks:
            task.cancel()
        for job in self._queue:
            job.fail(ParserStopped())
        self._queue.clear()
        await asyncio.wait(self._tasks)

    async def parse_header(self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID) -> InstanceHeader:
        """What the index needs of a data set (without group 0002).

        The structure of one in memory is checked to its end; of another one, no more is read than is needed.

        Raises:
            DicomRefused: a subclass says why; see ``node.errors.dicom``.
            ParserStopped: the pool is closing, or no process could be started; retryable.
        """
        result = await self._run(TaskKind.HEADER, dataset, transfer_syntax, "")
        return header_of(_trusted(_decode_facts, result), transfer_syntax)

    async def header(self, dataset: Buffer, transfer_syntax: TransferSyntaxUID) -> InstanceHeader:
        """As :meth:`parse_header` of a data set in memory, without a worker where a glance is enough."""
        seen = glance(dataset, transfer_syntax)
        if seen is not None and seen.end == len(dataset):
            return seen.header
        return await self.parse_header(dataset, transfer_syntax)

    async def to_json(
        self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID, bulk_data_uri: str
    ) -> bytes:
        """One instance of ``application/dicom+json`` metadata: a JSON object in UTF-8 (PS3.18 annex F).

        Pixel data and large binary values become BulkDataURI: ``{bulk_data_uri}/{path}`` with the element's path,
        for example ``7FE00010`` or ``00081140/0/00420011``; :meth:`locate` understands the path.

        Raises: as :meth:`parse_header`.
        """
        return await self._run(TaskKind.METADATA, dataset, transfer_syntax, bulk_data_uri)

    async def locate(
        self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID, path: str
    ) -> ValueLocation:
        """Where the value that a BulkDataURI names lies in the data set.

        Raises:
            NoSuchElement: there is none, or it has no one place (encapsulated pixel data, a deflated data set).
            otherwise as :meth:`parse_header`.
        """
        result = await self._run(TaskKind.LOCATE, dataset, transfer_syntax, path)
        offset, length, vr = _trusted(_decode_location, result)
        return ValueLocation(offset, length, vr)

    async def value(self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID, path: str) -> bytes:
        """The value that a BulkDataURI names, for data sets in which :meth:`locate` finds no place for it.

        Raises: as :meth:`locate`.
        """
        return await self._run(TaskKind.VALUE, dataset, transfer_syntax, path)

    async def layout(self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID) -> PixelLayout:
        """Where an instance's pixels or its document lie. Raises: as :meth:`parse_header`."""
        found = _trusted(_decode_layout, await self._run(TaskKind.LAYOUT, dataset, transfer_syntax, ""))
        if not found.plausible:
            raise HeaderRefused
        return found

    async def note(self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID) -> KeyObjectNote:
        """Title and references of a Key Object Selection document; what is no UID is left out.

        Raises: as :meth:`parse_header`.
        """
        facts = _trusted(_decode_note, await self._run(TaskKind.NOTE, dataset, transfer_syntax, ""))
        if len(facts.references) > MAX_REFERENCES:
            raise HeaderRefused
        return note_of(facts.title, facts.references)

    async def frame(self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID, picture: Picture) -> bytes:
        """A frame as native pixels in little endian, colours as RGB by pixel.

        Raises:
            NotDecodable: the pixel data is damaged, or there is no decoder for it.
            otherwise as :meth:`parse_header`.
        """
        argument = msgspec.json.encode(picture).decode()
        return await self._run(TaskKind.FRAME, dataset, transfer_syntax, argument)

    async def native(self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID, picture: Picture) -> bytes:
        """A frame as native pixels in little endian with every value that was encoded, in its own colour space.

        Raises: as :meth:`frame`.
        """
        argument = msgspec.json.encode(picture).decode()
        return await self._run(TaskKind.NATIVE, dataset, transfer_syntax, argument)

    async def rewrite(
        self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID, wanted: Rewrite
    ) -> Rewritten:
        """How the copy that ``wanted`` describes differs from a data set, which is not deflated.

        Raises: as :meth:`parse_header`.
        """
        argument = msgspec.json.encode(wanted).decode()
        return _trusted(_decode_rewritten, await self._run(TaskKind.REWRITE, dataset, transfer_syntax, argument))

    async def render(self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID, picture: Picture) -> bytes:
        """What ``picture`` asks for, in its form.

        Raises:
            NotRenderable, NotDecodable: it cannot be made of this instance.
            otherwise as :meth:`parse_header`.
        """
        argument = msgspec.json.encode(picture).decode()
        return await self._run(TaskKind.RENDER, dataset, transfer_syntax, argument)

    async def _run(self, kind: TaskKind, dataset: Buffer | ByteSource, syntax: str, argument: str) -> bytes:
        source = _Memory(dataset) if isinstance(dataset, bytes | bytearray | memoryview) else dataset
        head = await source.read(0, min(WINDOW, source.size))
        if not self._open:
            raise ParserStopped
        task = Task(kind, str(syntax), source.size, head, isinstance(source, _Memory), argument)
        job = _Job(task, source, asyncio.get_running_loop().create_future())
        self._queue.append(job)
        self._wake.release()
        return await job.done

    async def _drive(self) -> None:
        """Keep one process busy."""
        process: ParserProcess | None = None
        batch: list[_Job] = []
        failed_starts = 0
        try:
            while True:
                await self._wake.acquire()
                batch = self._take()
                if not batch:
                    continue
                try:
                    process = process or await ParserProcess.start()
                    failed_starts = 0
                    await self._work(process, batch)
                except (WorkerLost, WorkerStuck, OSError) as trouble:
                    self._note(trouble)
                    if process is not None:
                        await process.kill()
                        process = None
                        _blame(batch, trouble)
                    else:
                        failed_starts += 1
                    if failed_starts == _ATTEMPTS:
                        failed_starts = 0
                        _fail(batch, ParserStopped)
                    self._put_back(batch)
        finally:
            _fail(batch, ParserStopped)
            if process is not None:
                await process.kill()

    def _take(self) -> list[_Job]:
        """A share of what waits: an idle neighbour should get some too."""
        share = min(MAX_BATCH, -(-len(self._queue) // self._workers))
        batch = [self._queue.popleft() for _ in range(share)]
        return [job for job in batch if not job.done.done()]

    async def _work(self, process: ParserProcess, batch: list[_Job]) -> None:
        """Let a process work on a batch; what has been answered is taken off it."""
        await process.send([job.task for job in batch])
        while batch:
            answer = await process.receive(self._task_seconds)
            job = batch[0]
            if isinstance(answer, Need):
                await process.send(await self._supply(job, answer))
                continue
            batch.pop(0)
            if isinstance(answer, Done):
                if not job.done.done():
                    job.done.set_result(answer.result)
            elif isinstance(answer, Refused):
                job.fail(_REFUSALS.get(answer.code, DicomRefused)(_printable(answer.fact)))

    async def _supply(self, job: _Job, need: Need) -> Supply:
        try:
            if job.done.done():
                return Supply(abandon=True)
            if need.kind is NeedKind.BYTES:
                return Supply(data=await job.source.read(need.offset, min(need.length, job.source.size - need.offset)))
            if job.task.kind is TaskKind.REWRITE and not isinstance(job.source, _Memory):
                return Supply(offset=await after_stored_fragments(job.source, need.offset))
            return Supply(offset=await _after_fragments(job.source, need.offset))
        except LeveretError as error:
            job.fail(error)
            return Supply(abandon=True)

    def _note(self, trouble: Exception) -> None:
        if self._log is not None:
            self._log.warning("parser process lost", error=type(trouble).__name__)

    def _put_back(self, batch: list[_Job]) -> None:
        """To the front of the queue with what has not been answered."""
        self._queue.extendleft(reversed(batch))
        for _ in batch:
            self._wake.release()
        batch.clear()


def _blame(batch: list[_Job], trouble: Exception) -> None:
    """A process ended at the first unanswered task: it is tried once more, unless it was the time that ran out."""
    if batch:
        culprit = batch[0]
        culprit.attempts += 1
        if isinstance(trouble, WorkerStuck) or culprit.attempts == _ATTEMPTS:
            batch.pop(0)
            culprit.fail(HeaderRefused())


def _fail(batch: list[_Job], error: type[LeveretError]) -> None:
    for job in batch:
        job.fail(error())
    batch.clear()


def _trusted(decode: Callable[[bytes], _T], result: bytes) -> _T:
    """A result whose form has been checked: the process that made it read a hostile file."""
    try:
        return decode(result)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise HeaderRefused from exc


def _printable(fact: str) -> str:
    return "".join(char for char in fact[:_MAX_FACT] if char.isprintable())


async def _after_fragments(source: ByteSource, offset: int) -> int | None:
    if not isinstance(source, _Memory):
        return None  # a stored object was checked when it came
    for _ in range(MAX_FRAGMENTS // _FRAGMENTS_AT_ONCE):
        offset, found = skip_fragments(source.data, offset, _FRAGMENTS_AT_ONCE)
        if found:
            return offset
        await asyncio.sleep(0)
    raise HeaderTooLarge("fragments")
