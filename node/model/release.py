"""What is signed when images change hands: decision, manifest, receipt. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID, StudyRef
from node.model.instance import Demographics, ManifestEntry

RELEASE_SECONDS = 14 * 86_400  # how long a release stays valid
MAX_INSTANCES = 200_000  # in one release: some hundred large CT studies' worth


class Verdict(StrEnum):
    """How a request was decided."""

    PERMIT = "permit"
    REFUSE = "refuse"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class DecisionNotice:
    """The holder's signed answer to a request."""

    request_id: RequestId
    holder: PeerId
    recipient: PeerId
    at: int
    verdict: Verdict
    code: str = ""  # of a refusal


@dataclass(frozen=True, slots=True)
class ReleasedStudy:
    """One study of a release: which revision, whose, and what it consists of.

    ``patient`` (the holder's issuer and id) and ``demographics`` are what the recipient stamps on the study; where the
    identity was corrected, the bytes may still say one of ``formerly``. ``ref`` is the one that it was asked for by;
    None: by its UID.
    """

    study_instance_uid: StudyInstanceUID
    revision: int
    patient: PatientKey
    demographics: Demographics
    entries: tuple[ManifestEntry, ...]
    formerly: tuple[PatientKey, ...] = ()
    ref: StudyRef | None = None


@dataclass(frozen=True)
class ReleaseManifest:
    """What the holder releases to one recipient under one request. Instances are numbered through all studies."""

    request_id: RequestId
    holder: PeerId
    recipient: PeerId
    released_at: int
    expires_at: int
    studies: tuple[ReleasedStudy, ...] = field(default=())

    @cached_property
    def instances(self) -> tuple[tuple[ReleasedStudy, ManifestEntry], ...]:
        """Every instance with its study; its index here is its number in the object streams."""
        return tuple(self._walk())

    def _walk(self) -> Iterator[tuple[ReleasedStudy, ManifestEntry]]:
        for study in self.studies:
            for entry in study.entries:
                yield study, entry

    @property
    def total_bytes(self) -> int:
        """Bytes of all data sets."""
        return sum(entry.size for _, entry in self.instances)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The recipient's signed word that it verified and admitted a release. ``manifest`` is SHA-256 of its JWS."""

    request_id: RequestId
    holder: PeerId
    recipient: PeerId
    at: int
    manifest: bytes
    instances: int
    total_bytes: int
