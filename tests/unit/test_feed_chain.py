"""Whether a batch follows: replay, gap, reorder, fork, rollback, foreign ends."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors.announce import (
    FeedFork,
    FeedGap,
    FeedMisdirected,
    FeedOversized,
    FeedRefused,
    FeedReplayed,
    FeedRolledBack,
)
from node.model.feed import NO_PREVIOUS, Batch
from node.model.feed_chain import Position, check_ends, follow
from node.model.ids import PeerId

HOLDER, READER, OTHER = (PeerId(bytes([n]) * 32) for n in (1, 2, 3))
KEY, NEW_KEY = b"k" * 32, b"n" * 32


def batch(sequence: int = 0, **changes: object) -> Batch:
    first = Batch(
        holder=HOLDER,
        recipient=READER,
        incarnation=5,
        epoch=3,
        sequence=sequence,
        previous=digest(sequence - 1) if sequence else NO_PREVIOUS,
        created_at=0,
        voprf_key=KEY,
        entries=(),
    )
    return replace(first, **changes)  # type: ignore[arg-type]


def digest(sequence: int, salt: int = 0) -> bytes:
    return bytes([sequence % 256, salt]) * 16


KNOWN = Position(5, 3, KEY, 2, digest(2))


def test_a_feed_begins_at_its_beginning() -> None:
    assert follow(None, batch(), digest(0), None) == Position(5, 3, KEY, 0, digest(0))
    with pytest.raises(FeedGap):
        follow(None, batch(1), digest(1), None)


def test_the_next_batch_follows() -> None:
    assert follow(KNOWN, batch(3), digest(3), None) == Position(5, 3, KEY, 3, digest(3))


def test_a_new_epoch_brings_a_new_key_and_a_new_key_a_new_epoch() -> None:
    after = follow(KNOWN, batch(3, epoch=9, voprf_key=NEW_KEY), digest(3), None)
    assert not after.same_epoch(KNOWN)
    for changes in ({"epoch": 4}, {"voprf_key": NEW_KEY}):
        with pytest.raises(FeedFork):
            follow(KNOWN, batch(3, **changes), digest(3), None)


def test_a_new_incarnation_starts_over() -> None:
    fresh = batch(0, incarnation=6, epoch=1, voprf_key=NEW_KEY)
    assert follow(KNOWN, fresh, digest(0, 1), digest(0)).sequence == 0
    with pytest.raises(FeedGap):
        follow(KNOWN, batch(3, incarnation=6), digest(3), None)


@pytest.mark.parametrize(
    ("again", "seen", "error"),
    [
        (batch(2), digest(2), FeedReplayed),
        (batch(0), digest(0), FeedReplayed),
        (batch(1), digest(1, 9), FeedFork),
        (batch(2), digest(2, 9), FeedFork),
        (batch(2), None, FeedFork),
        (batch(4), None, FeedGap),
        (batch(3, previous=digest(2, 9)), None, FeedFork),
        (batch(3, epoch=2, voprf_key=NEW_KEY), None, FeedRolledBack),
        (batch(3, incarnation=4), None, FeedRolledBack),
        (batch(0, incarnation=4), None, FeedRolledBack),
    ],
)
def test_what_does_not_follow_is_refused(again: Batch, seen: bytes | None, error: type[FeedRefused]) -> None:
    with pytest.raises(error):
        follow(KNOWN, again, digest(again.sequence), seen)


def test_ends_and_numbers_are_checked() -> None:
    check_ends(batch(), HOLDER, READER)
    for foreign in (batch(holder=OTHER), batch(recipient=OTHER), batch(holder=READER, recipient=HOLDER)):
        with pytest.raises(FeedMisdirected):
            check_ends(foreign, HOLDER, READER)
    for beyond in (batch(incarnation=2**63), batch(epoch=2**64 - 1), batch(2**63 - 1), batch(epoch=0)):
        with pytest.raises(FeedOversized):
            check_ends(beyond, HOLDER, READER)


@given(st.lists(st.integers(0, 7), max_size=40), st.integers())
def test_only_the_chain_in_order_gets_through(arrivals: list[int], seed: int) -> None:
    """Whatever order and however often batches arrive, what was taken over is a prefix of the chain."""
    clock = random.Random(seed)
    position: Position | None = None
    seen: dict[int, bytes] = {}
    for sequence in arrivals:
        far = clock.choice((0, 2**40))  # the holder's clock says nothing
        try:
            position = follow(position, batch(sequence, created_at=far), digest(sequence), seen.get(sequence))
        except FeedRefused:
            continue
        seen[sequence] = digest(sequence)
    assert list(seen) == list(range(len(seen)))
    assert position is None if not seen else position == Position(5, 3, KEY, len(seen) - 1, digest(len(seen) - 1))
