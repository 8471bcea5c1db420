"""Packing: every byte comes back, and a block that lies is refused before it takes memory."""

import hashlib
import json
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ct import CtStudy, dataset_of
from support.store import header
from support.zoo import brain, zoo

from node.crypto.objects import HEADER_BYTES
from node.errors.storage import BlockDamaged
from node.model.ids import ObjectId, TransferSyntaxUID
from node.store.codec import (
    BLOCK_BYTES,
    CODEC_SHUFFLE_ZSTD,
    SMALLEST_BYTES,
    WIDTHS,
    Codec,
    Layout,
    Packed,
    block_size,
    element_width,
    tail_size,
)
from node.store.pack_format import RecordHeader, open_body
from node.store.packing import PackingStream, UnpackingStream

CODEC = Codec()
SMOOTH = dataset_of(next(CtStudy(1, smooth=True).files()))


def unpacked(packed: Packed) -> bytes:
    size, width = packed.layout.size, packed.layout.width
    return b"".join(
        CODEC.unpack_block(block, width, block_size(size, index)) for index, block in enumerate(packed.blocks)
    )


def stored(packed: Packed) -> bytes:
    return b"".join((*packed.blocks, packed.layout.encode()))


@pytest.mark.parametrize("width", WIDTHS)
@given(
    seed=st.binary(min_size=1, max_size=64),
    repeats=st.integers(1, 20_000),
    noise=st.binary(max_size=200),
    at=st.floats(0, 1),
)
@settings(max_examples=15, deadline=None)
def test_every_byte_comes_back(width: int, seed: bytes, repeats: int, noise: bytes, at: float) -> None:
    data = seed * repeats
    cut = int(at * len(data))
    data = data[:cut] + noise + data[cut:]
    block = data[:BLOCK_BYTES]
    assert CODEC.unpack_block(CODEC.pack_block(block, width), width, len(block)) == block
    packed = CODEC.pack(data, width)
    assert packed is None or unpacked(packed) == data
    if packed is not None:
        assert Layout.decode(packed.layout.encode(), len(data)) == packed.layout
        assert packed.layout.packed_size == len(stored(packed)) < len(data)


