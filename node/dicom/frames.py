"""Where frame n of an instance lies, found with range reads, so that a frame costs only the chunks it is in.

Native frames are found by arithmetic. Encapsulated ones by the Extended Offset Table or the Basic Offset Table, as far
as the items are where the table says; else the items' headers are followed from the first to the last, once, and kept.
A table is what a hostile file says: a place that it names is used only if an item begins and ends there.
"""

import array
import asyncio
import itertools
import struct
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import msgspec

from node.dicom.pixels import PixelLayout, Place
from node.dicom.structure import UNDEFINED
from node.errors.dicom import HeaderTooLarge, NoSuchFrame, NotDecodable

MAX_FRAGMENTS = 1 << 20  # of one instance; a whole slide image has some 10,000
MAX_TABLE = 16 << 20  # bytes of an offset table: two million frames
MAX_HELD = 256 << 20  # bytes of a frame that has to be in memory because its bytes are reordered
MAX_REMEMBERED = 32 << 20  # bytes of offset tables kept for the next request
READ = 256 << 10  # stored objects are encrypted in chunks of this size, so that a small read costs one of them
KEEP_FROM = 64  # fragments that were followed: fewer are found again as fast as they are read from an index
MAX_KEPT = 8 << 20  # bytes of what is kept of one instance from one start to the next
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_HEADER = 8  # bytes of an item's tag and length
_END_MARKER = b"\xff\xd9"  # the last bytes of a JPEG, JPEG-LS or JPEG 2000 codestream
_BEGIN_MARKERS = (b"\xff\xd8", b"\xff\x4f")  # and the first ones: SOI, SOC
_TAIL = 4  # bytes in which the end marker is looked for: it, and padding
_ENTRY = 8  # bytes of an offset as it is kept


class RangeSource(Protocol):
    """A data set of which any range can be read, such as a stored object."""

    @property
    def size(self) -> int:
        """Bytes of the data set."""

    async def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer only at the end."""


class FrameSource(RangeSource, Protocol):
    """One that is read piece by piece too."""

    def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` to ``end`` in pieces."""


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Where the bytes of one frame are. A native frame of one-bit pixels begins ``skip_bits`` into its first byte."""

    spans: tuple[Place, ...]
    skip_bits: int = 0

    @property
    def length(self) -> int:
        """Bytes of all spans."""
        return sum(length for _, length in self.spans)


@dataclass(frozen=True, slots=True)
class _Items:
    """Every fragment, in the order they stand in, and which begins a frame."""

    offsets: Sequence[int]  # of the values
    lengths: Sequence[int]
    firsts: Sequence[int]  # index of each frame's first fragment


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What was found by following fragments, for the next start of the node."""

    layout: PixelLayout
    base: int
    offsets: list[int]
    lengths: list[int]
    firsts: list[int]
    at: int  # where a walk goes on; 0: these are all fragments
    is_between: bool


_decode_kept = msgspec.msgpack.Decoder(_Kept).decode


