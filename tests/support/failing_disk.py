"""Disks that fail on purpose, at the n-th operation of a kind."""

import errno
import os
from collections.abc import Sequence

from node.store.pack_format import Buffer
from node.store.packs import Disk


class FailingDisk(Disk):
    """A real disk until ``fail`` is called; then the named operation fails with ``code``, ``after`` more of them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.space = 2**50
        self._failing: dict[str, tuple[int, int, bool]] = {}

    def fail(self, operation: str, code: int = errno.EIO, *, after: int = 0, always: bool = False) -> None:
        self._failing[operation] = (code, after, always)

    def heal(self) -> None:
        self._failing.clear()

    def _maybe(self, operation: str) -> bool:
        self.calls.append(operation)
        code, after, always = self._failing.get(operation, (0, 0, False))
        if not code:
            return False
        if after:
            self._failing[operation] = (code, after - 1, always)
            return False
        if not always:
            del self._failing[operation]
        return True

    def _code(self, operation: str) -> int:
        return self._failing.get(operation, (errno.EIO, 0, False))[0]

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        code = self._code("write")
        if self._maybe("write"):
            first = memoryview(buffers[0])
            os.pwrite(fd, first[: max(1, len(first) // 2)], offset)  # half of it arrives
            raise OSError(code, os.strerror(code))
        super().write(fd, buffers, offset)

    def sync(self, fd: int) -> None:
        code = self._code("sync")
        if self._maybe("sync"):
            raise OSError(code, os.strerror(code))
        super().sync(fd)

    def truncate(self, fd: int, size: int) -> None:
        code = self._code("truncate")
        if self._maybe("truncate"):
            raise OSError(code, os.strerror(code))
        super().truncate(fd, size)

    def free(self, fd: int) -> int:
        return min(self.space, super().free(fd))
