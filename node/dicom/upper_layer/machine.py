"""One association as one side sees it: bytes in, events and bytes out. No sockets, no clock, no threads.

Whoever drives it receives into ``space()``, says ``filled(n)``, takes ``next_event()`` until there is none, asks and
answers by the methods of its side, sends ``data_to_send()``, closes the connection when ``wants_close``, and runs the
ARTIM timer while ``timer`` is not 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from node.dicom.upper_layer.codes import AbortReason, AbortSource, PduType, Rejection
from node.dicom.upper_layer.errors import LocalProtocolError, RemoteProtocolError
from node.dicom.upper_layer.framing import Control, Frame, Framer, Piece
from node.dicom.upper_layer.limits import DEFAULT_MAX_PDU, MIN_PEER_MAX_LENGTH, RECEIVE_BUFFER_BYTES
from node.dicom.upper_layer.pdu import (
    PROTOCOL_VERSION,
    Abort,
    AssociateAc,
    AssociateRj,
    AssociateRq,
    ReleaseRp,
    ReleaseRq,
    data_header,
    decode,
    encode,
    encode_data,
    fragment_room,
)
from node.dicom.upper_layer.table import (
    LOCAL_EVENTS,
    REQUESTING,
    TRANSITIONS,
    Action,
    Event,
    Indication,
    State,
    Timer,
)


@dataclass(frozen=True, slots=True)
class AssociateRequested:
    """The peer asks for an association: accept or reject it."""

    request: AssociateRq


@dataclass(frozen=True, slots=True)
class AssociateAccepted:
    """The peer accepted the association."""

    answer: AssociateAc


@dataclass(frozen=True, slots=True)
class AssociateRejected:
    """The peer refused it; the machine is idle."""

    answer: AssociateRj


@dataclass(frozen=True, slots=True)
class Released:
    """The peer agreed to what ``ask_release`` asked; the machine is idle."""


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """The peer asks to end the association: release it, after what is still to be sent."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """The association is over. ``by``: who ended it; ``reason``: a stable word, never the peer's."""

    by: Indication
    reason: str = ""


MachineEvent: TypeAlias = (
    AssociateRequested | AssociateAccepted | AssociateRejected | ReleaseRequested | Released | Aborted | Piece
)

_EVENT_OF_PDU = {
    PduType.ASSOCIATE_RQ: Event.ASSOCIATE_RQ,
    PduType.ASSOCIATE_AC: Event.ASSOCIATE_AC,
    PduType.ASSOCIATE_RJ: Event.ASSOCIATE_RJ,
    PduType.RELEASE_RQ: Event.RELEASE_RQ,
    PduType.RELEASE_RP: Event.RELEASE_RP,
    PduType.ABORT: Event.PEER_ABORT,
}


def rejection(why: Rejection) -> AssociateRj:
    """The A-ASSOCIATE-RJ that says ``why``."""
    return AssociateRj(*why.to_bytes(3, "big"))


