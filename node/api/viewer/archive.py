"""The viewer's files, read one by one from their ZIP, packed as they lie there."""

import asyncio
import gzip
import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from node.errors.access import NotFound

HERE = Path(__file__).parent
_LOCAL_HEADER = struct.Struct("<26xHH")  # the lengths of name and extra field stand at its end (APPNOTE 4.3.7)
_GZIP_BEGINS = b"\x1f\x8b"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".wasm": "application/wasm",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class Member:
    """Where a file lies in the archive."""

    offset: int
    size: int
    content_type: str


@dataclass(frozen=True, slots=True)
class ViewerFile:
    """One file as it is sent."""

    body: bytes
    content_type: str
    packed: bool  # by gzip


class _Lock(msgspec.Struct):
    files: str


class Archive:
    """``viewer.zip``. Only its directory is kept in memory; the file itself stays closed between two reads."""

    def __init__(self) -> None:
        self._path = HERE / "viewer.zip"
        self.base = msgspec.json.decode((HERE / "viewer.lock").read_bytes(), type=_Lock).files  # their address
        with zipfile.ZipFile(self._path) as archive:
            self._members = {info.filename: _member(archive, info) for info in archive.infolist()}

    async def read(self, name: str, *, packed: bool) -> ViewerFile:
        """A file; packed if it lies so and ``packed`` allows it. Raises NotFound."""
        member = self._members.get(name)
        if member is None:
            raise NotFound
        return await asyncio.to_thread(self._read, member, packed)

    def _read(self, member: Member, packed: bool) -> ViewerFile:  # noqa: FBT001 - to_thread passes it by position
        with self._path.open("rb") as file:
            body = os.pread(file.fileno(), member.size, member.offset)
        is_packed = body.startswith(_GZIP_BEGINS)
        if is_packed and not packed:
            body, is_packed = gzip.decompress(body), False
        return ViewerFile(body, member.content_type, is_packed)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    assert archive.fp is not None
    archive.fp.seek(info.header_offset)
    name, extra = _LOCAL_HEADER.unpack(archive.fp.read(_LOCAL_HEADER.size))
    content_type = _TYPES.get(Path(info.filename).suffix, "text/plain; charset=utf-8")
    return Member(info.header_offset + _LOCAL_HEADER.size + name + extra, info.file_size, content_type)
