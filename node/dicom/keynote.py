"""What a worker tells of a Key Object Selection document, and what of it is believed."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from node.errors.identifiers import InvalidUid
from node.model.ids import SOPInstanceUID, StudyInstanceUID

MAX_REFERENCES = 20_000  # instances of one note


class NoteFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """The title's code (empty unless it is of the scheme DCM), and (study, instance) of all that is named."""

    title: str
    references: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class KeyObjectNote:
    """A document's title and what it names, by study."""

    title: str
    references: dict[StudyInstanceUID, list[SOPInstanceUID]]


def note_of(title: str, references: Iterable[tuple[str, str]]) -> KeyObjectNote:
    """The note, without references that are no UIDs."""
    found: dict[StudyInstanceUID, list[SOPInstanceUID]] = {}
    for study, instance in references:
        try:
            uids = StudyInstanceUID.parse(study), SOPInstanceUID.parse(instance)
        except InvalidUid:
            continue
        found.setdefault(uids[0], []).append(uids[1])
    return KeyObjectNote(title, found)
