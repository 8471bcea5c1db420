"""What makes a data set smaller on the disk and on the wire, without a change to a byte (docs/formats.md, "Packs").

Codec 1 cuts the data set into blocks of 256 KiB. A block is shuffled, which brings together the bytes that are alike
(the high bytes of 16-bit pixels, then the low ones), and becomes one zstd frame; one that gets hardly smaller is kept
as it is. The lengths of the blocks stand behind them in a table, so a frame costs its blocks and not the whole object,
and a stream of unknown length can be written as it comes::

    packed = block ‖ … ‖ block ‖ tail          tail = length u32 ‖ … ‖ length u32 ‖ element width u8 ‖ 0 ‖ 0 ‖ 0

Blocks are checked as a stranger's: a frame that does not claim exactly the block's own length is refused before it is
unpacked, so nobody makes a node fill its memory. numpy and zstandard let the interpreter go on in other threads.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final, Self

import numpy as np
import zstandard

from node.errors.storage import BlockDamaged
from node.model.instance import InstanceHeader

CODEC_IDENTITY: Final = 0  # the body is the data set itself
CODEC_SHUFFLE_ZSTD: Final = 1
CODECS: Final = frozenset({CODEC_IDENTITY, CODEC_SHUFFLE_ZSTD})

BLOCK_BYTES: Final = 256 * 1024  # as large as the chunks in which bodies are encrypted
WIDTHS: Final = (1, 2, 4, 8)  # bytes of an element; 1: nothing to shuffle
MAX_WIRE_BYTES: Final = 16 * 1024**3  # larger data sets travel unpacked: the tail, held whole, stays below 300 KB
SMALLEST_BYTES: Final = 4096  # below that the record's own overhead is larger than what could be won
LEVEL: Final = 1  # level 3 wins another 2 % for three times the time

_WORTH: Final = 1.15  # a block is kept packed if it gets smaller by this factor; else reading it would cost for nothing
_TRIED: Final = 3  # blocks that decide about the whole data set
_WORD: Final = 2
_TAIL: Final = struct.Struct(">B3x")

# Transfer syntaxes whose pixel data, or whose whole data set, are compressed already (PS3.5 section 10 and annex A).
_COMPRESSED: Final = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.8.")
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"

Buffer = bytes | bytearray | memoryview
_Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]


def element_width(header: InstanceHeader) -> int:
    """How many bytes an element of the instance's pixels has; 0 if its transfer syntax is compressed already."""
    syntax = str(header.transfer_syntax_uid)
    if syntax == _DEFLATED or syntax.startswith(_COMPRESSED):
        return 0
    width = header.bits_allocated // 8
    return width if width in WIDTHS else 1


