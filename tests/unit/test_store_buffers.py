"""Memory that is used again: large enough, hardly larger, and the same for images of a kind."""

from hypothesis import given
from hypothesis import strategies as st

from node.store.buffers import MAX_KEPT_BYTES, Buffers


@given(st.integers(0, 1 << 24))
def test_what_is_given_is_large_enough_and_little_is_wasted(size: int) -> None:
    assert size <= len(Buffers().take(size)) <= max(1 << 16, size * 9 // 8 + (1 << 16))


@given(st.integers(1, 1 << 24), st.integers(0, 100))
def test_images_of_a_kind_share_their_memory(size: int, more: int) -> None:
    buffers = Buffers()
    first = buffers.take(size)
    buffers.give_back(first)
    second = buffers.take(size)
    assert second is first
    assert buffers.take(size) is not first, "it is taken"
    buffers.give_back(second)
    assert len(buffers.take(size + more)) >= size + more


def test_no_more_is_kept_than_may_stay() -> None:
    buffers = Buffers()
    taken = [buffers.take(MAX_KEPT_BYTES // 4) for _ in range(6)]
    for one in taken:
        buffers.give_back(one)
    again = [buffers.take(MAX_KEPT_BYTES // 4) for _ in range(6)]
    assert sum(any(one is other for other in taken) for one in again) == 4
