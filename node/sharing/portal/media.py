"""Studies as a media set that any PACS imports (PS3.10, PS3.11 STD-GEN), streamed as a ZIP archive.

Nothing is written to a disk and no more than a few pieces are in memory: the directory comes first, for it needs only
what the index knows, then file after file as the store gives it. Images are written as they are kept; only what no
importer is obliged to read (implicit or big endian, deflated) is brought into explicit little endian, losslessly.
"""

import time
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

import msgspec

from node.clock import Clock
from node.dicom.media import DIRECTORY_NAME, Facts, MediaFile, name_files, needs_facts, write_directory
from node.dicom.outgoing import Copies, Outgoing
from node.dicom.part10 import part10_header
from node.dicom.pool import ParserPool
from node.dicom.structure import EXPLICIT_LITTLE
from node.errors.dicom import DicomRefused
from node.errors.portal_pages import NothingToDownload, TooMuchToDownload
from node.model.ids import SOPInstanceUID, StudyInstanceUID, TransferSyntaxUID
from node.model.instance import StoredInstance
from node.sharing.reading import caught_up
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery, StudyQuery

MAX_INSTANCES = 50_000  # on one medium: what an old importer still copes with
README_NAME = "README.TXT"
_UNUSUAL = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"})
_EXPLICIT = TransferSyntaxUID(EXPLICIT_LITTLE)
_READ_ONLY = 0o100444 << 16  # how the archive says what its members are
_LOCAL, _DESCRIPTOR, _CENTRAL, _END = 30, 16, 46, 22  # bytes of a ZIP's headers (APPNOTE 4.3)
_PLAIN_LIMIT = 2_000_000_000  # bytes of an archive that surely needs none of ZIP's 64 bit fields
_PLAIN_MEMBERS = 60_000


@dataclass(frozen=True, slots=True)
class MediaSet:
    """What is going to be written. ``size`` of the archive in bytes; None where it is known only at its end."""

    files: Sequence[MediaFile] = field(repr=False)
    directory: bytes = field(repr=False)
    readme: bytes = field(repr=False)
    size: int | None


class MediaSets:
    """Makes them."""

    def __init__(self, store: ObjectStore, pool: ParserPool, copies: Copies, clock: Clock) -> None:
        self._store = store
        self._pool = pool
        self._copies = copies
        self._clock = clock

    async def prepare(self, studies: Sequence[StudyInstanceUID], *, readme: str) -> MediaSet:
        """What the medium with ``studies`` consists of; ``readme`` goes with it.

        Raises:
            NothingToDownload, TooMuchToDownload: no instance, or too many for one medium.
        """
        await caught_up(self._store)
        query = StudyQuery(study_uids=tuple(studies))
        found = await self._store.studies(query) if studies else []
        if not found:
            raise NothingToDownload
        if sum(study.instances for study in found) > MAX_INSTANCES:
            raise TooMuchToDownload
        instances = await self._store.instances(InstanceQuery(studies=query))
        syntaxes = {
            one.header.sop_instance_uid: _EXPLICIT for one in instances if one.header.transfer_syntax_uid in _UNUSUAL
        }
        files = name_files(instances, syntaxes)
        directory = write_directory(found, files, await self._facts(instances))
        text = b"\xef\xbb\xbf" + readme.replace("\n", "\r\n").encode()
        size = None if syntaxes else _archive_size(files, directory, text)
        return MediaSet(files, directory, text, size)

    async def stream(self, media: MediaSet) -> AsyncGenerator[bytes, None]:
        """The archive, piece by piece.

        Raises:
            ObjectDamaged: the disk does not give back what was stored; what was sent so far is no archive.
        """
        sink = _Sink()
        stamp = time.localtime(self._clock.now())[:6]
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, body in ((DIRECTORY_NAME, media.directory), (README_NAME, media.readme)):
                with archive.open(_member(name, stamp, len(body)), "w") as member:
                    member.write(body)
                yield sink.take()
            for file in media.files:
                head, rest, size = await self._part10(file)
                with archive.open(_member("/".join(file.name), stamp, size), "w") as member:
                    member.write(head)
                    async for piece in rest:
                        member.write(piece)
                        yield sink.take()
        yield sink.take()

    async def _part10(self, file: MediaFile) -> tuple[bytes, AsyncIterator[bytes], int]:
        """What stands before the data set, the data set, and the size of both."""
        header = file.instance.header
        reader = await self._store.reader(header.sop_instance_uid)
        outgoing: Outgoing | None = None
        if file.syntax != header.transfer_syntax_uid:
            outgoing = await self._copies.prepare(reader, header, file.syntax, None)
        head = part10_header(
            b"" if outgoing is not None else file.instance.file_meta,
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            transfer_syntax_uid=file.syntax,
        )
        if outgoing is not None:
            return head, outgoing.chunks(), len(head) + outgoing.size
        return head, reader.chunks(), len(head) + reader.size

    async def _facts(self, instances: Sequence[StoredInstance]) -> dict[SOPInstanceUID, Facts]:
        """What the directory says of instances without pixels; one that cannot be read is named by what is known."""
        found: dict[SOPInstanceUID, Facts] = {}
        for one in instances:
            if needs_facts(one):
                reader = await self._store.reader(one.header.sop_instance_uid)
                try:
                    text = await self._pool.to_json(reader, one.header.transfer_syntax_uid, "")
                except DicomRefused:
                    continue
                found[one.header.sop_instance_uid] = msgspec.json.decode(text, type=dict)
        return found


class _Sink:
    """What a ZipFile writes to: it cannot seek, and what was written is taken out again at once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _member(name: str, stamp: tuple[int, ...], size: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, stamp)  # type: ignore[arg-type]  # the first six parts of a struct_time
    info.external_attr = _READ_ONLY
    info.file_size = size
    return info


def _archive_size(files: Sequence[MediaFile], directory: bytes, readme: bytes) -> int | None:
    """The size of the archive, if none of its members has to be converted and it needs no 64 bit fields."""
    members = [(DIRECTORY_NAME, len(directory)), (README_NAME, len(readme))]
    for file in files:
        header = file.instance.header
        head = part10_header(
            file.instance.file_meta,
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            transfer_syntax_uid=file.syntax,
        )
        members.append(("/".join(file.name), len(head) + file.instance.size))
    total = sum(_LOCAL + _DESCRIPTOR + _CENTRAL + 2 * len(name) + size for name, size in members) + _END
    return total if total < _PLAIN_LIMIT and len(members) < _PLAIN_MEMBERS else None
