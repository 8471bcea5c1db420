"""What is held under a SOP Instance UID. Storing an instance asks; it does so in the thread that works on it."""

from dataclasses import dataclass
from enum import Enum

from node.model.ids import Digest, ObjectId, RequestId, SOPInstanceUID
from node.store.direct import Direct


class Kind(Enum):
    """How something held under a SOP Instance UID is held."""

    VISIBLE = 0
    STAGED = 1
    ASIDE = 2
    HIDDEN = 3
    SUPERSEDED = 4  # another data set was put in its place: it is known, and contradicts nothing


@dataclass(frozen=True, slots=True)
class Known:
    """Something held under the SOP Instance UID in question."""

    kind: Kind
    digest: Digest
    object_id: ObjectId
    transfer: RequestId | None = None


class KnownInstances:
    """Answers from the index; what is durable but not yet indexed is the caller's to add, before it asks."""

    def __init__(self, index: Direct) -> None:
        self._index = index

    def find(self, instance: SOPInstanceUID, transfer: RequestId | None) -> list[Known]:
        """What is visible, hidden or put aside under ``instance``, or staged under it in ``transfer``; in a thread."""
        rows = self._index.fetch_all(
            "SELECT 0, digest, object_id FROM instance WHERE uid = ?1"
            " UNION ALL SELECT 2, digest, object_id FROM quarantine WHERE uid = ?1"
            " UNION ALL SELECT iif(reason = 'superseded', 4, 3), digest, object_id FROM hidden WHERE uid = ?1"
            " UNION ALL SELECT 1, digest, object_id FROM staged WHERE transfer = ?2 AND uid = ?1",
            (str(instance), transfer.value if transfer else None),
        )
        return [_known(Kind(kind), digest, object_id, transfer) for kind, digest, object_id in rows]

    def place(self, object_id: ObjectId) -> tuple[bytes, int] | None:
        """Pack and offset of a visible object that the index knows; in a thread."""
        rows = self._index.fetch_all("SELECT pack, offset FROM instance WHERE object_id = ?", (object_id.value,))
        return (bytes(rows[0][0]), rows[0][1]) if rows else None


def _known(kind: Kind, digest: bytes, object_id: bytes, transfer: RequestId | None) -> Known:
    staged_by = transfer if kind is Kind.STAGED else None
    return Known(kind, Digest(bytes(digest)), ObjectId(bytes(object_id)), staged_by)
