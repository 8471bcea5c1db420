"""Frames are found by tables that tell the truth, and in spite of those that do not."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.frames import FrameIndex, FrameIndexes, frame_bytes, native_frame, swap
from node.dicom.pixels import PixelLayout
from node.dicom.structure import UNDEFINED
from node.errors.base import LeveretError
from node.errors.dicom import HeaderTooLarge, NoSuchFrame, NotDecodable

ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0" + bytes(4)
HEAD = 40  # bytes before the pixel data
JPEG_END = b"\xff\xd9"


class Memory:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.reads = 0

    async def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        self.reads += 1
        return self.data[offset : offset + length]

    async def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        yield self.data[start:end]


class Yielding(Memory):
    """Lets others go on during each read."""

    async def read(self, offset: int, length: int) -> bytes:
        await asyncio.sleep(0)
        return await super().read(offset, length)


def layout(**values: object) -> PixelLayout:
    base = PixelLayout(
        pixels=(HEAD, UNDEFINED), vr="OB", big=False, deflated=False, rows=4, columns=4, samples=1, bits=8, frames=1,
        representative=0, photometric="MONOCHROME2", offsets=None, lengths=None, document=None, document_type="",
        document_length=0, has_content=False,
    )  # fmt: skip
    return msgspec.structs.replace(base, **values)


def item(data: bytes) -> bytes:
    return ITEM + struct.pack("<I", len(data)) + data


def encapsulated(frames: list[list[bytes]], table: str = "") -> bytes:
    """Fragments of frames behind a basic offset table, or an empty one."""
    offsets, at = [], 0
    for fragments in frames:
        offsets.append(at)
        at += sum(8 + len(fragment) for fragment in fragments)
    basic = struct.pack(f"<{len(offsets)}I", *offsets) if table == "basic" else b""
    body = b"".join(item(fragment) for fragments in frames for fragment in fragments)
    return bytes(HEAD) + item(basic) + body + END


async def read(source: Memory, index: FrameIndex, number: int) -> bytes:
    place = await index.place(source, number)
    return b"".join([piece async for piece in frame_bytes(source, index.layout, place)])


FRAMES = st.lists(st.lists(st.binary(min_size=2, max_size=9), min_size=1, max_size=3), min_size=1, max_size=5)


@given(FRAMES, st.sampled_from(["basic", ""]))
async def test_every_frame_is_found(frames: list[list[bytes]], table: str) -> None:
    if not table:
        frames = [[b"".join(fragments)] for fragments in frames]
    source = Memory(encapsulated(frames, table))
    index = FrameIndex(layout(frames=len(frames)))
    for number in reversed(range(1, len(frames) + 1)):
        assert await read(source, index, number) == b"".join(frames[number - 1])


@given(FRAMES, st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5))
async def test_a_table_that_lies_gives_no_wrong_frame(frames: list[list[bytes]], lies: list[int]) -> None:
    """One fragment a frame: so the items tell what is right, whatever the table says."""
    whole = [[b"".join(fragments)] for fragments in frames]
    basic = struct.pack(f"<{len(lies)}I", *lies)
    source = Memory(bytes(HEAD) + item(basic) + b"".join(item(f) for (f,) in whole) + END)
    index = FrameIndex(layout(frames=len(whole)))
    for number, (frame,) in enumerate(whole, 1):
        found = await read(source, index, number)
        assert found == frame or (len(lies) == len(whole) and lies == sorted(lies))


async def test_a_table_that_is_right_is_not_doubted() -> None:
    frames = [[bytes([n]) * 40] for n in range(20)]
    source = Memory(encapsulated(frames, "basic"))
    index = FrameIndex(layout(frames=20))
    for number in range(1, 21):
        assert await read(source, index, number) == frames[number - 1][0]


async def test_extended_offset_table() -> None:
    frames = [[b"first!"], [b"second"], [b"third!"]]
    body = encapsulated(frames)
    table = struct.pack("<3Q", 0, 14, 28)
    source = Memory(table + body[len(table) :])
    index = FrameIndex(layout(frames=3, offsets=(0, len(table))))
    assert [await read(source, index, n) for n in (3, 1, 2)] == [b"third!", b"first!", b"second"]
    assert index.cost < 1100


async def test_codestream_ends_tell_frames_apart() -> None:
    frames = [[b"ab", b"cd" + JPEG_END], [b"ef" + JPEG_END + b"\0\0"[:0]], [b"gh", b"ij", b"k" + JPEG_END + b"\0"]]
    source = Memory(encapsulated(frames))
    index = FrameIndex(layout(frames=3))
    assert [await read(source, index, n) for n in (1, 2, 3)] == [b"".join(f) for f in frames]
    with pytest.raises(NotDecodable):
        await read(Memory(encapsulated([[b"ab"], [b"cd"], [b"ef"]])), FrameIndex(layout(frames=2)), 1)
    with pytest.raises(NotDecodable):
        await read(Memory(encapsulated([[b"ab"]])), FrameIndex(layout(frames=2)), 1)


def codestream(parts: list[bytes]) -> list[bytes]:
    """Fragments of one frame; no part looks like a beginning or an end."""
    first, *others = (b"\1" + part + b"\1" for part in parts)
    return [b"\xff\x4f" + first, *others, b"\1\1\1" + JPEG_END]


CODESTREAM = st.lists(st.binary(max_size=300), min_size=1, max_size=3).map(codestream)


@given(st.lists(CODESTREAM, min_size=2, max_size=6), st.randoms())
async def test_frames_looked_for_at_the_same_time(frames: list[list[bytes]], random: Random) -> None:
    """Without a table, in any order and together: the markers tell, and nobody disturbs another's walk."""
    source, index = Yielding(encapsulated(frames)), FrameIndex(layout(frames=len(frames)))
    numbers = list(range(1, len(frames) + 1)) * 2
    random.shuffle(numbers)
    found = await asyncio.gather(*(read(source, index, number) for number in numbers))
    assert found == [b"".join(frames[number - 1]) for number in numbers]


