"""Sending a study to a PACS: its states as a table, and what becomes of each instance. Pure.

A study of another facility is sent only while it is linked to a local patient. A delivery that waits for the study, for
the link or for the PACS goes on by itself; COMPLETED says that every instance was taken, INCOMPLETE that some were not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from node.model.ids import PatientKey, RandomId, RequestId, SOPInstanceUID, StudyInstanceUID
from node.model.instance import Demographics
from node.model.transitions import step

WARNING_STATUSES = frozenset({0xB000, 0xB006, 0xB007})  # kept, with a remark (PS3.4 table B.2-1)


class DeliveryId(RandomId):
    """An order to send one study to one PACS."""


@dataclass(frozen=True, slots=True)
class StudyLink:
    """A received study belongs to a local patient. ``said`` is what the person who linked it said beside the id."""

    study: StudyInstanceUID
    patient: PatientKey
    said: Demographics
    linked_at: int
    linked_by: str


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    EXPECTED = "EXPECTED"  # the study still comes, by a request
    UNLINKED = "UNLINKED"  # waits until a person links the study to a local patient
    QUEUED = "QUEUED"
    SENDING = "SENDING"
    SUSPENDED = "SUSPENDED"  # the PACS cannot be reached or is busy; goes on by itself
    COMPLETED = "COMPLETED"
    INCOMPLETE = "INCOMPLETE"  # ended, and some instances were not taken
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class DeliveryEvent(StrEnum):
    """What moves a delivery."""

    ARRIVE = "arrive"  # the study is here, and may go
    WAIT_FOR_LINK = "wait for link"
    START = "start"
    INTERRUPT = "interrupt"
    COMPLETE = "complete"
    END_INCOMPLETE = "end incomplete"
    FAIL = "fail"
    CANCEL = "cancel"


_S = DeliveryState
_E = DeliveryEvent

TRANSITIONS: Mapping[tuple[DeliveryState, DeliveryEvent], DeliveryState] = {
    (_S.EXPECTED, _E.ARRIVE): _S.QUEUED,
    (_S.EXPECTED, _E.WAIT_FOR_LINK): _S.UNLINKED,
    (_S.UNLINKED, _E.ARRIVE): _S.QUEUED,
    (_S.QUEUED, _E.WAIT_FOR_LINK): _S.UNLINKED,
    (_S.QUEUED, _E.START): _S.SENDING,
    (_S.QUEUED, _E.INTERRUPT): _S.SUSPENDED,
    (_S.SENDING, _E.START): _S.SENDING,
    (_S.SENDING, _E.WAIT_FOR_LINK): _S.UNLINKED,  # the link was taken back
    (_S.SENDING, _E.INTERRUPT): _S.SUSPENDED,
    (_S.SENDING, _E.COMPLETE): _S.COMPLETED,
    (_S.SENDING, _E.END_INCOMPLETE): _S.INCOMPLETE,
    (_S.SUSPENDED, _E.START): _S.SENDING,
    (_S.SUSPENDED, _E.INTERRUPT): _S.SUSPENDED,
    (_S.SUSPENDED, _E.WAIT_FOR_LINK): _S.UNLINKED,
    **{
        (state, event): end
        for state in (_S.EXPECTED, _S.UNLINKED, _S.QUEUED, _S.SENDING, _S.SUSPENDED)
        for event, end in ((_E.FAIL, _S.FAILED), (_E.CANCEL, _S.CANCELLED))
    },
}

ENDED = frozenset({DeliveryState.COMPLETED, DeliveryState.INCOMPLETE, DeliveryState.FAILED, DeliveryState.CANCELLED})


def next_delivery_state(state: DeliveryState, event: DeliveryEvent) -> DeliveryState:
    """The state after ``event``; raises IllegalTransition."""
    return step(TRANSITIONS, state, event)


class Sent(StrEnum):
    """What became of one instance."""

    SENT = "sent"
    WARNING = "warning"  # taken, with a remark
    REFUSED = "refused"  # by the PACS
    NOT_CONVERTIBLE = "not_convertible"  # the PACS takes no form that this node can make of it


TAKEN = frozenset({Sent.SENT, Sent.WARNING})


class Converted(StrEnum):
    """What was done to an instance's encoding."""

    NOTHING = ""
    LOSSLESS = "lossless"
    LOSSY_DECODED = "lossy_decoded"  # its compression may have lost something before it came; nothing more was lost


@dataclass(frozen=True, slots=True)
class InstanceOutcome:
    """One instance of a delivery. ``status`` is the answer of the PACS, ``code`` why it was not sent."""

    instance: SOPInstanceUID
    outcome: Sent
    size: int  # bytes of the stored data set
    status: int | None = None
    code: str = ""
    syntax: str = ""
    converted: Converted = Converted.NOTHING


def outcome_of_status(status: int) -> Sent:
    """What a C-STORE status means (PS3.4 table B.2-1): warnings are kept instances."""
    if status == 0:
        return Sent.SENT
    return Sent.WARNING if status in WARNING_STATUSES else Sent.REFUSED


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery as it is shown; sizes in bytes, times in seconds since the epoch."""

    delivery_id: DeliveryId
    study: StudyInstanceUID | None  # None while it is not known which one a request will bring
    pacs: str
    request_id: RequestId | None
    patient: PatientKey | None = field(repr=False)  # local patient under whom it is delivered; None: as it is
    accession: str = field(repr=False)
    state: DeliveryState
    code: str
    attempts: int
    instances_total: int
    bytes_total: int
    counts: Mapping[Sent, int]
    bytes_done: int
    ordered_by: str
    created_at: int
    updated_at: int

    @property
    def instances_done(self) -> int:
        """Instances with an outcome, whatever it is."""
        return sum(self.counts.values())

    @property
    def settled(self) -> bool:
        """Whether somebody who waits for the outcome has it: nothing more happens without a person."""
        return self.state in ENDED or self.state is DeliveryState.UNLINKED
