"""Key Object Selection documents among the instances: which of them were not read yet."""

from dataclasses import dataclass

from node.model.ids import SOPInstanceUID, StudyInstanceUID, TransferSyntaxUID
from node.store.engine import Read, Write


@dataclass(frozen=True, slots=True)
class KeyObject:
    """A document that was not read yet."""

    instance: SOPInstanceUID
    study: StudyInstanceUID
    transfer_syntax: TransferSyntaxUID
    is_own: bool


async def unread(rx: Read) -> list[KeyObject]:
    """Visible documents that were not read, in the order in which they came."""
    rows = await rx.fetch_all(
        "SELECT i.uid, s.uid, i.transfer_syntax, s.origin IS NULL FROM instance i JOIN study s ON s.id = i.study_id"
        " WHERE i.sop_class_uid = '1.2.840.10008.5.1.4.1.1.88.59'"  # as the partial index says it
        " AND i.uid NOT IN (SELECT uid FROM key_object_seen) ORDER BY i.id"
    )
    return [KeyObject(SOPInstanceUID(r[0]), StudyInstanceUID(r[1]), TransferSyntaxUID(r[2]), bool(r[3])) for r in rows]


async def mark_read(tx: Write, instance: SOPInstanceUID) -> None:
    """It was read, whatever it said."""
    await tx.execute("INSERT INTO key_object_seen (uid) VALUES (?) ON CONFLICT DO NOTHING", (str(instance),))
