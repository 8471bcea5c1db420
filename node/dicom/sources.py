"""What a person gives to `leveret import`: files, folders, media with a DICOMDIR, ZIP archives."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from node.errors import LeveretError


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


def find_sources(paths: Iterable[Path]) -> Iterator[SourceFile | RefusedSource]:
    """Everything below ``paths``, lazily, in a stable order. Blocks: iterate in a thread."""
    raise NotImplementedError
