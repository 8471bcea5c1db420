"""Wrapping every study key again under the next master key: in portions, each of which may be the last of a run."""

from node.crypto.keystore import KeyStore
from node.store.engine import Database

PORTION = 1000  # rows in one transaction: a few milliseconds of the writer


async def rewrap(db: Database, keys: KeyStore) -> int:
    """Wrap again what is not wrapped under the next master key yet; how many keys that was.

    Raises:
        WrongKeyOrDamaged: a row belongs to neither master key; what was done before stays done.
    """
    position, changed = b"", 0
    while True:
        async with db.write() as tx:
            rows = await tx.fetch_all(
                "SELECT ref, key_version, wrapped_key FROM space WHERE ref > ? ORDER BY ref LIMIT ?",
                (position, PORTION),
            )
            if not rows:
                return changed
            fresh = [(keys.rewrap_study_key(bytes(r[2]), bytes(r[0]), r[1]), bytes(r[0])) for r in rows]
            updates = [one for one in fresh if one[0] is not None]
            await tx.execute_many("UPDATE space SET wrapped_key = ? WHERE ref = ?", updates)
        changed += len(updates)
        position = bytes(rows[-1][0])
