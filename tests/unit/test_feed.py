import dataclasses
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors.feeds import BatchMalformed
from node.model.feed import (
    ENTRY_BYTES,
    HEADER_BYTES,
    MAX_ENTRIES,
    MIN_ENTRIES,
    NO_PREVIOUS,
    Batch,
    batch_hash,
    decode_batch,
    encode_batch,
    padded_count,
)
from node.model.ids import PeerId


def entries(count: int) -> tuple[bytes, ...]:
    return tuple(number.to_bytes(16, "big").ljust(ENTRY_BYTES, b"e") for number in range(count))


def batch(**changes: Any) -> Batch:
    facts: dict[str, Any] = {
        "holder": PeerId(b"h" * 32),
        "recipient": PeerId(b"r" * 32),
        "incarnation": 1,
        "epoch": 2,
        "sequence": 3,
        "previous": b"p" * 32,
        "created_at": 1_800_000_000,
        "voprf_key": b"k" * 32,
        "entries": entries(MIN_ENTRIES),
    }
    return Batch(**(facts | changes))


@pytest.mark.parametrize(
    "good",
    [
        batch(),
        batch(sequence=0, previous=NO_PREVIOUS),
        batch(entries=entries(1024)),
        batch(entries=entries(MAX_ENTRIES)),
        batch(incarnation=2**64 - 1, epoch=2**64 - 1, sequence=2**64 - 1, created_at=2**64 - 1),
    ],
    ids=["usual", "first", "bigger", "biggest", "far"],
)
def test_a_batch_is_read_as_it_was_written(good: Batch) -> None:
    assert decode_batch(encode_batch(good)) == good


def test_numbers_of_entries_are_powers_of_two_from_256() -> None:
    assert [padded_count(count) for count in (0, 1, 256, 257, 512, 513, MAX_ENTRIES)] == [
        256, 256, 256, 512, 512, 1024, MAX_ENTRIES,
    ]  # fmt: skip
    with pytest.raises(ValueError, match=str(MAX_ENTRIES + 1)):
        padded_count(MAX_ENTRIES + 1)


@pytest.mark.parametrize(
    "bad",
    [
        {"entries": ()},
        {"entries": entries(255)},
        {"entries": entries(300)},
        {"entries": entries(2 * MAX_ENTRIES)},
        {"entries": entries(255)[:254] + entries(255)[252:254]},
        {"entries": tuple(reversed(entries(256)))},
        {"entries": (*entries(255), entries(255)[-1])},
        {"entries": (*entries(255), entries(255)[-1][:-1] + b"f")},
        {"entries": (*entries(255)[:-1], b"short", b"long" * 200)},
        {"sequence": 0},
        {"previous": NO_PREVIOUS},
        {"previous": b"short"},
        {"voprf_key": b""},
        {"rule_set": 2},
    ],
    ids=str,
)
def test_a_batch_that_would_be_refused_is_not_written(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode_batch(batch(**bad))


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + ENTRY_BYTES])
def test_a_batch_cut_off_is_refused(size: int) -> None:
    with pytest.raises(BatchMalformed):
        decode_batch(encode_batch(batch())[:size])


@pytest.mark.parametrize("claimed", [0, 255, 257, 512, 2**31, 2**32 - 1])
def test_a_claimed_number_of_entries_is_not_believed(claimed: int) -> None:
    body = encode_batch(batch())
    with pytest.raises(BatchMalformed):
        decode_batch(body[:172] + claimed.to_bytes(4, "big") + body[176:])


def test_bytes_after_the_entries_are_refused() -> None:
    with pytest.raises(BatchMalformed):
        decode_batch(encode_batch(batch()) + b"\0")


@given(st.integers(0, HEADER_BYTES - 1), st.integers(1, 255))
def test_a_changed_byte_changes_what_is_read_or_is_refused(offset: int, change: int) -> None:
    body = bytearray(encode_batch(batch()))
    body[offset] ^= change
    try:
        read = decode_batch(bytes(body))
    except BatchMalformed:
        return
    assert read != batch()
    assert encode_batch(read) == bytes(body)


def test_the_next_batch_names_the_bytes_that_were_sent() -> None:
    assert batch_hash(b"sent") == hashlib.sha256(b"sent").digest()


def test_a_batch_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch().epoch = 3  # type: ignore[misc]
