"""Removing things for good: a study's key, rows and packs; what a transfer brought that will not be admitted."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from node.errors.storage import UnknownStudy
from node.model.ids import RequestId, StudyInstanceUID
from node.store.engine import Database, Write
from node.store.replay import unlink_doomed

_TRUNCATE_ATTEMPTS = 20
_TRUNCATE_SECONDS = 0.25


async def delete_study(
    directory: Path, db: Database, study: StudyInstanceUID, record: Callable[[Write], Awaitable[None]] | None = None
) -> None:
    """Crypto-shred a study and everything that came under its UID: nothing of it can be read again, by anybody.

    ``record`` runs first in the transaction; what it raises keeps the study.

    Raises:
        UnknownStudy: there is no such study.
    """
    async with db.write() as tx:
        space = await tx.fetch_value("SELECT ref FROM space WHERE study_uid = ?", (str(study),))
        if space is None:
            raise UnknownStudy
        if record is not None:
            await record(tx)
        await tx.execute("INSERT INTO doomed_pack (name) SELECT name FROM pack WHERE space = ?", (space,))
        for statement in (
            # A rejection note that is stored again is applied again.
            (
                "DELETE FROM key_object_seen WHERE uid IN (SELECT i.uid FROM instance i JOIN pack p ON p.name = i.pack"
                " WHERE p.space = ?1"
                " UNION SELECT h.uid FROM hidden h JOIN pack p ON p.name = h.pack WHERE p.space = ?1)"
            ),
            "DELETE FROM instance WHERE study_id = (SELECT id FROM study WHERE space = ?)",
            "DELETE FROM study WHERE space = ?",  # its series and revisions go with it
            "DELETE FROM staged WHERE pack IN (SELECT name FROM pack WHERE space = ?)",
            "DELETE FROM quarantine WHERE pack IN (SELECT name FROM pack WHERE space = ?)",
            "DELETE FROM hidden WHERE pack IN (SELECT name FROM pack WHERE space = ?)",
            "DELETE FROM withdrawn_study WHERE uid = (SELECT study_uid FROM space WHERE ref = ?)",
            "DELETE FROM revision_history WHERE study_uid = (SELECT study_uid FROM space WHERE ref = ?)",
            "DELETE FROM formerly WHERE study_uid = (SELECT study_uid FROM space WHERE ref = ?)",
            "DELETE FROM pack WHERE space = ?",
            "DELETE FROM space WHERE ref = ?",
        ):
            await tx.execute(statement, (space,))
    await unlink_doomed(directory, db)
    for _ in range(_TRUNCATE_ATTEMPTS):  # the old pages with the wrapped keys leave the write-ahead log too
        if await db.truncate_wal():
            return
        await asyncio.sleep(_TRUNCATE_SECONDS)  # a reader still sees the study; nobody reads for long


async def discard_staged(directory: Path, db: Database, transfer: RequestId) -> None:
    """Forget what ``transfer`` brought and was not admitted; unlink its packs as far as nothing else lies in them."""
    async with db.write() as tx:
        await tx.execute("DELETE FROM staged WHERE transfer = ?", (transfer.value,))
        await _doom_unused(tx, transfer)
    await unlink_doomed(directory, db)


async def _doom_unused(tx: Write, transfer: RequestId) -> None:
    unused = (
        "SELECT name FROM pack WHERE transfer = ?"
        " AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.pack = pack.name)"
        " AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.pack = pack.name)"
        " AND NOT EXISTS (SELECT 1 FROM hidden h WHERE h.pack = pack.name)"
        " AND NOT EXISTS (SELECT 1 FROM staged t WHERE t.pack = pack.name)"
    )
    await tx.execute(f"INSERT INTO doomed_pack (name) {unused}", (transfer.value,))
    await tx.execute("DELETE FROM pack WHERE name IN (SELECT name FROM doomed_pack)")
