"""The state machine of PS3.8 section 9.2: table 9-10 and the actions of tables 9-6 to 9-9, in two parts.

``TRANSITIONS`` is the acceptor's part. This node never asks to release an association that it accepted (it aborts), so
the states around an own release cannot be reached there. ``REQUESTING`` is the requestor's part. Where the standard's
table lets one event lead to two states, by who requested the association (AR-8), each part has its own.
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
    CONNECTING = "Sta4"  # until the transport connection is there
    AWAITING_ACCEPT = "Sta5"  # of the peer, to an A-ASSOCIATE-RQ
    ESTABLISHED = "Sta6"
    AWAITING_RELEASED = "Sta7"  # by the peer, after an A-RELEASE-RQ
    AWAITING_RELEASE = "Sta8"  # by the local user, after an A-RELEASE indication
    COLLIDED = "Sta9"  # both asked for release: the local user answers first
    COLLIDED_ANSWERED = "Sta11"  # then the peer
    CLOSING = "Sta13"  # until the peer closes the transport connection


class Event(Enum):
    """What can happen to it: PDUs, transport, timer, and what the local user asks."""

    REQUEST = "Evt1"
    CONNECT_CONFIRMED = "Evt2"
    ASSOCIATE_AC = "Evt3"
    ASSOCIATE_RJ = "Evt4"
    CONNECTED = "Evt5"
    ASSOCIATE_RQ = "Evt6"
    ASSOCIATE_RQ_UNACCEPTABLE = "Evt6 and the version is unknown"  # AE-6 decides by content; here two events do
    ACCEPT = "Evt7"
    REJECT = "Evt8"
    SEND_DATA = "Evt9"
    P_DATA_TF = "Evt10"
    ASK_RELEASE = "Evt11"
    RELEASE_RQ = "Evt12"
    RELEASE_RP = "Evt13"
    RELEASE = "Evt14"
    ABORT = "Evt15"
    PEER_ABORT = "Evt16"
    CLOSED = "Evt17"
    TIMER_EXPIRED = "Evt18"
    INVALID_PDU = "Evt19"


LOCAL_EVENTS = frozenset({
    Event.REQUEST, Event.CONNECT_CONFIRMED, Event.ACCEPT, Event.REJECT, Event.SEND_DATA, Event.ASK_RELEASE,
    Event.RELEASE, Event.ABORT,
})  # fmt: skip


class Indication(Enum):
    """What the local user is told."""

    ASSOCIATE = "A-ASSOCIATE indication"
    ACCEPTED = "A-ASSOCIATE confirmation (accept)"
    REJECTED = "A-ASSOCIATE confirmation (reject)"
    DATA = "P-DATA indication"
    RELEASE = "A-RELEASE indication"
    RELEASED = "A-RELEASE confirmation"
    PEER_ABORT = "A-ABORT or A-P-ABORT indication, from the peer"
    PROVIDER_ABORT = "A-P-ABORT indication"
    CONNECTION_LOST = "A-P-ABORT indication, the transport connection is gone"


class Timer(Enum):
    """What becomes of the ARTIM timer."""

    START = "start or restart"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Action:
    """What to do, and where that leads. PDUs other than A-ABORT are the local user's (AE-2, AE-7, AE-8, DT-1, AR-n)."""

    name: str
    next: State
    tell: Indication | None = None
    timer: Timer | None = None
    abort: AbortSource | None = None  # send an A-ABORT in this name
    close: bool = False  # the transport connection


_USER, _PROVIDER = AbortSource.SERVICE_USER, AbortSource.SERVICE_PROVIDER

