"""Withdrawals: what an origin tells those who got a study from it, and whether a recipient obeys. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum

from node.model.ids import Digest, PatientKey, PeerId, RandomId, RequestId, SOPInstanceUID, StudyInstanceUID
from node.model.instance import Demographics
from node.model.lifecycle import HiddenReason

MAX_INSTANCES = 1000  # named in one notice; more are told in several
MAX_RELEASES = 16  # named in one notice: a recipient that got a study more often knows one of the last
MAX_WORDS = 512  # characters of a reason


class WithdrawalId(RandomId):
    """Something that this node withdrew."""


class NoticeId(RandomId):
    """A notice of it to one recipient."""


class WithdrawalKind(StrEnum):
    """What is wrong."""

    RETRACTION = "retraction"  # the study, as a person said
    REJECTION = "rejection"  # instances, as a rejection note said (IHE IOCM)
    REPLACEMENT = "replacement"  # data sets in whose place others were put, under the same SOP Instance UIDs
    CORRECTION = "correction"  # whose the study is
    CONSENT_REVOKED = "consent_revoked"  # nothing: the patient took back what it was released under; nothing is hidden


class NoticeState(StrEnum):
    """How far a notice has come."""

    QUEUED = "QUEUED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    REFUSED = "REFUSED"  # the recipient says that it is not this node's to withdraw


class NoticeOutcome(StrEnum):
    """What a recipient did."""

    DONE = "done"  # hidden, or corrected; of a revoked consent: there is a copy, and its keeper knows
    NOT_HELD = "not_held"  # nothing of it is visible there, and nothing of it will become so


@dataclass(frozen=True, slots=True)
class Buried:
    """An instance that must not be shown; ``digest``: only this data set of it."""

    instance: SOPInstanceUID
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class CorrectedIdentity:
    """Whose a study is; its bytes may still say one of ``formerly``."""

    patient: PatientKey
    demographics: Demographics
    formerly: tuple[PatientKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """What the origin signs. ``releases`` are requests of the recipient by which it got the study."""

    notice_id: NoticeId
    holder: PeerId
    recipient: PeerId
    at: int
    kind: WithdrawalKind
    study: StudyInstanceUID
    releases: tuple[RequestId, ...]
    revision: int  # of the study from then on; 0: nothing of it is left
    reason: HiddenReason | None = None  # None: a correction, or a revoked consent
    words: str = field(default="", repr=False)
    instances: tuple[Buried, ...] = ()
    identity: CorrectedIdentity | None = None

    @property
    def is_consistent(self) -> bool:
        """Whether it has what its kind needs, and nothing else."""
        match self.kind:
            case WithdrawalKind.RETRACTION:
                return not self.instances and self.identity is None and self.reason is HiddenReason.RETRACTED
            case WithdrawalKind.REJECTION:
                plain = all(one.digest is None for one in self.instances)
                return bool(self.instances) and plain and self.identity is None and self.reason in _REJECTIONS
            case WithdrawalKind.REPLACEMENT:
                exact = all(one.digest is not None for one in self.instances)
                told = self.reason is HiddenReason.SUPERSEDED
                return bool(self.instances) and exact and self.identity is None and told
            case WithdrawalKind.CONSENT_REVOKED:
                return not self.instances and self.identity is None and self.reason is None
            case WithdrawalKind.CORRECTION:
                return not self.instances and self.identity is not None and self.reason is None


_REJECTIONS = frozenset({
    HiddenReason.REJECTED_QUALITY,
    HiddenReason.REJECTED_SAFETY,
    HiddenReason.WRONG_WORKLIST_ENTRY,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The recipient's signed word. ``notice_digest`` is SHA-256 of the notice's JWS."""

    notice_id: NoticeId
    holder: PeerId
    recipient: PeerId
    at: int
    notice_digest: bytes
    outcome: NoticeOutcome


@dataclass(frozen=True, slots=True)
class Held:
    """What the recipient knows. ``origin`` is that of the study if it is held (None: its own, or not held).

    What was withdrawn is held: it is out of sight, and still somebody's.
    """

    was_released: bool  # one of the notice's releases is the recipient's own request to the signer, for this study
    is_held: bool
    origin: PeerId | None


def may_withdraw(signer: PeerId, held: Held) -> bool:
    """Whether the recipient obeys ``signer``: only who released a study here may withdraw it, and only its own."""
    return held.was_released and (not held.is_held or held.origin == signer)
