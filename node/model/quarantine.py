"""What may become of something in quarantine. Pure."""

from dataclasses import dataclass
from enum import Enum, auto


class Acceptance(Enum):
    """What accepting does."""

    REPLACE = auto()  # it takes the place of what is held under its SOP Instance UID
    FILE = auto()  # it joins its study, under the patient that the study has
    IMPOSSIBLE = auto()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is there beside it, at the moment of the decision."""

    uid_is_held: bool  # something visible has its SOP Instance UID
    held_is_own: bool  # and is this facility's own
    study_is_foreign: bool  # its study is held as another facility's
    series_is_elsewhere: bool  # its series is held in another study
    is_withdrawn: bool  # what has its UID, or its study, was withdrawn: a new one must not bring it back


def acceptance(facts: Circumstances) -> Acceptance:
    """What accepting would do. Where the UIDs contradict each other, no place is right: IMPOSSIBLE."""
    if facts.is_withdrawn or facts.study_is_foreign or facts.series_is_elsewhere:
        return Acceptance.IMPOSSIBLE
    if not facts.uid_is_held:
        return Acceptance.FILE
    return Acceptance.REPLACE if facts.held_is_own else Acceptance.IMPOSSIBLE
