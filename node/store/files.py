"""The few file operations whose durability the store depends on."""

import os
from pathlib import Path


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
