"""The few file operations whose durability the store depends on."""

import ctypes
import os
from pathlib import Path

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE, linux/falloc.h; os.posix_fallocate would change the size
_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def allocate(fd: int, offset: int, length: int) -> None:
    """Let the disk set blocks aside for these bytes, beyond the file's end. What it answers is of no interest."""
    _fallocate(fd, _KEEP_SIZE, offset, length)


def sync_directory(path: Path) -> None:
    """Make the names in directory ``path`` durable: a file that was made or removed stays so after a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Make the folder ``path``, for its owner only and durable, unless it is there; its parent must be."""
    if not path.is_dir():
        path.mkdir(mode=0o700, exist_ok=True)
        sync_directory(path.parent)
