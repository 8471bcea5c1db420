"""The acceptor's part of the state machine of PS3.8 section 9.2: table 9-10 and the actions of tables 9-6 to 9-9.

This node never proposes an association here and never asks to release one that it accepted (it aborts). So the states
of the requestor (4, 5) and those around an own release (7, 9 to 12) cannot be reached and are left out, with their
events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from node.dicom.upper_layer.codes import AbortSource


class State(Enum):
    """Where an association stands."""

    IDLE = "Sta1"
    AWAITING_REQUEST = "Sta2"
    AWAITING_ANSWER = "Sta3"  # of the local user, to an A-ASSOCIATE indication
    ESTABLISHED = "Sta6"
    AWAITING_RELEASE = "Sta8"  # by the local user, after an A-RELEASE indication
    CLOSING = "Sta13"  # until the peer closes the transport connection


class Event(Enum):
    """What can happen to it: PDUs, transport, timer, and what the local user asks."""

    ASSOCIATE_AC = "Evt3"
    ASSOCIATE_RJ = "Evt4"
    CONNECTED = "Evt5"
    ASSOCIATE_RQ = "Evt6"
    ASSOCIATE_RQ_UNACCEPTABLE = "Evt6 and the version is unknown"  # AE-6 decides by content; here two events do
    ACCEPT = "Evt7"
    REJECT = "Evt8"
    SEND_DATA = "Evt9"
    P_DATA_TF = "Evt10"
    RELEASE_RQ = "Evt12"
    RELEASE_RP = "Evt13"
    RELEASE = "Evt14"
    ABORT = "Evt15"
    PEER_ABORT = "Evt16"
    CLOSED = "Evt17"
    TIMER_EXPIRED = "Evt18"
    INVALID_PDU = "Evt19"


LOCAL_EVENTS = frozenset({Event.ACCEPT, Event.REJECT, Event.SEND_DATA, Event.RELEASE, Event.ABORT})


class Indication(Enum):
    """What the local user is told."""

    ASSOCIATE = "A-ASSOCIATE indication"
    DATA = "P-DATA indication"
    RELEASE = "A-RELEASE indication"
    PEER_ABORT = "A-ABORT or A-P-ABORT indication, from the peer"
    PROVIDER_ABORT = "A-P-ABORT indication"
    CONNECTION_LOST = "A-P-ABORT indication, the transport connection is gone"


class Timer(Enum):
    """What becomes of the ARTIM timer."""

    START = "start or restart"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Action:
    """What to do, and where that leads. The PDU of AE-7, AE-8, DT-1, AR-4 and AR-7 is the local user's."""

    name: str
    next: State
    tell: Indication | None = None
    timer: Timer | None = None
    abort: AbortSource | None = None  # send an A-ABORT in this name
    close: bool = False  # the transport connection


_USER, _PROVIDER = AbortSource.SERVICE_USER, AbortSource.SERVICE_PROVIDER

AE_5 = Action("AE-5", State.AWAITING_REQUEST, timer=Timer.START)
AE_6 = Action("AE-6", State.AWAITING_ANSWER, tell=Indication.ASSOCIATE, timer=Timer.STOP)
AE_6_REJECT = Action("AE-6", State.CLOSING, timer=Timer.START)  # with an A-ASSOCIATE-RJ by the service provider
AE_7 = Action("AE-7", State.ESTABLISHED)
AE_8 = Action("AE-8", State.CLOSING, timer=Timer.START)
DT_1 = Action("DT-1", State.ESTABLISHED)
DT_2 = Action("DT-2", State.ESTABLISHED, tell=Indication.DATA)
AR_2 = Action("AR-2", State.AWAITING_RELEASE, tell=Indication.RELEASE)
AR_4 = Action("AR-4", State.CLOSING, timer=Timer.START)
AR_5 = Action("AR-5", State.IDLE, timer=Timer.STOP)
AR_7 = Action("AR-7", State.AWAITING_RELEASE)
AA_1 = Action("AA-1", State.CLOSING, timer=Timer.START, abort=_USER)
AA_2 = Action("AA-2", State.IDLE, timer=Timer.STOP, close=True)
AA_3 = Action("AA-3", State.IDLE, tell=Indication.PEER_ABORT, close=True)
AA_4 = Action("AA-4", State.IDLE, tell=Indication.CONNECTION_LOST)
AA_5 = Action("AA-5", State.IDLE, timer=Timer.STOP)
AA_6 = Action("AA-6", State.CLOSING)
AA_7 = Action("AA-7", State.CLOSING, abort=_PROVIDER)
AA_8 = Action("AA-8", State.CLOSING, tell=Indication.PROVIDER_ABORT, timer=Timer.START, abort=_PROVIDER)

_S2, _S3, _S6, _S8, _S13 = (
    State.AWAITING_REQUEST, State.AWAITING_ANSWER, State.ESTABLISHED, State.AWAITING_RELEASE, State.CLOSING,
)  # fmt: skip

_ROWS: Mapping[Event, Mapping[State, Action]] = {
    Event.ASSOCIATE_AC: {_S2: AA_1, _S3: AA_8, _S6: AA_8, _S8: AA_8, _S13: AA_6},
    Event.ASSOCIATE_RJ: {_S2: AA_1, _S3: AA_8, _S6: AA_8, _S8: AA_8, _S13: AA_6},
    Event.CONNECTED: {State.IDLE: AE_5},
    Event.ASSOCIATE_RQ: {_S2: AE_6, _S3: AA_8, _S6: AA_8, _S8: AA_8, _S13: AA_7},
    Event.ASSOCIATE_RQ_UNACCEPTABLE: {_S2: AE_6_REJECT, _S3: AA_8, _S6: AA_8, _S8: AA_8, _S13: AA_7},
    Event.ACCEPT: {_S3: AE_7},
    Event.REJECT: {_S3: AE_8},
    Event.SEND_DATA: {_S6: DT_1, _S8: AR_7},
    Event.P_DATA_TF: {_S2: AA_1, _S3: AA_8, _S6: DT_2, _S8: AA_8, _S13: AA_6},
    Event.RELEASE_RQ: {_S2: AA_1, _S3: AA_8, _S6: AR_2, _S8: AA_8, _S13: AA_6},
    Event.RELEASE_RP: {_S2: AA_1, _S3: AA_8, _S6: AA_8, _S8: AA_8, _S13: AA_6},
    Event.RELEASE: {_S8: AR_4},
    Event.ABORT: {_S3: AA_1, _S6: AA_1, _S8: AA_1},
    Event.PEER_ABORT: {_S2: AA_2, _S3: AA_3, _S6: AA_3, _S8: AA_3, _S13: AA_2},
    Event.CLOSED: {_S2: AA_5, _S3: AA_4, _S6: AA_4, _S8: AA_4, _S13: AR_5},
    Event.TIMER_EXPIRED: {_S2: AA_2, _S13: AA_2},
    Event.INVALID_PDU: {_S2: AA_1, _S3: AA_8, _S6: AA_8, _S8: AA_8, _S13: AA_7},
}

TRANSITIONS: Mapping[tuple[State, Event], Action] = {
    (state, event): action for event, row in _ROWS.items() for state, action in row.items()
}