@given(size=st.integers(0, 3 * BLOCK_BYTES + 5), piece=st.integers(1, 2 * BLOCK_BYTES), smooth=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_stream_in_pieces_of_any_size_is_packed_like_the_whole(size: int, piece: int, smooth: bool) -> None:  # noqa: FBT001 - hypothesis
    data = (SMOOTH * 2)[:size] if smooth else os.urandom(size)
    stream = PackingStream(CODEC, 2)
    out = [bytes(kept) for at in range(0, size, piece) for _, kept in stream.update(data[at : at + piece])]
    out.extend(bytes(kept) for _, kept in stream.finish())
    body = b"".join(out)
    layout = Layout.decode(body[len(body) - tail_size(size) :], size)
    assert layout.packed_size == len(body)
    whole = CODEC.pack(data, 2)
    assert whole is None or stored(whole) == body
    taker = UnpackingStream(CODEC, layout)
    blocks = memoryview(body)[: layout.starts[-1]]
    pairs = [pair for at in range(0, len(blocks), piece) for pair in taker.update(blocks[at : at + piece])]
    pairs.extend(taker.finish())
    assert b"".join(plain for plain, _ in pairs) == data
    assert b"".join(kept for _, kept in pairs) == body


def test_a_long_stream_of_noise_is_hardly_tried_and_still_packed_where_it_can_be() -> None:
    stream = PackingStream(CODEC, 2)
    parts: list[bytes] = []
    for _ in range(10):
        parts.extend(bytes(kept) for _, kept in stream.update(os.urandom(BLOCK_BYTES)))
    for _ in range(20):
        parts.extend(bytes(kept) for _, kept in stream.update(bytes(BLOCK_BYTES)))
    lengths = [len(part) for part in parts]
    assert set(lengths[:10]) == {BLOCK_BYTES}
    assert set(lengths[-12:]) == {min(lengths)} != {BLOCK_BYTES}


@pytest.mark.parametrize("name", ["MR_small.dcm", "CT_small.dcm", "693_UNCI.dcm", "JPEG2000.dcm", "SC_rgb_jpeg.dcm"])
def test_real_files_get_smaller_or_stay(name: str) -> None:
    [path] = [path for path in zoo() if path.name == name]
    data = path.read_bytes()
    packed = CODEC.pack(data, 2)
    assert packed is None or (unpacked(packed) == data and packed.layout.packed_size * 1.15 < len(data))


def test_the_whole_zoo_comes_back() -> None:
    for path in zoo():
        with path.open("rb") as file:
            data = file.read(2 * BLOCK_BYTES + 1)
        packed = CODEC.pack(data, 2)
        assert packed is None or unpacked(packed) == data, path.name


def test_the_mr_series_gets_less_than_a_third() -> None:
    packed = [CODEC.pack(data, 2) for data in brain()]
    assert sum(p.layout.packed_size for p in packed if p) * 3 < sum(map(len, brain()))
    assert [unpacked(p) for p in packed if p] == list(brain())


@pytest.mark.parametrize("data", [b"", bytes(SMALLEST_BYTES - 1), os.urandom(600_000)], ids=["empty", "small", "noise"])
def test_what_does_not_get_smaller_stays(data: bytes) -> None:
    assert CODEC.pack(data, 2) is None


def test_a_block_that_does_not_get_smaller_is_kept_as_it_is() -> None:
    noise = os.urandom(BLOCK_BYTES)
    packed = CODEC.pack(noise + bytes(5 * BLOCK_BYTES), 2)
    assert packed is not None
    assert bytes(packed.blocks[0]) == noise
    assert unpacked(packed) == noise + bytes(5 * BLOCK_BYTES)


@pytest.mark.parametrize(
    ("syntax", "bits", "width"),
    [
        ("1.2.840.10008.1.2", 16, 2),
        ("1.2.840.10008.1.2.1", 8, 1),
        ("1.2.840.10008.1.2.2", 32, 4),
        ("1.2.840.10008.1.2.1", 64, 8),
        ("1.2.840.10008.1.2.1", 1, 1),
        ("1.2.840.10008.1.2.1", 0, 1),
        ("1.2.840.10008.1.2.1", 24, 1),
        ("1.2.840.10008.1.2.1.98", 16, 2),  # Encapsulated Uncompressed
        ("1.2.840.113619.5.2", 16, 2),  # GE private, implicit VR with big endian pixels
        ("1.2.840.10008.1.2.1.99", 16, 0),  # Deflated
        ("1.2.840.10008.1.2.8.1", 16, 0),  # Deflated Image Frame
        ("1.2.840.10008.1.2.5", 16, 0),  # RLE
        ("1.2.840.10008.1.2.4.50", 8, 0),
        ("1.2.840.10008.1.2.4.90", 16, 0),
        ("1.2.840.10008.1.2.4.102", 8, 0),  # MPEG-4
        ("1.2.840.10008.1.2.4.201", 16, 0),  # HTJ2K
    ],
)
def test_the_transfer_syntax_and_the_bits_decide(syntax: str, bits: int, width: int) -> None:
    assert element_width(header(transfer_syntax_uid=TransferSyntaxUID(syntax), bits_allocated=bits)) == width


def lies() -> Iterator[tuple[str, bytes, int]]:
    """Blocks that do not hold the bytes that they should: what is wrong, the block, and the size it should have."""
    good = zstandard.compress(bytes(1000), 1)
    yield "another size", good, 999
    yield "a bomb", zstandard.compress(bytes(1 << 28), 1), BLOCK_BYTES
    yield "no size", zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000)), 1000
    yield "no frame", b"no frame", 1000
    yield "nothing", b"", 1000
    yield "cut", good[:-1], 1000
    yield "bytes behind", good + b"\0", 1000
    yield "two frames", good + good, 1000
    yield "a dictionary", zstandard.ZstdCompressor(dict_data=_dictionary()).compress(bytes(1000)), 1000
    yield "a skippable frame", b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd", 1000
    yield "a window", _windowed(), 1000


def _dictionary() -> zstandard.ZstdCompressionDict:
    samples: list[bytes | bytearray | memoryview] = [b"%d: a sample of a text" % number * 5 for number in range(1000)]
    return zstandard.train_dictionary(1024, samples)


def _windowed() -> bytes:
    """A frame header that claims 1000 bytes and a window of 1 GiB (RFC 8878, 3.1.1.1)."""
    frame = bytes.fromhex("28b52ffd") + bytes([0x40, 20 << 3]) + (1000 - 256).to_bytes(2, "little")
    return frame + (1000 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"


@pytest.mark.parametrize(("block", "size"), [lie[1:] for lie in lies()], ids=[lie[0] for lie in lies()])
@pytest.mark.parametrize("width", [1, 2])
def test_a_block_that_lies_is_refused_and_takes_no_memory(block: bytes, size: int, width: int) -> None:
    codec = Codec()
    tracemalloc.start()
    try:
        with pytest.raises(BlockDamaged):
            codec.unpack_block(block, width, size)
        assert tracemalloc.get_traced_memory()[1] < 4 * BLOCK_BYTES
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300), st.integers(1, BLOCK_BYTES), st.sampled_from(WIDTHS))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_are_refused_or_have_the_size(block: bytes, size: int, width: int) -> None:
    with suppress(BlockDamaged):
        assert len(CODEC.unpack_block(block, width, size)) == size


