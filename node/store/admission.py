"""Admitting what a transfer brought: the whole study becomes visible in one transaction, or nothing of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from node.errors.storage import TransferIncomplete
from node.model.ids import Digest, ObjectId, PeerId, RequestId, SOPInstanceUID
from node.model.instance import Manifest, ManifestEntry
from node.store import revisions
from node.store.engine import Read, Write
from node.store.index_rows import Added, Entry, add_visible
from node.store.pack_format import RecordMeta
from node.store.study_queries import digests


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of a transfer's instances."""

    stored: int  # now visible, not held before
    same: int  # held already
    quarantined: int  # contradict what is held here: put aside
    hidden: int  # were withdrawn meanwhile: kept, not shown
    manifest: Manifest | None  # the revision that was closed by this; None if nothing was new


async def staged(rx: Read, transfer: RequestId) -> dict[SOPInstanceUID, Digest]:
    """What ``transfer`` has brought so far (durable and indexed)."""
    rows = await rx.fetch_all("SELECT uid, digest FROM staged WHERE transfer = ?", (transfer.value,))
    return {SOPInstanceUID(row[0]): Digest(bytes(row[1])) for row in rows}


async def admit(tx: Write, transfer: RequestId, manifest: Manifest, *, origin: PeerId, now: int) -> Admission:
    """Make visible what ``transfer`` staged of the manifest's study, as received from ``origin``.

    Closes its revision under the number that it has there.

    Raises:
        TransferIncomplete: an instance of the manifest is neither held nor staged with the digest it says.
    """
    study = manifest.study_instance_uid
    rows = await tx.fetch_all(
        "SELECT s.object_id, s.pack, s.offset, s.meta, p.space FROM staged s JOIN pack p ON p.name = s.pack"
        " WHERE s.transfer = ? AND s.study_uid = ? ORDER BY s.pack, s.offset",
        (transfer.value, str(study)),
    )
    entries = [
        Entry(
            replace(RecordMeta.decode(bytes(row[3])), origin=origin, received_at=now),
            ObjectId(bytes(row[0])), bytes(row[1]), row[2], 0, bytes(row[4]),
        )
        for row in rows
    ]  # fmt: skip
    added = Added()
    await add_visible(tx, entries, added)
    await _require_complete(tx, manifest.entries)
    await tx.execute("DELETE FROM staged WHERE transfer = ? AND study_uid = ?", (transfer.value, str(study)))
    closed = None
    if added.stored:
        closed = await revisions.close(tx, study, now=now, at_least=manifest.revision)
    return Admission(added.stored, added.same, added.quarantined, added.hidden, closed)


async def _require_complete(tx: Write, entries: Sequence[ManifestEntry]) -> None:
    held = await digests(tx, [entry.sop_instance_uid for entry in entries])
    missing = [entry for entry in entries if held.get(entry.sop_instance_uid) != entry.digest]
    if missing:
        uids = msgspec.json.encode([str(entry.sop_instance_uid) for entry in missing]).decode()
        aside = await tx.fetch_all(
            "SELECT uid, digest FROM quarantine WHERE uid IN (SELECT value FROM json_each(?1))"
            " UNION SELECT uid, digest FROM hidden WHERE uid IN (SELECT value FROM json_each(?1))",
            (uids,),
        )
        put_aside = {(row[0], bytes(row[1])) for row in aside}
        missing = [e for e in missing if (str(e.sop_instance_uid), e.digest.value) not in put_aside]
    if missing:
        raise TransferIncomplete(f"{len(missing)} of {len(entries)} instances are missing")