def block_count(size: int) -> int:
    """How many blocks a data set of ``size`` bytes has."""
    return -(-size // BLOCK_BYTES)


def block_size(size: int, index: int) -> int:
    """Bytes of block ``index``, unpacked, of a data set of ``size`` bytes."""
    return min(BLOCK_BYTES, size - index * BLOCK_BYTES)


def tail_size(size: int) -> int:
    """Bytes of what stands behind the blocks of a data set of ``size`` bytes."""
    return 4 * block_count(size) + _TAIL.size


def packed_limit(size: int) -> int:
    """The most bytes that a data set of ``size`` bytes can have when it is packed."""
    return size + tail_size(size)


@dataclass(frozen=True)
class Layout:
    """Where the blocks of a packed data set lie. A block as long as its data is kept as it is."""

    size: int  # of the data set
    width: int
    lengths: tuple[int, ...]

    @classmethod
    def decode(cls, tail: Buffer, size: int) -> Self:
        """From the tail of a packed data set of ``size`` bytes.

        Raises:
            BlockDamaged: no data set of this size has such a tail.
        """
        count = block_count(size)
        if len(tail) != tail_size(size):
            raise BlockDamaged
        lengths = struct.unpack_from(f">{count}I", tail)
        (width,) = _TAIL.unpack_from(tail, 4 * count)
        sound = all(0 < length <= block_size(size, index) for index, length in enumerate(lengths))
        if not sound or width not in WIDTHS or any(tail[-3:]):
            raise BlockDamaged
        return cls(size, width, lengths)

    def encode(self) -> bytes:
        """The tail."""
        return struct.pack(f">{len(self.lengths)}I", *self.lengths) + _TAIL.pack(self.width)

    @cached_property
    def starts(self) -> Sequence[int]:
        """Where each block begins, and after the last one its end."""
        return list(accumulate(self.lengths, initial=0))

    @property
    def packed_size(self) -> int:
        """Bytes of blocks and tail."""
        return self.starts[-1] + tail_size(self.size)


@dataclass(frozen=True, slots=True)
class Packed:
    """A data set in packed form."""

    layout: Layout
    blocks: Sequence[Buffer]

    @classmethod
    def from_wire(cls, data: Buffer, size: int) -> Self:
        """From the form in which a data set of ``size`` bytes travels: its tail first, then the blocks.

        Raises:
            BlockDamaged: the lengths do not fit each other.
        """
        view = memoryview(data)
        layout = Layout.decode(view[: tail_size(size)], size)
        if layout.packed_size != len(view):
            raise BlockDamaged
        blocks = view[tail_size(size) :]
        return cls(layout, [blocks[start:end] for start, end in pairwise(layout.starts)])


class _Tools:
    """What one thread needs at a time: zstandard's contexts and room for a shuffled block."""

    def __init__(self) -> None:
        self.room = np.empty(BLOCK_BYTES, np.uint8)
        self.compressor = zstandard.ZstdCompressor(level=LEVEL)
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=BLOCK_BYTES)