class FrameIndex:
    """The frames of one instance. What was read to find one is kept for the next."""

    def __init__(self, layout: PixelLayout) -> None:
        self.layout = layout
        self._base: int | None = None  # of the first fragment's item
        self._offsets: Sequence[int] = ()  # of the frames' first items, from the base
        self._items: _Items | None = None
        self._walk: _Walk | None = None  # from the first fragment to the farthest frame that was asked for
        self._walking = asyncio.Lock()
        self._is_marked = layout.frames > 1  # every frame seen so far begins and ends as a codestream does
        self._kept = 0  # fragments that are kept for the next start already

    @classmethod
    def from_kept(cls, frames: bytes) -> Self | None:
        """An index that goes on from what :meth:`to_keep` gave; None if that was another version's."""
        try:
            kept = _decode_kept(frames)
        except msgspec.MsgspecError:
            return None
        index = cls(kept.layout)
        index._base, index._kept = kept.base, len(kept.offsets)
        if kept.at:
            index._walk = _Walk(kept.at, kept.offsets, kept.lengths, kept.firsts, is_between=kept.is_between)
        else:
            index._items = _Items(kept.offsets, kept.lengths, kept.firsts)
        return index

    async def to_keep(self) -> bytes | None:
        """What the next start should know; None while that is nothing new, or not much more than was said before."""
        async with self._walking:
            found = self._items or self._walk
            if found is None or self._base is None:
                return None
            count, walk = len(found.offsets), self._walk if found is self._walk else None
            is_whole = walk is None or (len(walk.firsts) == self.layout.frames and walk.is_between)
            if count < KEEP_FROM or count < (self._kept + 1 if is_whole else 2 * self._kept):
                return None
            self._kept = count
            lists = (list(found.offsets), list(found.lengths), list(found.firsts))
            at, is_between = (walk.at, walk.is_between) if walk else (0, True)
        kept = msgspec.msgpack.encode(_Kept(self.layout, self._base, *lists, at, is_between))
        return kept if len(kept) <= MAX_KEPT else None

    @property
    def cost(self) -> int:
        """Bytes that this keeps in memory, roughly."""
        kept = self._items or self._walk
        items = 3 * len(kept.offsets) if kept else 0
        return 1024 + _ENTRY * (len(self._offsets) + items)

    async def place(self, source: FrameSource, number: int) -> FramePlace:
        """Where frame ``number`` (from 1) lies.

        Raises:
            NoSuchFrame: there is none, or the data set ends before it.
            NotDecodable: the fragments do not tell where frames begin.
        """
        layout = self.layout
        if layout.pixels is None or not 1 <= number <= layout.frames:
            raise NoSuchFrame
        if layout.encapsulated and layout.deflated:
            raise NotDecodable("encapsulated and deflated")
        if not layout.encapsulated:
            return self._native(layout.pixels, number - 1, source.size)
        found = await self._by_table(source, number - 1)
        return found or await self._by_items(source, number - 1)

    async def everything(self, source: FrameSource) -> FramePlace:
        """All fragments of encapsulated pixel data: a video is one stream, whatever its number of frames.

        Raises:
            NoSuchFrame: there are none, or they do not end.
        """
        if not self.layout.encapsulated or self.layout.deflated:
            raise NoSuchFrame
        if self._base is None:
            await self._read_tables(source)
        assert self._base is not None
        items = await _all_items(source, self._base, 1)
        return FramePlace(tuple(zip(items.offsets, items.lengths, strict=True)))

    def _native(self, pixels: Place, index: int, size: int) -> FramePlace:
        bits = self.layout.frame_bits
        start, end = index * bits // 8, -(-(index + 1) * bits // 8)
        word = self.layout.word
        start, end = start - start % word, end + -end % word  # whole words of a big endian data set
        if bits == 0 or end > pixels[1] + word - 1 or (not self.layout.deflated and pixels[0] + end > size):
            raise NoSuchFrame("the pixel data is shorter than it should be")
        return FramePlace(((pixels[0] + start, end - start),), index * bits - start * 8)

    async def _by_table(self, source: FrameSource, index: int) -> FramePlace | None:
        if self._base is None:
            await self._read_tables(source)
        if len(self._offsets) != self.layout.frames or self._base is None:
            return None
        at = self._base + self._offsets[index]
        end = self._base + self._offsets[index + 1] if index + 1 < self.layout.frames else None
        spans: list[Place] = []
        walker = _Headers(source)
        while at != end:
            length = await walker.item(at)
            if length is None or (end is not None and at + _HEADER + length > end):
                break
            spans.append((at + _HEADER, length))
            at += _HEADER + length
        if spans and (at == end or (end is None and await walker.is_end(at))):
            return FramePlace(tuple(spans))
        self._offsets = ()  # the table is wrong: do not believe it again
        return None

    async def _read_tables(self, source: FrameSource) -> None:
        layout = self.layout
        assert layout.pixels is not None
        first = layout.pixels[0]
        length = await _Headers(source).item(first)
        if length is None:
            raise NoSuchFrame("the pixel data has no fragments")
        self._base = first + _HEADER + length
        if layout.offsets and layout.offsets[1] == layout.frames * 8 <= MAX_TABLE:
            table = f"<{layout.frames}Q", await source.read(*layout.offsets)
        elif length == layout.frames * 4 <= MAX_TABLE:
            table = f"<{layout.frames}I", await source.read(first + _HEADER, length)
        else:
            return
        if len(table[1]) == struct.calcsize(table[0]):
            offsets = array.array("Q", struct.unpack(*table))
            if offsets[0] == 0 and all(a < b for a, b in itertools.pairwise(offsets)):
                self._offsets = offsets

    async def _by_items(self, source: FrameSource, index: int) -> FramePlace:
        """By the markers of the codestreams as far as the frame, so that the first costs little; else by all items."""
        async with self._walking:  # several frames of a viewer's page are looked for at the same time
            if self._items is None:
                assert self._base is not None
                self._walk = self._walk or _Walk(self._base)
                if self._is_marked and await self._walk.reaches(source, index):
                    return self._walk.place(index)
                self._is_marked, self._walk = False, None
                self._items = await _all_items(source, self._base, self.layout.frames)
        items = self._items
        first = items.firsts[index]
        last = items.firsts[index + 1] if index + 1 < len(items.firsts) else len(items.offsets)
        return FramePlace(tuple(zip(items.offsets[first:last], items.lengths[first:last], strict=True)))


