"""Many instances in one body: the framing of object streams (docs/protocol/transfer.md), without any input or output.

A stream is a sequence of frames: a head of 12 bytes (index u32, codec u8, length u56, big endian), then ``length``
bytes. The codec says how the instance is packed; 0: not at all. An index below :data:`CONTROL` numbers an instance of
the manifest; END says that the holder sent all it was asked for, and STOP that it will not go on, with an error code as
its bytes. A body that ends without either was cut.
"""

import re
import struct
from collections.abc import Callable
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
    """Bytes of one instance from ``offset`` on: all of them, unless the frame is longer than the reader's pieces.

    ``room`` is what was allocated for them, for whoever wants to use it again.
    """

    index: int
    codec: int
    length: int  # of the whole frame
    offset: int
    data: memoryview
    is_last: bool
    room: bytearray


@dataclass(frozen=True, slots=True)
class StopFrame:
    """The holder stops, and why."""

    code: str


@dataclass(frozen=True, slots=True)
class EndFrame:
    """All that was asked for has been sent."""


Frame = PieceFrame | StopFrame | EndFrame


class FrameReader:
    """Says where the next bytes of a stream belong, and gives the frames that they complete.

    So the bytes of an instance are received where they stay: nothing is joined or copied. Instances longer than
    ``piece_bytes`` come in pieces of that length. ``fits(index, codec, length)`` says whether the manifest promises
    such a frame next, and is asked once for each: nothing is allocated before, so a lying peer costs no memory.
    ``allocate(size)`` gives at least so many bytes.
    """

    def __init__(
        self,
        fits: Callable[[int, int, int], bool],
        *,
        piece_bytes: int,
        allocate: Callable[[int], bytearray] = bytearray,
    ) -> None:
        self._fits = fits
        self._piece_bytes = piece_bytes
        self._allocate = allocate
        self._head = memoryview(bytearray(HEAD_BYTES))
        self._room = bytearray()  # of the piece that is coming; none until somebody asks where it belongs
        self._place = self._head  # where the bytes go, from ``_at`` on
        self._at = 0
        self._index = 0
        self._codec = 0
        self._length = 0
        self._offset = 0  # of the piece in its frame
        self._wanted = 0  # bytes of the piece; 0: a head is coming
        self._left = 0  # bytes of the frame behind the piece
        self.ended = False  # an END or STOP frame came

    @property
    def is_before_piece(self) -> bool:
        """Whether a piece is announced for which there is no memory yet."""
        return bool(self._wanted) and not self._room

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self.is_before_piece:
            # The head of the next frame is received behind the last piece: one visit fewer for each instance.
            size = self._wanted if self._left or self._index >= CONTROL else self._wanted + HEAD_BYTES
            self._room = self._allocate(size)
            self._place, self._at = memoryview(self._room)[:size], 0
        return self._place[self._at :]

    def filled(self, count: int) -> list[Frame]:
        """``count`` bytes were written to ``buffer()``; returns each frame, or piece of one, that they complete.

        Raises:
            FrameError: an index that was not asked for, another length than promised, bytes after the end.
        """
        if self.ended and count:
            raise FrameError("bytes after the end")
        self._at += count
        if not self._wanted:
            return self._open() if self._at == HEAD_BYTES else []
        if self._at < self._wanted:
            return []
        frame = self._complete()
        return [frame, *self._open()] if self._at == HEAD_BYTES and not self._wanted else [frame]

    def _open(self) -> list[Frame]:
        index, length = _HEAD.unpack(self._head)
        self._at = 0
        if index == _END:
            allowed = length == 0
        elif index == _STOP:
            allowed = 0 < length <= MAX_CODE_BYTES
        else:
            self._codec, length = length >> _LENGTH_BITS, length & ((1 << _LENGTH_BITS) - 1)
            allowed = index < CONTROL and length > 0 and self._fits(index, self._codec, length)
        if not allowed:
            raise FrameError("an index, a codec or a length that was not asked for")
        if index == _END:
            self.ended = True
            return [EndFrame()]
        self._index, self._length, self._offset, self._left = index, length, 0, length
        self._next_piece()
        return []

    def _next_piece(self) -> None:
        self._room = bytearray()
        self._wanted = min(self._left, self._piece_bytes)
        self._left -= self._wanted

    def _complete(self) -> Frame:
        room, data, behind = self._room, self._place[: self._wanted], self._place[self._wanted : self._at]
        if self._index == _STOP:
            self._read_heads()
            return self._stop(bytes(data))
        frame = PieceFrame(
            self._index, self._codec, self._length, self._offset, data, is_last=not self._left, room=room
        )
        if self._left:
            self._offset += self._wanted
            self._next_piece()
        else:
            self._read_heads(behind)
        return frame

    def _read_heads(self, behind: memoryview | bytes = b"") -> None:
        """A head comes next, whose first bytes are ``behind`` the instance: whose room is its taker's from now on."""
        self._head[: len(behind)] = behind
        self._place, self._at, self._wanted, self._room = self._head, len(behind), 0, bytearray()

    def _stop(self, code: bytes) -> StopFrame:
        if not _CODE.fullmatch(code):
            raise FrameError("a stop without a code")
        self.ended = True
        return StopFrame(code.decode("ascii"))
