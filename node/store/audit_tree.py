"""Proofs out of the kept log (RFC 6962 section 2.1): logarithmic, from hashes of perfect subtrees that are kept.

Leaves are rows; subtrees of 256 leaves and more are kept once they are complete, when a checkpoint is signed. What is
not kept yet is computed from its children, so a proof is right whether or not :func:`fill` ran. All indexes and sizes
count within one tree of the log (``store.audit.LogPart``).
"""

from node.crypto.tlog import node_hash, root_of
from node.errors.audit import AuditLogDamaged, NoSuchEvent
from node.store.audit import LogPart
from node.store.engine import Read, Write

KEPT_LEVEL = 8  # the smallest subtree that is kept: 256 leaves


async def fill(tx: Write, part: LogPart, size: int) -> None:
    """Keep the hash of every subtree that is complete in the first ``size`` leaves."""
    level = KEPT_LEVEL
    while (complete := size >> level) > 0:
        first = int(
            await tx.fetch_value(
                "SELECT MAX(number) + 1 FROM audit_node WHERE incarnation = ? AND level = ?", (part.incarnation, level)
            )
            or 0
        )
        for number in range(first, complete):
            value = await _subtree(tx, part, level, number, is_kept=False)
            await tx.execute(
                "INSERT INTO audit_node (incarnation, level, number, hash) VALUES (?, ?, ?, ?)",
                (part.incarnation, level, number, value),
            )
        level += 1


async def inclusion_path(rx: Read, part: LogPart, index: int, size: int) -> list[bytes]:
    """PATH(index, D[size]): the siblings from leaf to root; raises NoSuchEvent."""
    if not 0 <= index < size:
        raise NoSuchEvent
    return await _path(rx, part, index, 0, size)


async def consistency_path(rx: Read, part: LogPart, old_size: int, size: int) -> list[bytes]:
    """PROOF(old_size, D[size]); empty if either tree is empty or both are one; raises NoSuchEvent."""
    if not 0 <= old_size <= size:
        raise NoSuchEvent
    return [] if old_size in {0, size} else await _subproof(rx, part, old_size, 0, size, is_known=True)


async def root_at(rx: Read, part: LogPart, size: int) -> bytes:
    """The root of the first ``size`` leaves; raises NoSuchEvent where the log is shorter."""
    return root_of([]) if size == 0 else await _range(rx, part, 0, size)


async def leaf_at(rx: Read, part: LogPart, index: int) -> bytes:
    """The hash of one leaf; raises NoSuchEvent."""
    value = await rx.fetch_value("SELECT leaf FROM audit_event WHERE position = ?", (part.base + index,))
    if value is None:
        raise NoSuchEvent
    return bytes(value)


async def _path(rx: Read, part: LogPart, index: int, start: int, count: int) -> list[bytes]:
    if count == 1:
        return []
    left = _left_part(count)
    if index < left:
        return [*await _path(rx, part, index, start, left), await _range(rx, part, start + left, count - left)]
    return [*await _path(rx, part, index - left, start + left, count - left), await _range(rx, part, start, left)]


async def _subproof(rx: Read, part: LogPart, old_size: int, start: int, count: int, *, is_known: bool) -> list[bytes]:
    if old_size == count:
        return [] if is_known else [await _range(rx, part, start, count)]
    left = _left_part(count)
    if old_size <= left:
        inner = await _subproof(rx, part, old_size, start, left, is_known=is_known)
        return [*inner, await _range(rx, part, start + left, count - left)]
    inner = await _subproof(rx, part, old_size - left, start + left, count - left, is_known=False)
    return [*inner, await _range(rx, part, start, left)]


async def _range(rx: Read, part: LogPart, start: int, count: int) -> bytes:
    """The hash of a subtree of the recursion: ``start`` is a multiple of the power of two that ``count`` needs."""
    if count.bit_count() == 1:
        level = count.bit_length() - 1
        return await _subtree(rx, part, level, start >> level, is_kept=True)
    left = _left_part(count)
    return node_hash(await _range(rx, part, start, left), await _range(rx, part, start + left, count - left))


async def _subtree(rx: Read, part: LogPart, level: int, number: int, *, is_kept: bool) -> bytes:
    if level < KEPT_LEVEL or (level == KEPT_LEVEL and not is_kept):
        return root_of(await _leaves(rx, part, number << level, 1 << level))
    if is_kept:
        value = await rx.fetch_value(
            "SELECT hash FROM audit_node WHERE incarnation = ? AND level = ? AND number = ?",
            (part.incarnation, level, number),
        )
        if value is not None:
            return bytes(value)
        if level == KEPT_LEVEL:
            return await _subtree(rx, part, level, number, is_kept=False)
    left = await _subtree(rx, part, level - 1, 2 * number, is_kept=True)
    return node_hash(left, await _subtree(rx, part, level - 1, 2 * number + 1, is_kept=True))


async def _leaves(rx: Read, part: LogPart, start: int, count: int) -> list[bytes]:
    rows = await rx.fetch_all(
        "SELECT leaf FROM audit_event WHERE position >= ? AND position < ? ORDER BY position",
        (part.base + start, part.base + start + count),
    )
    if len(rows) != count:
        raise AuditLogDamaged("events are missing")
    return [bytes(row[0]) for row in rows]


def _left_part(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1
