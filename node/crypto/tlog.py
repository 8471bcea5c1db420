"""Merkle trees of append-only logs: RFC 6962 section 2.1, with the verifiers of RFC 9162 sections 2.1.3 and 2.1.4.

Hashes are SHA-256, 32 bytes. A leaf and an inner node are hashed under different prefixes, so neither passes for the
other. Provers here take all leaf hashes of the tree; whoever only appends keeps a :class:`Frontier`.
"""

import hashlib
from collections.abc import Sequence
from typing import Self

from node.errors.crypto_identity import FrontierDamaged, ProofRejected

HASH_BYTES = 32
MAX_SIZE = 2**63 - 1  # leaves; keeps sizes within what SQL and C2SP's timestamps can hold
_SIZE_BYTES = 8


def leaf_hash(data: bytes) -> bytes:
    """The hash of one entry."""
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over ``leaves`` (leaf hashes, in order)."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The path that proves leaf ``index`` to be in the tree over ``leaves`` (RFC 6962 section 2.1.1)."""
    if not 0 <= index < len(leaves):
        raise IndexError(index)
    if len(leaves) == 1:
        return []
    middle = _largest_power_below(len(leaves))
    left, right = leaves[:middle], leaves[middle:]
    if index < middle:
        return [*inclusion_proof(left, index), root_of(right)]
    return [*inclusion_proof(right, index - middle), root_of(left)]


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """The proof that the tree over ``leaves`` begins with its own first ``old_size`` (RFC 6962 section 2.1.2).

    ``old_size`` is at least 1: anything begins with the empty tree, which therefore needs no proof and has none.
    """
    if not 0 < old_size <= len(leaves):
        raise IndexError(old_size)
    return _subproof(leaves, old_size, is_known=True)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash ``leaf`` stands at ``index`` in the tree of ``size`` leaves with ``root``.

    Raises:
        ProofRejected: it was not proved (RFC 9162 section 2.1.3.2).
    """
    if not 0 <= index < size <= MAX_SIZE or not _are_hashes(leaf, root, *proof):
        raise ProofRejected
    number, last, reached = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofRejected
        if number & 1 or number == last:
            reached = node_hash(sibling, reached)
            number, last = _skip_levels(number, last)
        else:
            reached = node_hash(reached, sibling)
        number, last = number >> 1, last >> 1
    if last != 0 or reached != root:
        raise ProofRejected


def verify_consistency(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``size`` leaves with ``root`` continues the one of ``old_size`` leaves with ``old_root``.

    Raises:
        ProofRejected: it was not proved (RFC 9162 section 2.1.4.2). An ``old_size`` of 0 proves nothing and is refused.
    """
    if not 0 < old_size <= size <= MAX_SIZE or not _are_hashes(old_root, root, *proof):
        raise ProofRejected
    if old_size == size:
        if proof or old_root != root:
            raise ProofRejected
        return
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not path:
        raise ProofRejected
    number, last = old_size - 1, size - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    reached_old = reached = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofRejected
        if number & 1 or number == last:
            reached_old, reached = node_hash(sibling, reached_old), node_hash(sibling, reached)
            number, last = _skip_levels(number, last)
        else:
            reached = node_hash(reached, sibling)
        number, last = number >> 1, last >> 1
    if last != 0 or reached_old != old_root or reached != root:
        raise ProofRejected


class Frontier:
    """The right edge of a tree: what is needed to append and to know the root, and no more (a compact range).

    One hash for each bit of the size that is 1, the largest perfect subtree first.
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._peaks: list[bytes] = []

    @property
    def size(self) -> int:
        """Leaves appended so far."""
        return self._size

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        if not _are_hashes(leaf):
            raise ValueError(len(leaf))
        reached = leaf
        filled = self._size  # its trailing ones are the perfect subtrees that this leaf completes
        while filled & 1:
            reached = node_hash(self._peaks.pop(), reached)
            filled >>= 1
        self._peaks.append(reached)
        self._size += 1

    def root(self) -> bytes:
        """The root of the tree so far; of the empty tree, SHA-256 of nothing (RFC 6962 section 2.1)."""
        if not self._peaks:
            return hashlib.sha256().digest()
        *others, reached = self._peaks
        for peak in reversed(others):
            reached = node_hash(peak, reached)
        return reached

    def serialise(self) -> bytes:
        """Size (8 bytes, big-endian), then the hashes."""
        return self._size.to_bytes(_SIZE_BYTES) + b"".join(self._peaks)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read what :meth:`serialise` wrote.

        Raises:
            FrontierDamaged: it cannot have written that.
        """
        size = int.from_bytes(data[:_SIZE_BYTES])
        if len(data) != _SIZE_BYTES + size.bit_count() * HASH_BYTES or size > MAX_SIZE:
            raise FrontierDamaged
        frontier = cls()
        frontier._size = size
        frontier._peaks = [data[at : at + HASH_BYTES] for at in range(_SIZE_BYTES, len(data), HASH_BYTES)]
        return frontier


def _subproof(leaves: Sequence[bytes], old_size: int, *, is_known: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 section 2.1.2; ``is_known``: the verifier has this subtree's hash, it is the old root."""
    if old_size == len(leaves):
        return [] if is_known else [root_of(leaves)]
    middle = _largest_power_below(len(leaves))
    left, right = leaves[:middle], leaves[middle:]
    if old_size <= middle:
        return [*_subproof(left, old_size, is_known=is_known), root_of(right)]
    return [*_subproof(right, old_size - middle, is_known=False), root_of(left)]


def _largest_power_below(size: int) -> int:
    """The largest power of two smaller than ``size`` (at least 2)."""
    return 1 << (size - 1).bit_length() - 1


def _skip_levels(number: int, last: int) -> tuple[int, int]:
    """Go up to where ``number`` is a right child: on the levels between, it has no sibling."""
    while not number & 1 and number:
        number, last = number >> 1, last >> 1
    return number, last


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
