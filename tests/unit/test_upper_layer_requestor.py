"""The requestor's half of the machine: in any order, illegal requests raise and change nothing."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.dicom_peer import CT, EXPLICIT, associate_rq, data, p_data, store_rq

from node.dicom.upper_layer import pdu
from node.dicom.upper_layer.errors import LocalProtocolError
from node.dicom.upper_layer.framing import Piece
from node.dicom.upper_layer.items import UserInformation
from node.dicom.upper_layer.machine import (
    Aborted,
    AssociateAccepted,
    AssociateRejected,
    MachineEvent,
    Released,
    ReleaseRequested,
    Requestor,
)
from node.dicom.upper_layer.table import REQUESTING, Event, State

REQUEST = pdu.AssociateRq(pdu.Titles.of("A", "B"), (pdu.ProposedContext(1, CT, (EXPLICIT,)),), UserInformation())
ACCEPT = pdu.encode(
    pdu.AssociateAc(pdu.Titles.of("A", "B"), (pdu.ContextAnswer(1, 0, EXPLICIT),), UserInformation(16384))
)
REJECT, ABORT = pdu.encode(pdu.AssociateRj(1, 1, 7)), pdu.encode(pdu.Abort())
RELEASE_RQ, RELEASE_RP = pdu.encode(pdu.ReleaseRq()), pdu.encode(pdu.ReleaseRp())


def feed(machine: Requestor, stream: bytes) -> list[MachineEvent]:
    space = machine.space()
    space[: len(stream)] = stream
    machine.filled(len(stream))
    found = []
    while (event := machine.next_event()) is not None:
        found.append(event)
    return found


def associated() -> Requestor:
    machine = Requestor()
    machine.connected(REQUEST)
    (event,) = feed(machine, ACCEPT)
    assert isinstance(event, AssociateAccepted)
    machine.data_to_send()
    return machine


def test_an_association_from_end_to_end() -> None:
    machine = associated()
    machine.send_command(1, b"ab")
    assert machine.data_to_send() == p_data((1, 3, b"ab"))
    head = machine.dataset_pdu(1, 4, is_last=True)
    assert head + b"abcd" == data(b"abcd")
    assert machine.fragment_room == 16384 - 6
    (piece,) = feed(machine, p_data((1, 3, b"xy")))
    assert isinstance(piece, Piece)
    machine.ask_release()
    assert machine.data_to_send() == RELEASE_RQ
    assert isinstance(feed(machine, p_data((1, 3, b"xy")))[0], Piece)  # what was on its way (AR-6)
    assert feed(machine, RELEASE_RP) == [Released()]
    assert machine.wants_close
    assert machine.state is State.IDLE


def test_both_ask_for_release() -> None:
    machine = associated()
    machine.ask_release()
    machine.data_to_send()
    assert feed(machine, RELEASE_RQ) == [ReleaseRequested()]
    assert machine.state is State.COLLIDED
    machine.release()
    assert machine.data_to_send() == RELEASE_RP
    assert feed(machine, RELEASE_RP) == [Released()]


def test_a_rejection_says_why() -> None:
    machine = Requestor()
    machine.connected(REQUEST)
    assert feed(machine, REJECT) == [AssociateRejected(pdu.AssociateRj(1, 1, 7))]
    assert machine.wants_close


class AnyOrder(RuleBasedStateMachine):
    """Everything that can be asked or received."""

    @initialize()
    def begin(self) -> None:
        self.machine = Requestor(max_pdu=16384)

    def ask(self, event: Event, call: Callable[[], object]) -> None:
        before = self.machine.state, self.machine.wants_close, tuple(self.machine._out)
        action = REQUESTING.get((self.machine.state, event))
        if action is not None:
            call()
            assert self.machine.state is action.next
            return
        try:
            call()
        except LocalProtocolError:
            assert (self.machine.state, self.machine.wants_close, tuple(self.machine._out)) == before
        else:
            raise AssertionError(event)

    @rule(stream=st.sampled_from([
        ACCEPT, REJECT, ABORT, RELEASE_RQ, RELEASE_RP, store_rq(), data(b"ab"), associate_rq((CT, EXPLICIT)),
        p_data((1, 0, b"a")), b"\x09\0\0\0\0\0", ACCEPT[:40], RELEASE_RP[:5],
    ]))  # fmt: skip
    def receive(self, stream: bytes) -> None:
        if self.machine.state is State.CONNECTING:
            return  # there is no connection that could bring it
        was_idle = self.machine.state is State.IDLE
        for event in feed(self.machine, stream):
            assert not was_idle
            if isinstance(event, Aborted):
                assert self.machine.state in (State.IDLE, State.CLOSING)

    @rule()
    def connected(self) -> None:
        self.ask(Event.CONNECT_CONFIRMED, lambda: self.machine.connected(REQUEST))

    @rule()
    def send(self) -> None:
        self.ask(Event.SEND_DATA, lambda: self.machine.send_command(1, b"ab"))

    @rule()
    def stream(self) -> None:
        self.ask(Event.SEND_DATA, lambda: self.machine.dataset_pdu(1, 2, is_last=False))

    @rule()
    def ask_release(self) -> None:
        self.ask(Event.ASK_RELEASE, self.machine.ask_release)

    @rule()
    def release(self) -> None:
        self.ask(Event.RELEASE, self.machine.release)

    @rule()
    def abort(self) -> None:
        self.ask(Event.ABORT, self.machine.abort)

    @rule()
    def close(self) -> None:
        self.machine.transport_closed()
        assert self.machine.state is State.IDLE

    @invariant()
    def timer_only_while_closing(self) -> None:
        assert bool(self.machine.timer) <= (self.machine.state is State.CLOSING)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
