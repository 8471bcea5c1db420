"""A parser process: ``python -m node.dicom.worker PARENT-PID``, tasks on standard input, answers on standard output.

Everything a hostile data set can do, it does here: the process has limits on memory and time, may write no file, and
dies with its parent. It holds no key and sees no more than the heads of the data sets that it is given.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import msgspec

from node.dicom.messages import (
    LENGTH_BYTES,
    MAX_FRAME,
    Done,
    Need,
    NeedKind,
    Ready,
    Refused,
    Supply,
    Task,
    TaskKind,
    frame,
)
from node.dicom.pixels import read_layout
from node.dicom.reconcile import rewrite
from node.dicom.scan import scan
from node.dicom.structure import Unusual
from node.errors.dicom import DicomRefused, HeaderTooLarge

MEMORY_BYTES = 768 << 20  # beyond what the process needs to start; pydicom and a 16 MiB header take less than half
TASK_CPU_SECONDS = 10  # the largest real header takes about one
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # linux/prctl.h

_decode_batch = msgspec.msgpack.Decoder(list[Task]).decode
_decode_supply = msgspec.msgpack.Decoder(Supply).decode


class _Abandoned(Exception):
    """The daemon has given up on the present task."""


class Channel:
    """Frames over two binary streams."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._in = incoming
        self._out = outgoing

    def receive(self) -> bytes | None:
        """The next frame's body; None when the daemon has closed the channel."""
        head = self._in.read(LENGTH_BYTES)
        if len(head) < LENGTH_BYTES:
            return None
        length = int.from_bytes(head, "little")
        body = self._in.read(length)
        return body if len(body) == length else None

    def send(self, message: object) -> None:
        """Send at once: the daemon tells by what has been answered which task a dead worker was at."""
        self._out.write(frame(message))
        self._out.flush()


class RemoteSource:
    """The data set of a task: its head is here, the rest is asked for."""

    one_way = False

    def __init__(self, task: Task, channel: Channel) -> None:
        self._head = task.head
        self._size = task.size
        self._channel = channel

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer only at the end."""
        end = min(offset + length, self._size)
        if end <= len(self._head):
            return self._head[offset:end]
        return self._ask(Need(NeedKind.BYTES, offset, end - offset)).data if offset < end else b""

    def reaches(self, end: int) -> bool:
        """Whether the data set has at least ``end`` bytes."""
        return end <= self._size

    def after_fragments(self, offset: int) -> int | None:
        """Where encapsulated pixel data ends: the daemon, who has the bytes, follows its items."""
        return self._ask(Need(NeedKind.AFTER_FRAGMENTS, offset, 0)).offset

    def _ask(self, need: Need) -> Supply:
        self._channel.send(need)
        body = self._channel.receive()
        if body is None:
            raise SystemExit
        supply = _decode_supply(body)
        if supply.abandon:
            raise _Abandoned
        return supply


def serve(channel: Channel) -> None:
    """Work on batches until the daemon closes the channel."""
    channel.send(Ready())
    while (body := channel.receive()) is not None:
        for task in _decode_batch(body):
            _allow_cpu_time()
            channel.send(_answer(task, RemoteSource(task, channel)))


def _answer(task: Task, source: RemoteSource) -> Done | Refused:
    try:
        result = _work(task, source)
        if len(result) > MAX_FRAME - 64:
            raise HeaderTooLarge("length")
        return Done(result)
    except DicomRefused as refusal:
        return Refused(refusal.code, refusal.fact)
    except _Abandoned:
        return Refused(DicomRefused.code, "")
    except MemoryError:
        return Refused(HeaderTooLarge.code, "memory")
    except RecursionError:
        return Refused(HeaderTooLarge.code, "nesting")


def _work(task: Task, source: RemoteSource) -> bytes:
    if task.kind is TaskKind.HEADER:
        try:
            facts = scan(source, task.syntax, to_end=task.is_whole)
        except Unusual:
            facts = _pydicom().read_facts(source, task.syntax, to_end=task.is_whole)
        return msgspec.msgpack.encode(facts)
    if task.kind is TaskKind.LAYOUT:
        return msgspec.msgpack.encode(read_layout(source, task.syntax))
    if task.kind is TaskKind.REWRITE:
        return rewrite(source, task.syntax, task.argument)
    _pydicom()
    if task.kind in {TaskKind.FRAME, TaskKind.NATIVE, TaskKind.RENDER}:
        return _picture(task, source)
    return _metadata(task, source)


def _metadata(task: Task, source: RemoteSource) -> bytes:
    from node.dicom import metadata  # noqa: PLC0415  # imports pydicom, which most workers never need

    if task.kind is TaskKind.NOTE:
        from node.dicom import keyobject  # noqa: PLC0415  # likewise

        return msgspec.msgpack.encode(keyobject.read_note(source, task.syntax))
    if task.kind is TaskKind.METADATA:
        return metadata.metadata(source, task.syntax, task.argument)
    if task.kind is TaskKind.VALUE:
        return metadata.value(source, task.syntax, task.argument)
    return msgspec.msgpack.encode(metadata.locate(source, task.syntax, task.argument))


def _picture(task: Task, source: RemoteSource) -> bytes:
    from node.dicom import render  # noqa: PLC0415  # imports numpy and Pillow, which only these tasks need

    work = {TaskKind.FRAME: render.transcode, TaskKind.NATIVE: render.native, TaskKind.RENDER: render.render}
    return work[task.kind](source, task.syntax, task.argument)


def _pydicom() -> ModuleType:
    from node.dicom import heads  # noqa: PLC0415  # imports pydicom: 0.3 s that most workers never need

    heads.quiet()
    return heads


def confine(parent: int) -> None:
    """Give up what a parser does not need, so that a hostile data set cannot use it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before it could be tied to this process
        raise SystemExit
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    memory = pages * resource.getpagesize() + MEMORY_BYTES
    _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_CORE, 0)  # a core file would be PHI in clear
    _lower(resource.RLIMIT_FSIZE, 0)
    os.chdir("/")


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _allow_cpu_time() -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(usage.ru_utime + usage.ru_stime) + 1 + TASK_CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def main() -> None:
    """Take the standard streams and serve."""
    confine(int(sys.argv[1]))
    with os.fdopen(0, "rb") as incoming, os.fdopen(1, "wb") as outgoing, contextlib.suppress(BrokenPipeError):
        serve(Channel(incoming, outgoing))


if __name__ == "__main__":
    main()
