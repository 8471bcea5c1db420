"""What is made of a data set while it arrives is what would have been made of the whole."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ct import CtStudy, dataset_of

from node.store.codec import BLOCK_BYTES, Codec
from node.store.preparing import Preparation
from node.store.workers import Strand, Workers

CODEC = Codec()
STRAND = Strand(Workers(1, "test"))  # not used: these tests call in their own thread
SMOOTH = dataset_of(next(CtStudy(1, smooth=True, rows=900).files()))
NOISE = hashlib.shake_256(b"noise").digest(3 * BLOCK_BYTES + 5)


def prepared(data: bytes, width: int, looks: list[int]) -> tuple[bytes, bytes | None]:
    """Digest and, unpacked again, the packed form; every look is at memory of its own."""
    preparation = Preparation(CODEC, width, STRAND)
    for end in looks:
        preparation.advance(memoryview(data[:end]))
    digest = preparation.digest(memoryview(data))
    packed = preparation.packed(memoryview(data))
    if packed is None:
        return digest.value, None
    out = bytearray(len(data))
    CODEC.unpack_into(packed, memoryview(out))
    return digest.value, bytes(out)


@settings(max_examples=25, deadline=5000)
@given(looks=st.lists(st.integers(0, len(SMOOTH)), max_size=5), size=st.integers(5000, len(SMOOTH)))
def test_every_byte_comes_back_however_it_arrived(looks: list[int], size: int) -> None:
    data = SMOOTH[:size]
    digest, plain = prepared(data, 2, sorted(min(look, size) for look in looks))
    assert digest == hashlib.sha256(data).digest()
    assert plain == data


def test_packs_exactly_as_the_whole_is_packed() -> None:
    preparation = Preparation(CODEC, 2, STRAND)
    preparation.advance(memoryview(SMOOTH)[: BLOCK_BYTES + 7])
    preparation.digest(memoryview(SMOOTH))
    whole, ours = CODEC.pack(SMOOTH, 2), preparation.packed(memoryview(SMOOTH))
    assert whole is not None
    assert ours is not None
    assert ours.layout == whole.layout
    assert b"".join(ours.blocks) == b"".join(whole.blocks)


@pytest.mark.parametrize(
    ("data", "width"), [(NOISE, 2), (SMOOTH, 0), (b"", 2), (bytes(100), 2)], ids=["noise", "compressed", "none", "tiny"]
)
def test_what_is_not_worth_it_is_kept_as_it_is(data: bytes, width: int) -> None:
    assert prepared(data, width, [len(data) // 2]) == (hashlib.sha256(data).digest(), None)