async def test_the_first_frame_costs_no_walk_through_all() -> None:
    frames = [[b"\xff\x4f" + bytes(300_000) + JPEG_END] for _ in range(40)]
    source = Memory(encapsulated(frames))
    index = FrameIndex(layout(frames=40))
    assert await read(source, index, 1) == frames[0][0]
    assert source.reads < 5
    assert await read(source, index, 40) == frames[39][0]
    assert 40 < source.reads < 130


@pytest.mark.parametrize("begin", [b"\xff\x4f", b"\1\1"], ids=["marked", "unmarked"])
async def test_what_was_found_is_kept_for_the_next_start(begin: bytes) -> None:
    """Not at every step: what is kept doubles, and is whole in the end."""
    frames = [[begin + bytes([n % 251]) * 300 + JPEG_END] for n in range(1000)]
    source, index = Memory(encapsulated(frames)), FrameIndex(layout(frames=1000))
    kept, times = None, 0
    for number in range(1, 1001):
        assert await read(source, index, number) == frames[number - 1][0]
        new = await index.to_keep()
        times += new is not None
        kept = new or kept
    assert kept is not None
    assert times == (1 if begin == b"\1\1" else 5)  # 64, 128, 256, 512, and all
    assert await index.to_keep() is None
    again, fresh = FrameIndex.from_kept(kept), Memory(source.data)
    assert again is not None
    assert again.layout == index.layout
    for number in (1000, 1, 500):
        assert await again.place(fresh, number) == await index.place(source, number)
    assert fresh.reads == 0
    assert await again.to_keep() is None


async def test_a_walk_that_was_kept_half_way_goes_on() -> None:
    frames = [[b"\xff\x4f" + bytes([n % 251]) * 300, b"\1" * 10 + JPEG_END] for n in range(300)]
    source, index = Memory(encapsulated(frames)), FrameIndex(layout(frames=300))
    await index.place(source, 100)
    kept = await index.to_keep()
    assert kept is not None
    again = FrameIndex.from_kept(kept)
    assert again is not None
    for number in (300, 100, 101, 1):
        assert await read(source, again, number) == b"".join(frames[number - 1])


async def test_what_another_version_kept_is_not_believed() -> None:
    for text in (b"", b"\xc1", msgspec.msgpack.encode([1, 2, 3]), bytes(100)):
        assert FrameIndex.from_kept(text) is None
    short = FrameIndex(layout(frames=3))
    await read(Memory(encapsulated([[b"\xff\x4fab" + JPEG_END] for _ in range(3)])), short, 3)
    assert await short.to_keep() is None, "found again as fast"