class Codec:
    """Packs and unpacks blocks. May be used from any thread; a context is used by one at a time and kept."""

    def __init__(self) -> None:
        self._idle: list[_Tools] = []

    def pack(self, data: Buffer, width: int) -> Packed | None:
        """``data`` packed; None if that is not worth it.

        A few blocks from its middle decide, because pictures have nothing at their edges.
        """
        view, count = memoryview(data), block_count(len(data))
        if not width or len(data) < SMALLEST_BYTES:
            return None
        tried: dict[int, Buffer] = {}
        with self._tools() as tools:
            for index in sorted({count * part // (2 * _TRIED) for part in range(1, 2 * _TRIED, 2)}):
                tried[index] = _pack(tools, _block(view, index), width)
            if not self.is_worth(sum(map(len, tried.values())), sum(block_size(len(data), i) for i in tried)):
                return None
            blocks = [tried[i] if i in tried else _pack(tools, _block(view, i), width) for i in range(count)]
        return Packed(Layout(len(data), width, tuple(map(len, blocks))), blocks)

    @staticmethod
    def is_worth(packed: int, plain: int) -> bool:
        """Whether ``plain`` bytes got so much smaller that reading them packed pays."""
        return packed * _WORTH <= plain

    def pack_block(self, block: Buffer, width: int) -> Buffer:
        """One block packed, or ``block`` itself if it gets hardly smaller."""
        with self._tools() as tools:
            return _pack(tools, memoryview(block), width)

    def unpack_block(self, block: Buffer, width: int, size: int) -> bytes:
        """The ``size`` bytes of a block.

        Raises:
            BlockDamaged: it does not hold exactly that many, or is no zstd frame.
        """
        if len(block) == size:
            return bytes(block)
        with self._tools() as tools:
            return _unpack(tools, block, width, size)

    def unpack_into(self, packed: Packed, room: memoryview) -> None:
        """The whole data set, into ``room`` of its size.

        Raises:
            BlockDamaged: a block does not hold what the layout says.
        """
        layout = packed.layout
        out = np.frombuffer(room, np.uint8)
        with self._tools() as tools:
            for index, block in enumerate(packed.blocks):
                size = block_size(layout.size, index)
                part = out[index * BLOCK_BYTES : index * BLOCK_BYTES + size]
                if len(block) == size:
                    part[:] = np.frombuffer(block, np.uint8)
                else:
                    _unshuffle(_inflate(tools, block, size), layout.width, part)

    def unpack(self, layout: Layout, blocks: Buffer, offset: int, end: int, *, base: int = 0) -> list[bytes]:
        """The bytes from ``offset`` to ``end`` of the data set, a piece for each block.

        ``blocks`` are the packed bytes from ``base`` on; they need not reach farther than ``end``.

        Raises:
            BlockDamaged: they do not reach as far, or a block does not hold what the layout says.
        """
        view, pieces = memoryview(blocks), []
        for index in range(offset // BLOCK_BYTES, block_count(end)):
            block = view[layout.starts[index] - base : layout.starts[index + 1] - base]
            if len(block) != layout.lengths[index]:
                raise BlockDamaged
            plain, at = self.unpack_block(block, layout.width, block_size(layout.size, index)), index * BLOCK_BYTES
            whole = offset <= at and at + len(plain) <= end
            pieces.append(plain if whole else plain[max(0, offset - at) : end - at])
        return pieces

    @contextmanager
    def _tools(self) -> Iterator[_Tools]:
        try:
            tools = self._idle.pop()  # one step of the interpreter, as append is: no lock is needed
        except IndexError:
            tools = _Tools()
        yield tools
        self._idle.append(tools)  # not after an error: nobody knows what that left behind


def _block(view: memoryview, index: int) -> memoryview:
    return view[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]


def _pack(tools: _Tools, block: memoryview, width: int) -> Buffer:
    shuffled = block if width == 1 else _shuffle(block, width, tools.room[: len(block)]).data
    packed = tools.compressor.compress(shuffled)
    return packed if len(packed) * _WORTH <= len(block) else block


def _unpack(tools: _Tools, block: Buffer, width: int, size: int) -> bytes:
    plain = _inflate(tools, block, size)
    if width == 1:
        return plain
    out = np.empty(size, np.uint8)
    _unshuffle(plain, width, out)
    return out.tobytes()


def _inflate(tools: _Tools, block: Buffer, size: int) -> bytes:
    try:
        frame = zstandard.get_frame_parameters(block)
        if frame.content_size != size or frame.window_size > BLOCK_BYTES or frame.dict_id:
            raise BlockDamaged
        plain = tools.decompressor.decompress(block, allow_extra_data=False)
    except zstandard.ZstdError as exc:
        raise BlockDamaged from exc
    if len(plain) != size:
        raise BlockDamaged
    return plain


def _shuffle(block: Buffer, width: int, out: _Bytes) -> _Bytes:
    """First bytes of all elements, second bytes of all elements, …, then what is left of an element."""
    count = len(block) // width
    if width == _WORD:  # the usual case, three times as fast as by strides
        words = np.frombuffer(block, "<u2", count)
        out[:count] = words
        np.right_shift(words, 8, out=out[count : 2 * count], casting="unsafe")
    else:
        elements = np.frombuffer(block, np.uint8, count * width).reshape(count, width)
        out[: count * width].reshape(width, count)[:] = elements.T
    out[count * width :] = np.frombuffer(block, np.uint8)[count * width :]
    return out


def _unshuffle(plain: bytes, width: int, out: _Bytes) -> None:
    count = len(plain) // width
    planes = np.frombuffer(plain, np.uint8)
    if width == _WORD:
        words = out[: 2 * count].view("<u2")
        np.left_shift(planes[count : 2 * count], 8, out=words, dtype=np.uint16, casting="unsafe")
        np.bitwise_or(words, planes[:count], out=words)
    else:
        out[: count * width].reshape(count, width)[:] = planes[: count * width].reshape(width, count).T
    out[count * width :] = planes[count * width :]
