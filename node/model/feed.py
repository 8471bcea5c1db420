"""The batch of announcements: its fields, its limits and its bytes (docs/protocol/announcements.md).

Only layout is decided here. Who may sign, whether the signature holds and what the entries say is ``crypto.announce``'s
business; whether a batch follows the one before it is ``sharing``'s.

::

    offset  bytes
         0      8  "LVRTFEED"
         8      2  version, 1
        10      1  rule set of the linkage tokens, 1
        11      1  zero
        12     32  holder: PeerId digest
        44     32  recipient: PeerId digest
        76      8  incarnation
        84      8  epoch
        92      8  sequence number, 0 for an incarnation's first batch
       100     32  SHA-256 of the previous batch as it was sent, signature included; zeros for sequence number 0
       132      8  created at, seconds since the Unix epoch
       140     32  VOPRF public key of the epoch
       172      4  number of entries
       176  n*256  entries in ascending order
       ...     64  Ed25519 signature (crypto.announce)
"""

import hashlib
import itertools
import struct
from dataclasses import dataclass
from typing import Final

from node.errors.feeds import BatchMalformed
from node.model.ids import PeerId

ENTRY_BYTES: Final = 256  # tag 16, nonce 24, sealed label 200 + 16
TAG_BYTES: Final = 16
MIN_ENTRIES: Final = 256  # a batch never tells that little happened
MAX_ENTRIES: Final = 16_384  # 4 MiB: what a recipient holds in memory at once
RULE_SET: Final = 1
NO_PREVIOUS: Final = bytes(32)

_MAGIC: Final = b"LVRTFEED"
_VERSION: Final = 1
_HEADER: Final = struct.Struct(">8sHBB32s32sQQQ32sQ32sI")
SIGNATURE_BYTES: Final = 64
HEADER_BYTES: Final = _HEADER.size
MIN_BATCH_BYTES: Final = HEADER_BYTES + MIN_ENTRIES * ENTRY_BYTES + SIGNATURE_BYTES
MAX_BATCH_BYTES: Final = HEADER_BYTES + MAX_ENTRIES * ENTRY_BYTES + SIGNATURE_BYTES


@dataclass(frozen=True, slots=True)
class Batch:
    """One signed step of a feed from ``holder`` to ``recipient``.

    ``incarnation`` grows when the holder starts its feed anew (a restored backup), ``epoch`` when it changes its VOPRF
    key. ``entries`` are ENTRY_BYTES each, sorted, dummies among them.
    """

    holder: PeerId
    recipient: PeerId
    incarnation: int
    epoch: int
    sequence: int
    previous: bytes
    created_at: int
    voprf_key: bytes
    entries: tuple[bytes, ...]
    rule_set: int = RULE_SET


def padded_count(entries: int) -> int:
    """How many entries a batch has that says ``entries`` things: the next power of two, at least MIN_ENTRIES."""
    if not 0 <= entries <= MAX_ENTRIES:
        raise ValueError(entries)
    return max(MIN_ENTRIES, 1 << max(0, entries - 1).bit_length())


def batch_hash(data: bytes) -> bytes:
    """What the next batch names as ``previous``: SHA-256 of a batch exactly as it was sent."""
    return hashlib.sha256(data).digest()


def encode_batch(batch: Batch) -> bytes:
    """The bytes that are signed. ValueError for a batch that :func:`decode_batch` would refuse."""
    header = _HEADER.pack(
        _MAGIC,
        _VERSION,
        batch.rule_set,
        0,
        batch.holder.digest,
        batch.recipient.digest,
        batch.incarnation,
        batch.epoch,
        batch.sequence,
        batch.previous,
        batch.created_at,
        batch.voprf_key,
        len(batch.entries),
    )
    body = header + b"".join(batch.entries)
    try:
        same = decode_batch(body) == batch
    except BatchMalformed as exc:
        raise ValueError(exc.fact) from exc
    if not same:
        raise ValueError("fields of another length")
    return body


def decode_batch(body: bytes) -> Batch:
    """Read a batch whose signature was verified and cut off; every rule of the layout is checked.

    Raises:
        BatchMalformed: naming the rule that was broken.
    """
    if len(body) < HEADER_BYTES:
        raise BatchMalformed("too short")
    magic, version, rules, zero, holder, recipient, incarnation, epoch, sequence, previous, created, key, count = (
        _HEADER.unpack_from(body)
    )
    if magic != _MAGIC or version != _VERSION or rules != RULE_SET or zero:
        raise BatchMalformed("not a batch of version 1 with rule set 1")
    if not MIN_ENTRIES <= count <= MAX_ENTRIES or count & (count - 1):
        raise BatchMalformed("number of entries")
    if len(body) != HEADER_BYTES + count * ENTRY_BYTES:
        raise BatchMalformed("length")
    if (sequence == 0) != (previous == NO_PREVIOUS):
        raise BatchMalformed("previous hash")
    entries = tuple(body[at : at + ENTRY_BYTES] for at in range(HEADER_BYTES, len(body), ENTRY_BYTES))
    if any(first[:TAG_BYTES] >= second[:TAG_BYTES] for first, second in itertools.pairwise(entries)):
        raise BatchMalformed("entries out of order or a tag twice")
    return Batch(
        holder=PeerId(holder),
        recipient=PeerId(recipient),
        incarnation=incarnation,
        epoch=epoch,
        sequence=sequence,
        previous=previous,
        created_at=created,
        voprf_key=key,
        entries=entries,
        rule_set=rules,
    )