class FrameIndexes:
    """The indexes of the instances that were asked for last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, FrameIndex] = OrderedDict()

    def get(self, key: object) -> FrameIndex | None:
        """The one kept under ``key``."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, key: object, index: FrameIndex) -> None:
        """Keep one, and forget the oldest if they are too many; call it again when it may have grown."""
        self._kept[key] = index
        self._kept.move_to_end(key)
        total = sum(kept.cost for kept in self._kept.values())
        while total > MAX_REMEMBERED and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            total -= dropped.cost


async def frame_bytes(source: FrameSource, layout: PixelLayout, place: FramePlace) -> AsyncIterator[bytes]:
    """The bytes of a frame in pieces: fragments as stored; native pixels in little endian, from the first bit on.

    Raises:
        HeaderTooLarge: they would have to be reordered, and are too many for that.
    """
    if layout.encapsulated or (layout.word == 1 and place.skip_bits == 0 and layout.frame_bits % 8 == 0):
        for offset, length in place.spans:
            async for piece in source.chunks(offset, offset + length):
                yield piece
        return
    if place.length > MAX_HELD:
        raise HeaderTooLarge("length")
    ((offset, length),) = place.spans
    yield native_frame(await source.read(offset, length), layout, place.skip_bits)


def native_frame(raw: bytes, layout: PixelLayout, skip_bits: int) -> bytes:
    """A native frame in little endian, beginning with its first bit; the last byte is padded with zeros."""
    swapped = swap(raw, layout.word)
    skip, bits = divmod(skip_bits, 8)
    if layout.frame_bits % 8 == 0 and bits == 0:
        return swapped[skip : skip + layout.frame_bits // 8]
    value = int.from_bytes(swapped, "little") >> skip_bits & (1 << layout.frame_bits) - 1
    return value.to_bytes(-(-layout.frame_bits // 8), "little")


def swap(raw: bytes, word: int) -> bytes:
    """Reverse the bytes of each word; a broken one at the end stays."""
    code = {2: "H", 4: "I", 8: "Q"}.get(word)
    if code is None:
        return raw
    whole = len(raw) - len(raw) % word
    values = array.array(code, raw[:whole])
    values.byteswap()
    return values.tobytes() + raw[whole:]


async def after_fragments(source: RangeSource, at: int) -> int:
    """Where encapsulated pixel data, whose first item is at ``at``, ends.

    Raises:
        NoSuchFrame: it does not end. HeaderTooLarge: it has too many fragments.
    """
    walker = _Headers(source)
    for _ in range(MAX_FRAGMENTS):
        if await walker.is_end(at):
            return at + _HEADER
        length = await walker.item(at)
        if length is None:
            break
        at += _HEADER + length
    else:
        raise HeaderTooLarge("fragments")
    raise NoSuchFrame("the fragments do not end")


class _Headers:
    """Reads item headers, a chunk at a time."""

    def __init__(self, source: RangeSource) -> None:
        self._source = source
        self._buffer = b""
        self._base = 0

    async def item(self, at: int) -> int | None:
        """The length of the item at ``at``; None if there is none, or it is not all there."""
        head = await self.bytes(at, _HEADER)
        if len(head) < _HEADER or head[:4] != _ITEM:
            return None
        (length,) = struct.unpack_from("<I", head, 4)
        return None if length == UNDEFINED or at + _HEADER + length > self._source.size else int(length)

    async def is_end(self, at: int) -> bool:
        """Whether the fragments end here."""
        return (await self.bytes(at, 4))[:4] == _SEQUENCE_END

    async def bytes(self, at: int, length: int) -> bytes:
        """Bytes that are usually in the chunk that was read last."""
        if not self._base <= at <= at + length <= self._base + len(self._buffer):
            self._buffer = await self._source.read(at, max(length, READ - at % READ))
            self._base = at
        return self._buffer[at - self._base : at - self._base + length]


class _Walk:
    """Goes from fragment to fragment as long as each frame is a codestream with a beginning and an end."""

    def __init__(
        self,
        at: int,
        offsets: Sequence[int] = (),
        lengths: Sequence[int] = (),
        firsts: Sequence[int] = (),
        *,
        is_between: bool = True,
    ) -> None:
        self.offsets, self.lengths = array.array("Q", offsets), array.array("Q", lengths)
        self.at = at
        self.firsts = array.array("Q", firsts)  # index of each frame's first fragment
        self.is_between = is_between  # the frame before is complete

    async def reaches(self, source: FrameSource, index: int) -> bool:
        """Go on until frame ``index`` is complete; False if the markers do not tell where frames begin."""
        walker = _Headers(source)
        while not (len(self.firsts) > index + 1 or (len(self.firsts) == index + 1 and self.is_between)):
            length = await walker.item(self.at)
            if length is None or length < _TAIL or len(self.offsets) >= MAX_FRAGMENTS:
                return False
            value = self.at + _HEADER
            begins = await walker.bytes(value, len(_BEGIN_MARKERS[0])) in _BEGIN_MARKERS
            if begins != self.is_between:
                return False
            if begins:
                self.firsts.append(len(self.offsets))
            self.offsets.append(value)
            self.lengths.append(length)
            self.at = value + length
            tail = await walker.bytes(self.at - _TAIL, _TAIL)
            self.is_between = tail.rstrip(b"\0").endswith(_END_MARKER)
        return True

    def place(self, index: int) -> FramePlace:
        """A frame that was reached."""
        first = self.firsts[index]
        last = self.firsts[index + 1] if index + 1 < len(self.firsts) else len(self.offsets)
        return FramePlace(tuple(zip(self.offsets[first:last], self.lengths[first:last], strict=True)))


async def _all_items(source: FrameSource, at: int, frames: int) -> _Items:
    offsets, lengths = array.array("Q"), array.array("Q")
    walker = _Headers(source)
    while not await walker.is_end(at):
        length = await walker.item(at)
        if length is None:
            raise NoSuchFrame("the fragments do not end")
        offsets.append(at + _HEADER)
        lengths.append(length)
        at += _HEADER + length
        if len(offsets) > MAX_FRAGMENTS:
            raise HeaderTooLarge("fragments")
    return _Items(offsets, lengths, await _first_fragments(source, offsets, lengths, frames))


async def _first_fragments(
    source: FrameSource, offsets: Sequence[int], lengths: Sequence[int], frames: int
) -> Sequence[int]:
    """Which fragments begin a frame, where no table says so: each, or each after one that ends a codestream."""
    if len(offsets) == frames:
        return range(frames)
    if frames == 1 and offsets:
        return [0]
    if len(offsets) < frames:
        raise NotDecodable("there are fewer fragments than frames")
    firsts = array.array("Q")
    begins = True
    for index, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        if begins:
            firsts.append(index)
        tail = await source.read(offset + max(0, length - _TAIL), min(length, _TAIL))
        begins = tail.rstrip(b"\0").endswith(_END_MARKER)
    if len(firsts) != frames:
        raise NotDecodable("the fragments do not tell where frames begin")
    return firsts
