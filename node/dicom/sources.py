"""What a person gives to `leveret import`: files, folders, media with a DICOMDIR, ZIP archives.

A folder or archive directory that holds a DICOMDIR is a medium: what its directory names is taken in its order, and
what is missing is named; the viewer programs that such media carry are passed over without a word, other DICOM files
are not.
Paths inside archives and media directories are only ever compared with what is there, never joined and opened.
"""

import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from node.dicom.dicomdir import MAX_DIRECTORY_BYTES, referenced_files
from node.dicom.part10 import PREAMBLE_BYTES, PREFIX
from node.errors import LeveretError
from node.errors.dicom import FileTooLarge, MissingReferencedFile, UnreadableSource, UnsafeArchive

MAX_FILE_BYTES = 2**31  # one file is held in memory while it is taken in
MAX_MEMBERS = 200_000  # of a ZIP archive
MAX_RATIO = 100  # inflated to packed, of a whole archive; images deflate to a half or a third
FREE_BYTES = 1 << 30  # inflated bytes that need no ratio: empty images do deflate a thousandfold

_DICOMDIR = "DICOMDIR"
_LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX"})
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_ENCRYPTED = 0x1  # general purpose bit flag
_HEAD_BYTES = PREAMBLE_BYTES + len(PREFIX)

Parts = tuple[str, ...]  # a path below a folder or inside an archive


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to take in. ``read`` blocks (call it in a thread) and raises a LeveretError where it cannot."""

    display_name: str  # a path as the user knows it, printable
    size: int
    read: Callable[[], bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RefusedSource:
    """Something named by the user, a folder or a DICOMDIR that cannot be taken in, and why."""

    display_name: str
    error: LeveretError


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file in a folder or an archive. ``read(n)`` gives its first n bytes, ``read(None)`` all of it."""

    name: str
    size: int
    read: Callable[[int | None], bytes]

    def source(self) -> SourceFile:
        return SourceFile(_printable(self.name), self.size, lambda: self.read(None))


def find_sources(paths: Iterable[Path]) -> Iterator[SourceFile | RefusedSource]:
    """Everything below ``paths``, lazily, in a stable order. Blocks: iterate in a thread."""
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            yield RefusedSource(_printable(str(path)), UnreadableSource(_why(error)))
            continue
        if stat.S_ISDIR(mode):
            yield from _folder(path)
        elif path.name.upper() == _DICOMDIR:
            yield from _medium(_files_below(path.parent), (path.name,))
        else:
            yield from _file(path)


def _file(path: Path) -> Iterator[SourceFile | RefusedSource]:
    entry = _entry_of(path)
    try:
        is_zip = entry.read(_HEAD_BYTES).startswith(ZIP_MAGIC)
    except LeveretError as error:
        yield RefusedSource(_printable(entry.name), error)
        return
    if is_zip:
        yield from _archive(path)
    else:
        yield entry.source()


def _folder(root: Path) -> Iterator[SourceFile | RefusedSource]:
    errors: list[OSError] = []
    for where, folders, files in os.walk(root, onerror=errors.append):
        folder = Path(where)
        directory = next((name for name in files if name.upper() == _DICOMDIR), None)
        if directory is not None:
            yield from _medium(_files_below(folder), (directory,))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name not in _LITTER)
        for name in sorted(name for name in files if not _is_litter(name)):
            yield from _file(folder / name)
        while errors:
            error = errors.pop()
            yield RefusedSource(_printable(str(error.filename)), UnreadableSource(_why(error)))


def _files_below(root: Path) -> dict[Parts, _Entry]:
    found = {}
    for where, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _LITTER)
        for name in sorted(name for name in files if not _is_litter(name)):
            path = Path(where, name)
            found[path.relative_to(root).parts] = _entry_of(path)
    return found


def _medium(files: dict[Parts, _Entry], directory: Parts) -> Iterator[SourceFile | RefusedSource]:
    """The files of a medium whose media directory is ``directory``; ``files`` are all below the directory's folder."""
    own = files.pop(directory)
    base = own.name.removesuffix(directory[-1])
    try:
        if own.size > MAX_DIRECTORY_BYTES:
            raise FileTooLarge
        references = referenced_files(own.read(None))
    except LeveretError as error:
        yield RefusedSource(_printable(own.name), error)
        yield from (entry.source() for entry in files.values())
        return
    by_id = {_file_id(parts): parts for parts in files}
    for reference in dict.fromkeys(references):
        parts = by_id.get(_file_id(reference))
        if parts is None:
            yield RefusedSource(_printable(base + "/".join(reference)), MissingReferencedFile())
        elif parts in files:
            yield files.pop(parts).source()
    for entry in files.values():
        if _is_dicom(entry):
            yield entry.source()


