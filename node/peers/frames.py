"""Many instances in one body: the framing of object streams (docs/protocol/transfer.md), without any input or output.

A stream is a sequence of frames: a head of 12 bytes (index u32, codec u8, length u56, big endian), then ``length``
bytes. The codec says how the instance is packed; 0: not at all. An index below :data:`CONTROL` numbers an instance of
the manifest; END says that the holder sent all it was asked for, and STOP that it will not go on, with an error code as
its bytes. A body that ends without either was cut.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from node.errors.sharing import FrameError

_HEAD: Final = struct.Struct(">IQ")
HEAD_BYTES: Final = _HEAD.size
CONTROL: Final = 0xFFFF_FF00  # indexes from here on are not instances
_END: Final = 0xFFFF_FFFF
_STOP: Final = 0xFFFF_FFFE
_CODE = re.compile(rb"[a-z][a-z0-9_]{0,63}")
MAX_CODE_BYTES: Final = 64

_LENGTH_BITS: Final = 56

END_FRAME: Final = _HEAD.pack(_END, 0)


def head(index: int, length: int, codec: int = 0) -> bytes:
    """The head of instance ``index``, whose ``length`` bytes follow, packed by ``codec``."""
    if not 0 <= index < CONTROL or length >> _LENGTH_BITS:
        raise ValueError(index, length)
    return _HEAD.pack(index, codec << _LENGTH_BITS | length)


def stop_frame(code: str) -> bytes:
    """The frame that ends a stream early, with the error code that says why."""
    raw = code.encode("ascii")
    if not _CODE.fullmatch(raw):
        raise ValueError(code)
    return _HEAD.pack(_STOP, len(raw)) + raw


@dataclass(frozen=True, slots=True)
class PieceFrame:
    """Bytes of one instance from ``offset`` on: all of them, unless the frame is longer than the reader's pieces."""

    index: int
    codec: int
    length: int  # of the whole frame
    offset: int
    data: bytes
    is_last: bool


@dataclass(frozen=True, slots=True)
class StopFrame:
    """The holder stops, and why."""

    code: str


@dataclass(frozen=True, slots=True)
class EndFrame:
    """All that was asked for has been sent."""


Frame = PieceFrame | StopFrame | EndFrame


class FrameReader:
    """Takes bytes as they come, gives frames; instances longer than ``piece_bytes`` in pieces of that length.

    ``fits(index, codec, length)`` says whether the manifest promises such a frame next: nothing is gathered before, so
    a lying peer costs no memory. What was fed must stay as it is until its frame is whole.
    """

    def __init__(self, fits: Callable[[int, int, int], bool], *, piece_bytes: int) -> None:
        self._fits = fits
        self._piece_bytes = piece_bytes
        self._head = bytearray()
        self._index = 0
        self._codec = 0
        self._length = 0
        self._offset = 0  # of the piece in its frame
        self._left = 0  # bytes of the frame behind the piece
        self._parts: list[memoryview] = []  # of the piece; joined once, when it is whole
        self._missing = 0  # bytes of the piece
        self._in_body = False
        self.ended = False  # an END or STOP frame came

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take ``data`` and yield each frame, or piece of one, that it completes.

        Raises:
            FrameError: an index that was not asked for, another length than promised, bytes after the end.
        """
        view = memoryview(data)
        while view:
            if self.ended:
                raise FrameError("bytes after the end")
            if not self._in_body:
                view = self._take_head(view)
            if self._in_body:
                view = self._take_body(view)
                if not self._missing:
                    yield self._complete()

    def _take_head(self, view: memoryview) -> memoryview:
        wanted = HEAD_BYTES - len(self._head)
        self._head += view[:wanted]
        if len(self._head) == HEAD_BYTES:
            self._open(*_HEAD.unpack(self._head))
            self._head.clear()
        return view[wanted:]

    def _open(self, index: int, length: int) -> None:
        if index == _END:
            allowed = length == 0
        elif index == _STOP:
            allowed = 0 < length <= MAX_CODE_BYTES
        else:
            self._codec, length = length >> _LENGTH_BITS, length & ((1 << _LENGTH_BITS) - 1)
            allowed = index < CONTROL and self._fits(index, self._codec, length)
        if not allowed:
            raise FrameError("an index, a codec or a length that was not asked for")
        self._index, self._length, self._offset, self._left, self._in_body = index, length, 0, length, True
        self._next_piece()

    def _next_piece(self) -> None:
        self._parts = []
        self._missing = min(self._left, self._piece_bytes)
        self._left -= self._missing

    def _take_body(self, view: memoryview) -> memoryview:
        part = view[: self._missing]
        self._parts.append(part)
        self._missing -= len(part)
        return view[len(part) :]

    def _complete(self) -> Frame:
        data = b"".join(self._parts)
        self._parts = []
        if self._index < CONTROL:
            return self._complete_piece(data)
        self._in_body = False
        if self._index == _END:
            self.ended = True
            return EndFrame()
        if not _CODE.fullmatch(data):
            raise FrameError("a stop without a code")
        self.ended = True
        return StopFrame(data.decode("ascii"))

    def _complete_piece(self, data: bytes) -> PieceFrame:
        frame = PieceFrame(self._index, self._codec, self._length, self._offset, data, is_last=not self._left)
        self._offset += len(data)
        self._in_body = bool(self._left)
        if self._in_body:
            self._next_piece()
        return frame
