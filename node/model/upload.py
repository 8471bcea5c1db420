"""Images that a patient brings: from where they are chosen to where staff have decided. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from node.model.ids import PatientKey, RandomId, StudyInstanceUID
from node.model.instance import Demographics


class UploadId(RandomId):
    """One upload; also the transfer under which its instances are staged."""


class UploadState(StrEnum):
    """Where an upload stands."""

    OPEN = "OPEN"  # files arrive
    WAITING = "WAITING"  # for staff
    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    DELETED = "DELETED"  # by who brought it


class UploadEvent(StrEnum):
    """What moves it on."""

    SEND = "send"
    ACCEPT = "accept"
    REFUSE = "refuse"
    DELETE = "delete"


_S, _E = UploadState, UploadEvent
TRANSITIONS: Mapping[tuple[UploadState, UploadEvent], UploadState] = {
    (_S.OPEN, _E.SEND): _S.WAITING,
    (_S.OPEN, _E.DELETE): _S.DELETED,
    (_S.WAITING, _E.ACCEPT): _S.ACCEPTED,
    (_S.WAITING, _E.REFUSE): _S.REFUSED,
    (_S.WAITING, _E.DELETE): _S.DELETED,
    (_S.ACCEPTED, _E.DELETE): _S.DELETED,
}


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload as it stands; times in seconds since the epoch."""

    upload_id: UploadId
    actor: str
    patient: PatientKey  # whose the images are said to be
    note: str = field(repr=False)
    state: UploadState
    files: int
    size: int  # bytes
    refused: int  # files that are no images, or cannot be read
    begun_at: int
    decided_at: int | None = None
    decided_by: str = ""
    reason: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class UploadedStudy:
    """A study of an upload, as the files say it."""

    study: StudyInstanceUID
    patient_id: str = field(repr=False)
    demographics: Demographics
    date: str
    description: str
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    instances: int
    size: int
