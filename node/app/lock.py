"""One daemon a data directory: an advisory lock that the kernel drops when the process ends, however it ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from node.errors.setup import AlreadyRunning, DirectoryUnusable

LOCK_NAME = "lock"


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold the directory while the block runs.

    Raises:
        AlreadyRunning: another process holds it.
        DirectoryUnusable: the lock file cannot be made.
    """
    try:
        handle = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise DirectoryUnusable(f"{directory}: {exc.strerror}") from exc
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise AlreadyRunning(str(directory)) from exc
        yield
    finally:
        os.close(handle)