@given(st.binary(max_size=60), st.integers(1, 4))
async def test_arbitrary_fragments_are_refused_or_read(tail: bytes, frames: int) -> None:
    source = Memory(bytes(HEAD) + item(b"") + tail)
    index = FrameIndex(layout(frames=frames))
    with contextlib.suppress(LeveretError):
        assert len(await read(source, index, 1)) <= len(tail)


@pytest.mark.parametrize("number", [0, 4, -1])
async def test_no_such_frame(number: int) -> None:
    with pytest.raises(NoSuchFrame):
        await FrameIndex(layout(pixels=(0, 48), frames=3)).place(Memory(bytes(48)), number)


async def test_native_frames() -> None:
    source = Memory(bytes(HEAD) + bytes(range(96)))
    index = FrameIndex(layout(pixels=(HEAD, 96), bits=16, frames=3))
    assert await read(source, index, 2) == bytes(range(32, 64))
    with pytest.raises(NoSuchFrame):
        await FrameIndex(layout(pixels=(HEAD, 90), bits=16, frames=3)).place(source, 3)
    with pytest.raises(NoSuchFrame):
        await FrameIndex(layout(pixels=(HEAD, 4096), bits=16, frames=128)).place(source, 100)
    with pytest.raises(NoSuchFrame):
        await FrameIndex(layout(pixels=None)).place(source, 1)


async def test_native_frames_in_big_endian() -> None:
    source = Memory(bytes(range(64)))
    words = FrameIndex(layout(pixels=(0, 64), vr="OW", bits=16, frames=2, big=True))
    assert await read(source, words, 2) == swap(bytes(range(32, 64)), 2)
    bytes_in_words = FrameIndex(layout(pixels=(0, 28), vr="OW", rows=3, columns=3, bits=8, frames=3, big=True))
    assert await read(source, bytes_in_words, 2) == swap(bytes(range(28)), 2)[9:18]
    huge = layout(pixels=(0, 1 << 40), vr="OW", bits=16, rows=1 << 15, columns=1 << 15, big=True)
    source.size = 1 << 40
    with pytest.raises(HeaderTooLarge):
        await read(source, FrameIndex(huge), 1)


@given(st.integers(1, 40), st.integers(1, 5), st.data())
async def test_one_bit_frames(pixels: int, frames: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.integers(0, 1), min_size=pixels * frames, max_size=pixels * frames))
    packed = sum(bit << n for n, bit in enumerate(bits)).to_bytes(-(-len(bits) // 8), "little")
    one = layout(pixels=(0, len(packed)), rows=1, columns=pixels, bits=1, frames=frames)
    for number in range(1, frames + 1):
        frame = await read(Memory(packed), FrameIndex(one), number)
        assert len(frame) == -(-pixels // 8)
        value = int.from_bytes(frame, "little")
        assert [value >> n & 1 for n in range(pixels)] == bits[(number - 1) * pixels : number * pixels]


def test_subsampled_frames_have_two_thirds() -> None:
    assert layout(bits=8, samples=3, photometric="YBR_FULL_422").frame_bits == 4 * 4 * 2 * 8
    assert layout(bits=8, samples=3, photometric="YBR_FULL").frame_bits == 4 * 4 * 3 * 8


@given(st.binary(max_size=40), st.sampled_from([1, 2, 4, 8]))
def test_swapping_twice_changes_nothing(data: bytes, word: int) -> None:
    assert swap(swap(data, word), word) == data


def test_numbers_that_no_data_set_holds_are_noticed() -> None:
    assert layout().plausible
    for lie in ({"rows": -1}, {"pixels": (-5, 10)}, {"frames": 1 << 40}, {"document": (0, -1)}, {"bits": -8}):
        assert not layout(**lie).plausible


def test_indexes_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.dicom.frames.MAX_REMEMBERED", 2100)
    kept = FrameIndexes()
    for key in ("a", "b", "c"):
        kept.keep(key, FrameIndex(layout()))
        kept.get("a")
    assert [kept.get(key) is not None for key in ("a", "b", "c")] == [True, False, True]


def test_padding_of_a_native_frame() -> None:
    assert native_frame(b"\xff\xff", layout(rows=1, columns=3, bits=1), 2) == b"\x07"
