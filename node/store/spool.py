"""A scratch file that nobody can read: encrypted under a key that only this process knows, without a name on the disk.

For what must be read from its end, such as a ZIP archive, and is too large for memory. What is left of it after a crash
is noise in space that the file system takes back.
"""

import io
import os
import secrets
import tempfile
from pathlib import Path
from typing import IO, Self

from node.crypto.objects import HEADER_BYTES, KEY_BYTES, Decryptor, Encryptor
from node.errors.crypto_keys import IntegrityError
from node.errors.storage import DiskFull, StorageFailed

_CONTEXT = b"leveret/spool/v1"
_NO_SPACE = 28  # ENOSPC


class Spool:
    """Written once from beginning to end, then read anywhere. Blocks: call it in a thread. A context manager."""

    def __init__(self, directory: Path) -> None:
        """Raises StorageFailed: no file can be made there."""
        self._key = secrets.token_bytes(KEY_BYTES)
        self._encryptor = Encryptor(self._key, _CONTEXT)
        self.size = 0
        try:
            # Closed by __exit__; nothing else knows it.
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        except OSError as exc:
            raise StorageFailed("scratch file") from exc
        self._write(self._encryptor.header)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def add(self, data: bytes) -> None:
        """The next bytes. Raises DiskFull, StorageFailed."""
        self.size += len(data)
        self._write(self._encryptor.update(data))

    def reader(self) -> "SpoolReader":
        """That was all of it; a file to read. Raises DiskFull, StorageFailed."""
        self._write(self._encryptor.finish())
        return SpoolReader(self._file.fileno(), self._key)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as exc:
            raise (DiskFull if exc.errno == _NO_SPACE else StorageFailed)("scratch file") from exc


class SpoolReader(io.RawIOBase):
    """A spool as a file for reading; its last chunk is kept, because what is near is read next."""

    def __init__(self, fd: int, key: bytes) -> None:
        super().__init__()
        self._fd = fd
        header = os.pread(fd, HEADER_BYTES, 0)
        self._decryptor = Decryptor(key, _CONTEXT, header, os.fstat(fd).st_size)
        self._at = 0
        self._kept = (-1, b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As files do."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._decryptor.size}[whence]
        if base + offset < 0:
            raise ValueError(offset)
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]  # io's stubs name a type that 3.11 has not
        """The next bytes; fewer at a chunk's end, none at the file's."""
        where = self._decryptor.locate(self._at, len(buffer))
        if not where.take:
            return 0
        chunk = self._chunk(where.first)
        piece = chunk[where.skip : where.skip + where.take]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _chunk(self, index: int) -> bytes:
        if self._kept[0] != index:
            offset, length = self._decryptor.span(index)
            try:
                self._kept = (index, self._decryptor.chunk(index, os.pread(self._fd, length, offset)))
            except IntegrityError as exc:
                raise OSError("the scratch file changed") from exc
        return self._kept[1]
