"""Where the frames of an object lie, kept from one start of the node to the next. What it says is ``dicom.frames``'."""

from node.model.ids import ObjectId
from node.store.engine import Read, Write


async def get(rx: Read, object_id: ObjectId) -> bytes | None:
    """What is kept of a visible object."""
    value = await rx.fetch_value("SELECT frames FROM frame_table WHERE object_id = ?", (object_id.value,))
    return None if value is None else bytes(value)


async def keep(tx: Write, object_id: ObjectId, frames: bytes) -> None:
    """Keep ``frames``, unless the object has gone meanwhile; it goes with the object."""
    await tx.execute(
        "INSERT INTO frame_table (object_id, frames) SELECT ?1, ?2 WHERE EXISTS"
        " (SELECT 1 FROM instance WHERE object_id = ?1)"
        " ON CONFLICT (object_id) DO UPDATE SET frames = excluded.frames",
        (object_id.value, frames),
    )