@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=100, deadline=None)
def test_a_changed_frame_never_gives_another_length(position: int, bit: int) -> None:
    block = bytearray(CODEC.pack_block(SMOOTH[:20_000], 2))
    block[position % len(block)] ^= 1 << bit
    with suppress(BlockDamaged):
        assert len(CODEC.unpack_block(block, 2, 20_000)) == 20_000


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        bytes(8),  # a block of no bytes
        b"\0\0\0\1\2\0\0",
        b"\0\0\0\1\2\0\0\0\0",
        b"\0\0\0\1\3\0\0\0",  # a width that there is not
        b"\0\0\0\1\2\0\0\1",
        b"\0\0\3\xe9\2\0\0\0",  # longer than its data
        b"\xff\xff\xff\xff\2\0\0\0",
    ],
)
def test_a_tail_that_no_data_set_has_is_refused(tail: bytes) -> None:
    assert Layout.decode(b"\0\0\3\xe8\2\0\0\0", 1000) == Layout(1000, 2, (1000,))
    with pytest.raises(BlockDamaged):
        Layout.decode(tail, 1000)


def test_a_stream_with_blocks_missing_or_left_over_is_refused() -> None:
    packed = CODEC.pack(SMOOTH, 2)
    assert packed is not None
    blocks = b"".join(packed.blocks)
    taker = UnpackingStream(CODEC, packed.layout)
    assert b"".join(plain for plain, _ in taker.update(blocks[:-1])) == SMOOTH[: 2 * BLOCK_BYTES]
    with pytest.raises(BlockDamaged):
        list(taker.finish())
    taker = UnpackingStream(CODEC, packed.layout)
    with pytest.raises(BlockDamaged):
        list(taker.update(blocks + b"\0"))


@given(st.binary(max_size=100), st.sampled_from(WIDTHS))
def test_shuffling_brings_the_bytes_of_one_place_together(data: bytes, width: int) -> None:
    packed = CODEC.pack_block(data * 50, width)
    if len(packed) < len(data) * 50:
        whole = data * 50
        count = len(whole) // width * width
        expected = b"".join(whole[place:count:width] for place in range(width)) + whole[count:]
        assert zstandard.decompress(packed) == expected
        assert np.frombuffer(whole, np.uint8).size == zstandard.frame_content_size(packed)


def expand(packed: bytes, size: int) -> bytes:
    """The data set in its packed form, as a reader takes it apart."""
    layout = Layout.decode(packed[len(packed) - tail_size(size) :], size)
    if layout.packed_size != len(packed):
        raise BlockDamaged
    taker = UnpackingStream(CODEC, layout)
    pairs = [*taker.update(packed[: layout.starts[-1]]), *taker.finish()]
    return b"".join(plain for plain, _ in pairs)


class TestVectors:
    """What the second implementation packed (tests/data/make_vectors.py)."""

    VECTORS = json.loads((Path(__file__).parents[1] / "data" / "packed_vectors.json").read_text(encoding="utf-8"))

    def test_it_is_unpacked(self) -> None:
        for vector in self.VECTORS["packed"]:
            packed = bytes.fromhex(vector["packed"])
            assert hashlib.sha256(expand(packed, vector["size"])).hexdigest() == vector["sha256"], vector["what"]
            assert packed[-4] == vector["width"]

    def test_it_is_shuffled_like_that(self) -> None:
        for vector in self.VECTORS["shuffled"]:
            data, width = bytes.fromhex(vector["data"]), vector["width"]
            frame = zstandard.compress(bytes.fromhex(vector["shuffled"]))
            block = CODEC.unpack_block(frame, width, len(data)) if len(frame) != len(data) else data
            assert block == data
            repeated = CODEC.pack_block(data * (8 * 100), width)  # whole elements only
            planes = b"".join((data * 800)[place::width] for place in range(width))
            assert zstandard.decompress(repeated) == planes

    @pytest.mark.parametrize("vector", VECTORS["refused"], ids=[v["what"] for v in VECTORS["refused"]])
    def test_it_is_refused(self, vector: dict[str, Any]) -> None:
        with pytest.raises(BlockDamaged):
            expand(bytes.fromhex(vector["packed"]), vector["size"])

    def test_it_is_the_body_of_a_record(self) -> None:
        record = self.VECTORS["record"]
        body = bytes.fromhex(record["body"])
        found = RecordHeader(
            CODEC_SHUFFLE_ZSTD,
            record["key_version"],
            0,
            len(body),
            ObjectId(bytes.fromhex(record["object_id"])),
            bytes.fromhex(record["space"]),
            b"",
        )
        decryptor = open_body(found, bytes.fromhex(record["object_key"]), body[:HEADER_BYTES])
        [expected] = [v["packed"] for v in self.VECTORS["packed"] if v["what"] == record["packed"]]
        at, length = decryptor.span(0)
        assert decryptor.chunk(0, body[at : at + length]).hex() == expected
