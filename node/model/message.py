"""What a patient asks of the facility about a record, and what the facility answers. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum

from node.model.ids import PatientKey, RandomId, StudyInstanceUID

MAX_TEXT = 4000  # characters


class MessageId(RandomId):
    """One message."""


class MessageKind(StrEnum):
    """What it asks for."""

    CORRECTION = "CORRECTION"  # something stored is wrong
    AMENDMENT = "AMENDMENT"  # something is missing (45 CFR 164.526 calls both an amendment; GDPR art. 16 knows both)
    QUESTION = "QUESTION"


class MessageOutcome(StrEnum):
    """What came of it."""

    DONE = "DONE"
    DECLINED = "DECLINED"
    ANSWERED = "ANSWERED"


@dataclass(frozen=True, slots=True)
class Message:
    """A message and its answer; times in seconds since the epoch."""

    message_id: MessageId
    actor: str
    patient: PatientKey
    study: StudyInstanceUID | None
    kind: MessageKind
    text: str = field(repr=False)
    sent_at: int
    answer: str = field(default="", repr=False)
    outcome: MessageOutcome | None = None
    answered_at: int | None = None
    answered_by: str = ""
    seen_at: int | None = None


def is_text(text: str) -> bool:
    """Whether it can be a message or an answer: something is said, in lines of printable characters."""
    return bool(text.strip()) and len(text) <= MAX_TEXT and all(c.isprintable() or c in "\r\n\t" for c in text)
