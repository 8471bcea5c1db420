"""What the daemon and its parser processes say to each other: frames of a 32-bit length and MessagePack.

The daemon sends a batch of tasks. The worker answers each in order; while it works on one it may ask for more of that
data set. Both sides decode strictly: the worker reads what a hostile file made of it, so what it says is not trusted.
"""

from enum import StrEnum
from typing import Final

import msgspec

MAX_FRAME = 64 << 20  # the largest is the metadata of one instance, or a batch of heads
LENGTH_BYTES: Final = 4


class TaskKind(StrEnum):
    """What a worker can do."""

    HEADER = "header"
    METADATA = "metadata"
    LOCATE = "locate"
    VALUE = "value"
    LAYOUT = "layout"
    FRAME = "frame"
    RENDER = "render"
    REWRITE = "rewrite"
    NATIVE = "native"
    NOTE = "note"


class NeedKind(StrEnum):
    """What a worker can ask for while it works."""

    BYTES = "bytes"
    AFTER_FRAGMENTS = "after fragments"


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Parse a data set of ``size`` bytes that begins with ``head``; ``argument`` is a URI or a path."""

    kind: TaskKind
    syntax: str
    size: int
    head: bytes
    is_whole: bool  # all of it can be had and is to be checked
    argument: str


class Supply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What was needed: bytes, or an offset; neither: it cannot be had."""

    data: bytes = b""
    offset: int | None = None
    abandon: bool = False  # the daemon has given up on this task


class Ready(msgspec.Struct, tag="ready", frozen=True, forbid_unknown_fields=True, array_like=True):
    """The worker has its limits in place."""


class Need(msgspec.Struct, tag="need", frozen=True, forbid_unknown_fields=True, array_like=True):
    """The present task needs more of its data set."""

    kind: NeedKind
    offset: int
    length: int


class Done(msgspec.Struct, tag="done", frozen=True, forbid_unknown_fields=True, array_like=True):
    """The present task's result, encoded as its kind says."""

    result: bytes


class Refused(msgspec.Struct, tag="refused", frozen=True, forbid_unknown_fields=True, array_like=True):
    """The present task's data set is refused with an error code of ``node.errors.dicom``."""

    code: str
    fact: str


FromWorker = Ready | Need | Done | Refused
Location = tuple[int, int, str]  # offset, length, VR


def frame(message: object) -> bytes:
    """A message ready to be written."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "little") + body
