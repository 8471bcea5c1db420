"""The life of a transfer as a table, and the order in which instances travel. Pure.

Both sides run the same table: the recipient from QUEUED (asked, not answered yet), the holder from AUTHORIZED. One
that stands still for whatever reason is SUSPENDED and goes on by itself; only FAILED and CANCELLED give up, and only
COMPLETED shows the study.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from node.model.ids import PeerId, RequestId, SeriesInstanceUID, StudyInstanceUID
from node.model.transitions import step


class Direction(StrEnum):
    """Seen from this node."""

    IN = "in"
    OUT = "out"


class TransferState(StrEnum):
    """Where a transfer stands."""

    QUEUED = "QUEUED"  # the holder has not answered yet
    AUTHORIZED = "AUTHORIZED"  # released; nothing was moved yet
    TRANSFERRING = "TRANSFERRING"
    SUSPENDED = "SUSPENDED"  # interrupted; resumes by itself
    VERIFYING = "VERIFYING"  # all instances are here, not yet admitted
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class TransferEvent(StrEnum):
    """What moves a transfer."""

    RELEASE = "release"
    START = "start"
    INTERRUPT = "interrupt"
    RECEIVED = "received"  # the last missing instance is durable
    ADMIT = "admit"
    RECEIPT = "receipt"  # at the holder: the recipient signed for it
    FAIL = "fail"
    CANCEL = "cancel"


_S = TransferState
_E = TransferEvent

TRANSITIONS: Mapping[tuple[TransferState, TransferEvent], TransferState] = {
    (_S.QUEUED, _E.RELEASE): _S.AUTHORIZED,
    (_S.QUEUED, _E.INTERRUPT): _S.QUEUED,  # the holder cannot be reached yet
    (_S.AUTHORIZED, _E.START): _S.TRANSFERRING,
    (_S.AUTHORIZED, _E.INTERRUPT): _S.SUSPENDED,
    (_S.AUTHORIZED, _E.RECEIPT): _S.COMPLETED,  # the recipient held everything already
    (_S.TRANSFERRING, _E.START): _S.TRANSFERRING,  # one more stream
    (_S.TRANSFERRING, _E.INTERRUPT): _S.SUSPENDED,
    (_S.TRANSFERRING, _E.RECEIVED): _S.VERIFYING,
    (_S.TRANSFERRING, _E.RECEIPT): _S.COMPLETED,
    (_S.SUSPENDED, _E.START): _S.TRANSFERRING,
    (_S.SUSPENDED, _E.INTERRUPT): _S.SUSPENDED,
    (_S.SUSPENDED, _E.RECEIPT): _S.COMPLETED,
    (_S.VERIFYING, _E.INTERRUPT): _S.SUSPENDED,
    (_S.VERIFYING, _E.ADMIT): _S.COMPLETED,
    **{
        (state, event): end
        for state in (_S.QUEUED, _S.AUTHORIZED, _S.TRANSFERRING, _S.SUSPENDED, _S.VERIFYING)
        for event, end in ((_E.FAIL, _S.FAILED), (_E.CANCEL, _S.CANCELLED))
    },
}

ENDED = frozenset({TransferState.COMPLETED, TransferState.FAILED, TransferState.CANCELLED})


def next_transfer_state(state: TransferState, event: TransferEvent) -> TransferState:
    """The state after ``event``; raises IllegalTransition."""
    return step(TRANSITIONS, state, event)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer as it is shown; sizes in bytes, times in seconds since the epoch."""

    request_id: RequestId
    direction: Direction
    peer: PeerId
    state: TransferState
    studies: tuple[StudyInstanceUID, ...]  # empty until the release says which
    instances_done: int
    instances_total: int
    bytes_done: int
    bytes_total: int
    wire_bytes: int  # bytes of object streams that crossed the network, repeats included
    seconds: float  # time spent moving and admitting
    code: str  # why it failed or stands still, else empty
    created_at: int
    updated_at: int


def travel_order(series: Sequence[SeriesInstanceUID], wanted: Iterable[int]) -> list[int]:
    """The wanted indexes, first one of each series first (something to look at early), then all others as they stand.

    ``series[i]`` is the series of instance ``i``.
    """
    firsts: list[int] = []
    rest: list[int] = []
    seen: set[SeriesInstanceUID] = set()
    for index in wanted:
        if series[index] in seen:
            rest.append(index)
        else:
            seen.add(series[index])
            firsts.append(index)
    return firsts + rest
