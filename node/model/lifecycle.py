"""Why an instance that is kept is not shown, and why a revision was closed. Pure."""

from collections.abc import Mapping
from enum import StrEnum

KEY_OBJECT_CLASS = "1.2.840.10008.5.1.4.1.1.88.59"  # Key Object Selection Document Storage (PS3.4 table B.5-1)


class HiddenReason(StrEnum):
    """Why an instance is hidden. The values are stable: they cross to other nodes and stand in old rows."""

    REJECTED_QUALITY = "rejected_quality"
    REJECTED_SAFETY = "rejected_safety"
    WRONG_WORKLIST_ENTRY = "wrong_worklist_entry"
    REJECTION_NOTE = "rejection_note"  # the note itself: it is about images and none of them
    RETRACTED = "retracted"  # a person withdrew the study
    SUPERSEDED = "superseded"  # another data set took its place under the same SOP Instance UID


class RevisionCause(StrEnum):
    """Why a revision was closed."""

    INSTANCES = "instances"
    REJECTION = "rejection"
    REPLACEMENT = "replacement"
    CORRECTION = "correction"
    RETRACTION = "retraction"


# Document titles of a rejection note (PS3.16 CID 7011, IHE RAD TF-3 4.66) and what each does to what it names. 113039
# is not here: that the sender keeps no copy any more says nothing about the copies of others.
REJECTION_TITLES: Mapping[str, HiddenReason] = {
    "113001": HiddenReason.REJECTED_QUALITY,
    "113037": HiddenReason.REJECTED_SAFETY,
    "113038": HiddenReason.WRONG_WORKLIST_ENTRY,
}
RETENTION_EXPIRED = "113039"
