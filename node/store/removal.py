"""Removing things for good: a study's key, rows and packs; what a transfer brought that will not be admitted."""

from pathlib import Path

from node.errors.storage import UnknownStudy
from node.model.ids import RequestId, StudyInstanceUID
from node.store.engine import Database, Write
from node.store.replay import unlink_doomed


async def delete_study(directory: Path, db: Database, study: StudyInstanceUID) -> None:
    """Crypto-shred a study and everything that came under its UID: nothing of it can be read again, by anybody.

    Raises:
        UnknownStudy: there is no such study.
    """
    async with db.write() as tx:
        space = await tx.fetch_value("SELECT ref FROM space WHERE study_uid = ?", (str(study),))
        if space is None:
            raise UnknownStudy
        await tx.execute("INSERT INTO doomed_pack (name) SELECT name FROM pack WHERE space = ?", (space,))
        for statement in (
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
    await db.truncate_wal()  # the old pages with the wrapped keys leave the write-ahead log too


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