AE_1 = Action("AE-1", State.CONNECTING)
AE_2 = Action("AE-2", State.AWAITING_ACCEPT)
AE_3 = Action("AE-3", State.ESTABLISHED, tell=Indication.ACCEPTED)
AE_4 = Action("AE-4", State.IDLE, tell=Indication.REJECTED, close=True)
AE_5 = Action("AE-5", State.AWAITING_REQUEST, timer=Timer.START)
AE_6 = Action("AE-6", State.AWAITING_ANSWER, tell=Indication.ASSOCIATE, timer=Timer.STOP)
AE_6_REJECT = Action("AE-6", State.CLOSING, timer=Timer.START)  # with an A-ASSOCIATE-RJ by the service provider
AE_7 = Action("AE-7", State.ESTABLISHED)
AE_8 = Action("AE-8", State.CLOSING, timer=Timer.START)
DT_1 = Action("DT-1", State.ESTABLISHED)
DT_2 = Action("DT-2", State.ESTABLISHED, tell=Indication.DATA)
AR_1 = Action("AR-1", State.AWAITING_RELEASED)
AR_2 = Action("AR-2", State.AWAITING_RELEASE, tell=Indication.RELEASE)
AR_3 = Action("AR-3", State.IDLE, tell=Indication.RELEASED, close=True)
AR_4 = Action("AR-4", State.CLOSING, timer=Timer.START)
AR_5 = Action("AR-5", State.IDLE, timer=Timer.STOP)
AR_6 = Action("AR-6", State.AWAITING_RELEASED, tell=Indication.DATA)
AR_7 = Action("AR-7", State.AWAITING_RELEASE)
AR_8 = Action("AR-8", State.COLLIDED, tell=Indication.RELEASE)
AR_9 = Action("AR-9", State.COLLIDED_ANSWERED)
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
_S4, _S5, _S7, _S9, _S11 = (
    State.CONNECTING, State.AWAITING_ACCEPT, State.AWAITING_RELEASED, State.COLLIDED, State.COLLIDED_ANSWERED,
)  # fmt: skip

Rows = Mapping[Event, Mapping[State, Action]]

_ROWS: Rows = {
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

_REQUESTING_ROWS: Rows = {
    Event.REQUEST: {State.IDLE: AE_1},
    Event.CONNECT_CONFIRMED: {_S4: AE_2},
    Event.ASSOCIATE_AC: {_S5: AE_3, _S6: AA_8, _S7: AA_8, _S8: AA_8, _S9: AA_8, _S11: AA_8, _S13: AA_6},
    Event.ASSOCIATE_RJ: {_S5: AE_4, _S6: AA_8, _S7: AA_8, _S8: AA_8, _S9: AA_8, _S11: AA_8, _S13: AA_6},
    Event.ASSOCIATE_RQ: {_S5: AA_8, _S6: AA_8, _S7: AA_8, _S8: AA_8, _S9: AA_8, _S11: AA_8, _S13: AA_7},
    Event.SEND_DATA: {_S6: DT_1, _S8: AR_7},
    Event.P_DATA_TF: {_S5: AA_8, _S6: DT_2, _S7: AR_6, _S8: AA_8, _S9: AA_8, _S11: AA_8, _S13: AA_6},
    Event.ASK_RELEASE: {_S6: AR_1},
    Event.RELEASE_RQ: {_S5: AA_8, _S6: AR_2, _S7: AR_8, _S8: AA_8, _S9: AA_8, _S11: AA_8, _S13: AA_6},
    Event.RELEASE_RP: {_S5: AA_8, _S6: AA_8, _S7: AR_3, _S8: AA_8, _S9: AA_8, _S11: AR_3, _S13: AA_6},
    Event.RELEASE: {_S8: AR_4, _S9: AR_9},
    Event.ABORT: {_S4: AA_2, _S5: AA_1, _S6: AA_1, _S7: AA_1, _S8: AA_1, _S9: AA_1, _S11: AA_1},
    Event.PEER_ABORT: {_S5: AA_3, _S6: AA_3, _S7: AA_3, _S8: AA_3, _S9: AA_3, _S11: AA_3, _S13: AA_2},
    Event.CLOSED: {_S4: AA_4, _S5: AA_4, _S6: AA_4, _S7: AA_4, _S8: AA_4, _S9: AA_4, _S11: AA_4, _S13: AR_5},
    Event.TIMER_EXPIRED: {_S13: AA_2},
    Event.INVALID_PDU: {_S5: AA_8, _S6: AA_8, _S7: AA_8, _S8: AA_8, _S9: AA_8, _S11: AA_8, _S13: AA_7},
}


def _flat(rows: Rows) -> Mapping[tuple[State, Event], Action]:
    return {(state, event): action for event, row in rows.items() for state, action in row.items()}


TRANSITIONS = _flat(_ROWS)
REQUESTING = _flat(_REQUESTING_ROWS)
