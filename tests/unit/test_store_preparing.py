"""What is made of a data set while it arrives is what would have been made of the whole."""

import asyncio
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ct import CtStudy, dataset_of

from node.store.codec import BLOCK_BYTES, Codec, Packed
from node.store.preparing import Preparation
from node.store.workers import Workers

CODEC = Codec()
SMOOTH = dataset_of(next(CtStudy(1, smooth=True, rows=900).files()))
NOISE = hashlib.shake_256(b"noise").digest(3 * BLOCK_BYTES + 5)


async def prepared(data: bytes, width: int, looks: list[int]) -> tuple[bytes, Packed | None]:
    """Digest and packed form; every look is at memory of its own."""
    workers = Workers(3, "test")
    try:
        preparation = Preparation(CODEC, width, workers)
        for end in looks:
            preparation.advance(memoryview(data[:end]))
        done = asyncio.get_running_loop().create_future()

        def tell() -> None:
            done.get_loop().call_soon_threadsafe(done.set_result, None)

        preparation.finish(memoryview(data), tell)
        async with asyncio.timeout(10):
            await done
        return preparation.digest().value, preparation.packed(memoryview(data))
    finally:
        await asyncio.to_thread(workers.close)


@settings(max_examples=25, deadline=5000)
@given(looks=st.lists(st.integers(0, len(SMOOTH)), max_size=5), size=st.integers(5000, len(SMOOTH)))
def test_every_byte_comes_back_however_it_arrived(looks: list[int], size: int) -> None:
    data = SMOOTH[:size]
    digest, packed = asyncio.run(prepared(data, 2, sorted(min(look, size) for look in looks)))
    assert digest == hashlib.sha256(data).digest()
    assert packed is not None
    out = bytearray(size)
    CODEC.unpack_into(packed, memoryview(out))
    assert out == data


async def test_packs_exactly_as_the_whole_is_packed() -> None:
    whole = CODEC.pack(SMOOTH, 2)
    _, ours = await prepared(SMOOTH, 2, [BLOCK_BYTES + 7])
    assert whole is not None
    assert ours is not None
    assert ours.layout == whole.layout
    assert b"".join(ours.blocks) == b"".join(whole.blocks)


@pytest.mark.parametrize(
    ("data", "width"), [(NOISE, 2), (SMOOTH, 0), (b"", 2), (bytes(100), 2)], ids=["noise", "compressed", "none", "tiny"]
)
async def test_what_is_not_worth_it_is_kept_as_it_is(data: bytes, width: int) -> None:
    assert await prepared(data, width, [len(data) // 2]) == (hashlib.sha256(data).digest(), None)


async def test_what_goes_wrong_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(CODEC, "pack_block", fail)
    with pytest.raises(MemoryError):
        await prepared(SMOOTH, 2, [])
