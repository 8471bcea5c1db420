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