def _file_id(parts: Parts) -> Parts:
    """A path as ISO 9660 and its drivers may spell it: any case, with a version, with an empty extension."""
    return tuple(part.split(";", 1)[0].rstrip(".").casefold() for part in parts)


def _is_dicom(entry: _Entry) -> bool:
    try:
        return entry.read(_HEAD_BYTES)[PREAMBLE_BYTES:] == PREFIX
    except LeveretError:
        return True  # let it be refused by name


def _entry_of(path: Path) -> _Entry:
    try:
        size = path.stat().st_size
    except OSError:
        size = 0  # reading it says what is wrong
    return _Entry(str(path), size, lambda count: _read_file(path, count))


def _read_file(path: Path, count: int | None) -> bytes:
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableSource("not a file")
            if status.st_size > MAX_FILE_BYTES:
                raise FileTooLarge
            return file.read(MAX_FILE_BYTES if count is None else count)
    except OSError as error:
        raise UnreadableSource(_why(error)) from error


def _archive(path: Path) -> Iterator[SourceFile | RefusedSource]:
    try:
        size = path.stat().st_size
    except OSError as error:
        yield RefusedSource(_printable(str(path)), UnsafeArchive(_why(error)))
        return
    yield from archive_sources(path, size, str(path))


def archive_sources(file: Path | IO[bytes], size: int, name: str) -> Iterator[SourceFile | RefusedSource]:
    """The files of the ZIP archive ``file``, which has ``size`` bytes and is called ``name``. Blocks."""
    try:
        archive = zipfile.ZipFile(file)  # closed when the last reader of a member lets go of it
        members = [info for info in archive.infolist() if not info.is_dir()]
        _check_archive(members, size)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        yield RefusedSource(
            _printable(name), UnsafeArchive("damaged" if not isinstance(error, OSError) else _why(error))
        )
        return
    except UnsafeArchive as error:
        yield RefusedSource(_printable(name), error)
        return
    files: dict[Parts, _Entry] = {}
    for info in sorted(members, key=lambda info: info.filename):
        parts = tuple(part for part in info.filename.split("/") if part)
        if parts and not _is_litter(parts[-1]) and not _LITTER.intersection(parts):
            files[parts] = _member(archive, info, f"{name}:{info.filename}")
    yield from _tree(files)


def _tree(files: dict[Parts, _Entry]) -> Iterator[SourceFile | RefusedSource]:
    """The media in an archive, then what is not part of one."""
    directories = sorted((parts for parts in files if parts[-1].upper() == _DICOMDIR), key=len)
    for directory in directories:
        root = directory[:-1]
        below = {parts: entry for parts, entry in files.items() if parts[: len(root)] == root}
        if directory in below:
            for parts in below:
                del files[parts]
            yield from _medium({parts[len(root) :]: entry for parts, entry in below.items()}, directory[len(root) :])
    for entry in files.values():
        yield entry.source()


def _check_archive(members: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse an archive that is built to fill a disk, before anything is unpacked."""
    if len(members) > MAX_MEMBERS:
        raise UnsafeArchive("too many files")
    if sum(info.compress_size for info in members) > size:
        raise UnsafeArchive("its files overlap")
    if sum(info.file_size for info in members) > max(FREE_BYTES, MAX_RATIO * size):
        raise UnsafeArchive("it would unpack to many times its size")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> _Entry:
    def read(count: int | None) -> bytes:
        if info.flag_bits & _ENCRYPTED:
            raise UnsafeArchive("encrypted")
        if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise UnsafeArchive("a compression method whose memory cannot be bounded")
        if info.file_size > MAX_FILE_BYTES:
            raise FileTooLarge
        try:
            with archive.open(info) as file:
                data = file.read(info.file_size if count is None else count)
                if count is None and (len(data) != info.file_size or file.read(1)):
                    raise UnsafeArchive("damaged")
                return data
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError) as error:
            raise UnsafeArchive("damaged") from error

    return _Entry(name, info.file_size, read)


def _is_litter(name: str) -> bool:
    return name in _LITTER or name.startswith("._")


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