class Machine:
    """What both sides have in common.

    Args:
        max_pdu: the longest P-DATA-TF that the peer will be offered; 0 for any length.
        capacity: bytes of the receive buffer.
    """

    _table: ClassVar[Mapping[tuple[State, Event], Action]]

    def __init__(self, *, max_pdu: int = DEFAULT_MAX_PDU, capacity: int = RECEIVE_BUFFER_BYTES) -> None:
        self._state = State.IDLE
        self._framer = Framer(max_pdu=max_pdu, capacity=capacity)
        self._out: list[bytes] = []
        self._peer_max_length = 0
        self._timer = self._timer_starts = 0
        self._wants_close = False
        self._violation = ""

    @property
    def state(self) -> State:
        """Where the association stands."""
        return self._state

    @property
    def timer(self) -> int:
        """0 while the ARTIM timer is stopped, else a number that is new whenever it is (re)started."""
        return self._timer

    @property
    def wants_close(self) -> bool:
        """Whether the transport connection is to be closed once ``data_to_send`` is sent."""
        return self._wants_close

    @property
    def in_pdu(self) -> bool:
        """Whether a PDU has begun and is not complete, or waits to be looked at."""
        return self._framer.in_pdu

    @property
    def violation(self) -> str:
        """What the peer did against the protocol, in a stable word; empty if nothing."""
        return self._violation

    def space(self) -> memoryview:
        """Where to receive into; never empty once ``next_event`` gave None. Data of earlier pieces ends here."""
        return self._framer.space()

    def filled(self, count: int) -> None:
        """``count`` bytes were received into the space."""
        self._framer.filled(count)

    def next_event(self) -> MachineEvent | None:
        """What the received bytes say next; None if they say no more."""
        while True:
            if self._state is State.IDLE:
                self._framer.give_up()
                return None
            try:
                frame = self._framer.next()
                if frame is None:
                    return None
                event = self._receive(frame)
            except RemoteProtocolError as error:
                self._framer.give_up()
                self._violation = self._violation or error.what
                event = self._happen(Event.INVALID_PDU, error.reason)
            if event is not None:
                return event

    def send_command(self, context_id: int, command: bytes) -> None:
        """Send a command set in PDUs of the length that the peer takes."""
        data = encode_data(context_id, command, is_command=True, max_length=self._peer_max_length)
        self._do(Event.SEND_DATA, data)

    def send_data(self, context_id: int, dataset: bytes) -> None:
        """Send a whole data set, behind its command set."""
        data = encode_data(context_id, dataset, is_command=False, max_length=self._peer_max_length)
        self._do(Event.SEND_DATA, data)

    def dataset_pdu(self, context_id: int, length: int, *, is_last: bool) -> bytes:
        """The header of a P-DATA-TF with ``length`` bytes of a data set, which are to be sent right behind it.

        For data sets that are sent as they come; ``length`` is at most ``fragment_room``.
        """
        action = self._action(Event.SEND_DATA)
        self._perform(action)
        return data_header(context_id, length, is_command=False, is_last=is_last)

    @property
    def fragment_room(self) -> int:
        """Bytes of a data set that the peer takes in one P-DATA-TF; 0 for any number."""
        return fragment_room(self._peer_max_length)

    def release(self) -> None:
        """Agree to what ReleaseRequested told."""
        self._do(Event.RELEASE, encode(ReleaseRp()))

    def abort(self) -> None:
        """End the association at once."""
        self._do(Event.ABORT, b"")

    def timer_expired(self) -> None:
        """The ARTIM timer ran out."""
        if not self._timer:
            raise LocalProtocolError("the timer is not running")
        self._happen(Event.TIMER_EXPIRED)

    def transport_closed(self) -> Aborted | None:
        """The transport connection is gone; returns what that means to the user, if there was an association."""
        if self._state is State.IDLE:
            return None
        event = self._happen(Event.CLOSED)
        assert event is None or isinstance(event, Aborted)
        return event

    def data_to_send(self) -> bytes:
        """What to send now; it is handed out once."""
        out, self._out = self._out, []
        return b"".join(out)

    def _action(self, event: Event) -> Action:
        action = self._table.get((self._state, event))
        if action is None:
            raise LocalProtocolError(f"{event.name} in {self._state.name}")
        return action

    def _do(self, event: Event, data: bytes) -> None:
        """What the local user asks: refused before anything changes, or done."""
        assert event in LOCAL_EVENTS
        action = self._action(event)
        if data:
            self._out.append(data)
        self._perform(action)

    def _happen(self, event: Event, reason: AbortReason = AbortReason.UNEXPECTED_PDU) -> MachineEvent | None:
        action = self._action(event)
        self._perform(action, reason)
        if action.abort is not None:
            self._violation = self._violation or "unexpected pdu"
        match action.tell:
            case Indication.RELEASE:
                return ReleaseRequested()
            case Indication.RELEASED:
                return Released()
            case Indication.PEER_ABORT | Indication.PROVIDER_ABORT | Indication.CONNECTION_LOST:
                return Aborted(action.tell, self._violation)
        return None

    def _perform(self, action: Action, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> None:
        if action.abort is not None:
            is_provider = action.abort is AbortSource.SERVICE_PROVIDER
            self._out.append(encode(Abort(action.abort, reason if is_provider else AbortReason.NOT_SPECIFIED)))
        if action.timer is Timer.START:
            self._timer_starts += 1
            self._timer = self._timer_starts
        elif action.timer is Timer.STOP or action.next is State.IDLE:
            self._timer = 0
        self._wants_close = self._wants_close or action.close
        self._state = action.next

    def _receive(self, frame: Frame) -> MachineEvent | None:
        if isinstance(frame, Piece):
            if self._action(Event.P_DATA_TF).tell is Indication.DATA:
                return frame
            return self._happen(Event.P_DATA_TF)
        return self._receive_control(frame)

    def _receive_control(self, frame: Control) -> MachineEvent | None:
        return self._happen(_EVENT_OF_PDU[frame.kind])


class Acceptor(Machine):
    """The side that is called; made when the transport connection is there (Evt5)."""

    _table = TRANSITIONS

    def __init__(self, *, max_pdu: int = DEFAULT_MAX_PDU, capacity: int = RECEIVE_BUFFER_BYTES) -> None:
        super().__init__(max_pdu=max_pdu, capacity=capacity)
        self._perform(self._action(Event.CONNECTED))

    def accept(self, answer: AssociateAc) -> None:
        """Accept what AssociateRequested told."""
        self._do(Event.ACCEPT, encode(answer))

    def reject(self, why: Rejection) -> None:
        """Reject it."""
        self._do(Event.REJECT, encode(rejection(why)))

    def _receive_control(self, frame: Control) -> MachineEvent | None:
        if frame.kind is not PduType.ASSOCIATE_RQ:
            return super()._receive_control(frame)
        if self._state is not State.AWAITING_REQUEST:
            return self._happen(Event.ASSOCIATE_RQ)
        request = decode(frame.kind, frame.body)
        assert isinstance(request, AssociateRq)
        _check_max_length(request.user.max_length)
        if not request.version & PROTOCOL_VERSION:
            self._out.append(encode(rejection(Rejection.PROTOCOL_VERSION_NOT_SUPPORTED)))
            self._violation = "protocol version"
            return self._happen(Event.ASSOCIATE_RQ_UNACCEPTABLE)
        self._peer_max_length = request.user.max_length
        self._happen(Event.ASSOCIATE_RQ)
        return AssociateRequested(request)


class Requestor(Machine):
    """The side that calls; made before the transport connection is asked for (Evt1)."""

    _table = REQUESTING

    def __init__(self, *, max_pdu: int = DEFAULT_MAX_PDU, capacity: int = RECEIVE_BUFFER_BYTES) -> None:
        super().__init__(max_pdu=max_pdu, capacity=capacity)
        self._do(Event.REQUEST, b"")

    def connected(self, request: AssociateRq) -> None:
        """The transport connection is there: propose the association."""
        self._do(Event.CONNECT_CONFIRMED, encode(request))

    def ask_release(self) -> None:
        """Ask to end the association."""
        self._do(Event.ASK_RELEASE, encode(ReleaseRq()))

    def _receive_control(self, frame: Control) -> MachineEvent | None:
        if self._state is not State.AWAITING_ACCEPT:
            return super()._receive_control(frame)
        if frame.kind is PduType.ASSOCIATE_RQ:
            return self._happen(Event.ASSOCIATE_RQ)
        answer = decode(frame.kind, frame.body)
        if isinstance(answer, AssociateAc):
            _check_max_length(answer.user.max_length)
            self._peer_max_length = answer.user.max_length
            self._happen(Event.ASSOCIATE_AC)
            return AssociateAccepted(answer)
        if isinstance(answer, AssociateRj):
            self._happen(Event.ASSOCIATE_RJ)
            return AssociateRejected(answer)
        return super()._receive_control(frame)


def _check_max_length(length: int) -> None:
    if 0 < length < MIN_PEER_MAX_LENGTH:
        raise RemoteProtocolError("maximum length")
