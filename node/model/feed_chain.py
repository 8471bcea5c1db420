"""Whether a batch follows what is known of a feed (docs/protocol/locating.md). Pure.

A feed is a chain: each batch names the hash of the one before it. Its incarnation only grows, within an incarnation its
epoch only grows, and within an epoch its VOPRF key stays. ``created_at`` is never looked at: a holder whose clock is
ten years off announces as well as any other.
"""

from dataclasses import dataclass

from node.errors.announce import FeedFork, FeedGap, FeedMisdirected, FeedOversized, FeedReplayed, FeedRolledBack
from node.model.feed import Batch
from node.model.ids import PeerId

MAX_NUMBER = 2**63 - 1  # what the index can hold; incarnations, epochs and sequence numbers


@dataclass(frozen=True, slots=True)
class Position:
    """How far a feed was followed: the last batch that was taken over, and what it belongs to."""

    incarnation: int
    epoch: int
    voprf_key: bytes
    sequence: int
    head: bytes  # hash of that batch as it was received

    def same_epoch(self, other: "Position | None") -> bool:
        """Whether entries and answers of the one are of use with the other."""
        return other is not None and (self.incarnation, self.epoch) == (other.incarnation, other.epoch)


def check_ends(batch: Batch, holder: PeerId, reader: PeerId) -> None:
    """The batch is from ``holder``, for ``reader``, and its numbers are such as this node can keep.

    Raises:
        FeedMisdirected: of another node or for another.
        FeedOversized: an incarnation or epoch of 0, or a number of 2**63 or more.
    """
    if batch.holder != holder or batch.recipient != reader:
        raise FeedMisdirected
    numbers = (batch.incarnation, batch.epoch, batch.sequence + 1)
    if min(numbers) < 1 or max(numbers) > MAX_NUMBER:
        raise FeedOversized("a number is out of range")


def follow(known: Position | None, batch: Batch, digest: bytes, seen: bytes | None) -> Position:
    """The position after ``batch``, whose hash is ``digest``.

    ``seen`` is the hash of the batch that was taken over under the same number before, if there is one.

    Raises:
        FeedGap: batches are missing before it.
        FeedReplayed: it was taken over before.
        FeedFork: it contradicts a batch that was taken over, both signed by the holder.
        FeedRolledBack: it belongs to an incarnation or epoch before the known one.
    """
    after = Position(batch.incarnation, batch.epoch, batch.voprf_key, batch.sequence, digest)
    if known is None or batch.incarnation > known.incarnation:
        if batch.sequence != 0:
            raise FeedGap("the feed does not begin at its beginning")
        return after
    if batch.incarnation < known.incarnation:
        raise FeedRolledBack("incarnation")
    if batch.sequence <= known.sequence:
        raise FeedReplayed if seen == digest else FeedFork("two batches at one sequence number")
    if batch.sequence > known.sequence + 1:
        raise FeedGap
    if batch.previous != known.head:
        raise FeedFork("it follows another batch than the one received")
    if batch.epoch < known.epoch:
        raise FeedRolledBack("epoch")
    if (batch.epoch == known.epoch) != (batch.voprf_key == known.voprf_key):
        raise FeedFork("an epoch has one key, and each its own")
    return after
