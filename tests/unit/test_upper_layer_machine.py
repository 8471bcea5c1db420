"""The state table and the machine: every state with every event, streams cut anywhere, streams mutated."""

import contextlib
import random
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.dicom_peer import CT, EXPLICIT, VERIFICATION, associate_rq, data, echo_rq, p_data, store_rq

from node.dicom.upper_layer import pdu
from node.dicom.upper_layer.codes import Rejection
from node.dicom.upper_layer.errors import LocalProtocolError, RemoteProtocolError
from node.dicom.upper_layer.framing import Piece
from node.dicom.upper_layer.items import UserInformation
from node.dicom.upper_layer.machine import Aborted, Acceptor, AssociateRequested, MachineEvent, ReleaseRequested
from node.dicom.upper_layer.messages import MessageReader
from node.dicom.upper_layer.negotiation import negotiate
from node.dicom.upper_layer.table import LOCAL_EVENTS, REQUESTING, TRANSITIONS, Action, Event, Indication, State

FROM_PEER = [
    Event.ASSOCIATE_AC, Event.ASSOCIATE_RJ, Event.ASSOCIATE_RQ, Event.ASSOCIATE_RQ_UNACCEPTABLE, Event.P_DATA_TF,
    Event.RELEASE_RQ, Event.RELEASE_RP, Event.PEER_ABORT, Event.CLOSED, Event.INVALID_PDU,
]  # fmt: skip
REQUESTOR_ONLY = {
    State.CONNECTING, State.AWAITING_ACCEPT, State.AWAITING_RELEASED, State.COLLIDED, State.COLLIDED_ANSWERED,
}  # fmt: skip
OPEN = [state for state in State if state is not State.IDLE and state not in REQUESTOR_ONLY]
REQUESTING_OPEN = [state for state in State if state not in (State.IDLE, State.AWAITING_REQUEST, State.AWAITING_ANSWER)]
SIDES = pytest.mark.parametrize(("table", "states"), [(TRANSITIONS, OPEN), (REQUESTING, REQUESTING_OPEN)])
Table = Mapping[tuple[State, Event], Action]
OWN = ("1.2.3", "TEST")


def feed(machine: Acceptor, stream: bytes) -> None:
    while stream:
        space = machine.space()
        count = min(len(space), len(stream))
        space[:count] = stream[:count]
        machine.filled(count)
        stream = stream[count:]
        if stream:
            list(events(machine))


def events(machine: Acceptor) -> Iterable[MachineEvent]:
    while (event := machine.next_event()) is not None:
        yield event


def established() -> Acceptor:
    machine = Acceptor()
    feed(machine, associate_rq((CT, EXPLICIT), (VERIFICATION, EXPLICIT)))
    accept(machine, machine.next_event())
    assert machine.state is State.ESTABLISHED
    machine.data_to_send()
    return machine


def accept(machine: Acceptor, event: MachineEvent | None) -> None:
    assert isinstance(event, AssociateRequested)
    machine.accept(negotiate(event.request, max_pdu=16384, implementation=OWN).answer)


@SIDES
def test_whatever_a_peer_does_has_an_answer_in_every_state(table: Table, states: list[State]) -> None:
    connected = [state for state in states if state is not State.CONNECTING]
    heard = [e for e in FROM_PEER if e is not Event.ASSOCIATE_RQ_UNACCEPTABLE or table is TRANSITIONS]
    assert {(state, event) for state in connected for event in heard} <= set(table)


@SIDES
def test_no_state_is_a_trap(table: Table, states: list[State]) -> None:
    reached, todo = {State.IDLE}, [State.IDLE]
    while todo:
        here = todo.pop()
        for action in (action for (state, _), action in table.items() if state is here):
            if action.next not in reached:
                reached.add(action.next)
                todo.append(action.next)
    assert reached == {State.IDLE, *states}
    assert all(table[state, Event.CLOSED].next is State.IDLE for state in states)


@pytest.mark.parametrize("table", [TRANSITIONS, REQUESTING])
def test_the_timer_runs_exactly_where_the_peer_is_waited_for_without_an_association(table: Table) -> None:
    for (_, event), action in table.items():
        starts = action.timer is not None and action.timer.name == "START"
        if action.next in (State.AWAITING_REQUEST, State.CLOSING) and action.name not in ("AA-6", "AA-7"):
            assert starts, event
        else:
            assert not starts, event


def test_an_association_from_end_to_end() -> None:
    machine = established()
    assert machine.timer == 0
    feed(machine, store_rq() + data(b"abc"))
    pieces = [(p.is_command, p.is_last) for p in events(machine) if isinstance(p, Piece)]
    assert pieces == [(True, True), (False, True)]
    machine.send_command(1, b"answer")
    assert machine.data_to_send() == p_data((1, 3, b"answer"))
    feed(machine, pdu.encode(pdu.ReleaseRq()))
    assert machine.next_event() == ReleaseRequested()
    machine.release()
    assert machine.data_to_send() == pdu.encode(pdu.ReleaseRp())
    assert machine.timer
    assert machine.transport_closed() is None
    assert machine.state is State.IDLE


def test_a_version_that_is_not_known_is_rejected_by_the_provider() -> None:
    machine = Acceptor()
    request = bytearray(associate_rq((CT, EXPLICIT)))
    request[7] = 2
    feed(machine, bytes(request))
    assert machine.next_event() is None
    assert (machine.state, machine.data_to_send()) == (State.CLOSING, b"\3\0\0\0\0\4\0\1\2\2")


@pytest.mark.parametrize("length", [1, 7])
def test_a_peer_that_takes_no_answers_is_refused(length: int) -> None:
    machine = Acceptor()
    feed(machine, associate_rq((CT, EXPLICIT), max_length=length))
    assert machine.next_event() is None
    assert machine.state is State.CLOSING


def outcome(stream: bytes, cuts: list[int]) -> tuple[State, bytes, tuple[str, ...], bytes, bytes, str]:
    """All that can be seen of a machine that is fed ``stream`` in pieces."""
    machine, commands, sets = Acceptor(max_pdu=16384), b"", b""
    seen: list[str] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        feed(machine, stream[start:end])
        for event in events(machine):
            match event:
                case Piece():
                    commands += bytes(event.data) if event.is_command else b""
                    sets += b"" if event.is_command else bytes(event.data)
                    seen.append("end") if event.is_last else None
                case AssociateRequested():
                    accept(machine, event)
                    seen.append("associate")
                case ReleaseRequested():
                    machine.release()
                    seen.append("release")
                case Aborted():
                    seen.append(event.by.name)
    return machine.state, machine.data_to_send(), tuple(seen), commands, sets, machine.violation


SCRIPT = b"".join((
    associate_rq((CT, EXPLICIT), (VERIFICATION, EXPLICIT)), echo_rq(context_id=3), store_rq(),
    data(bytes(range(200)), max_length=40), store_rq(), p_data((1, 0, b""), (1, 2, b"x")), pdu.encode(pdu.ReleaseRq()),
))  # fmt: skip


@given(st.lists(st.integers(0, len(SCRIPT)), max_size=30).map(sorted))
def test_how_the_stream_is_cut_makes_no_difference(cuts: list[int]) -> None:
    whole = outcome(SCRIPT, [])
    assert whole[0] is State.CLOSING
    assert whole[2][-1] == "release"
    assert outcome(SCRIPT, cuts) == whole


def mutate(stream: bytes, rng: random.Random) -> bytes:
    out = bytearray(stream)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out)) if out else 0
        match rng.randrange(5):
            case 0 if out:
                out[at] = rng.randrange(256)
            case 1:
                del out[at : at + rng.randint(1, 20)]
            case 2:
                out[at:at] = rng.randbytes(rng.randint(1, 20))
            case 3 if len(out) > 4:
                out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\1\0\0", b"\x7f\xff\xff\xff"))
            case 4:
                end = at + rng.randint(1, 200)
                out[at:at] = out[at:end]
    return bytes(out)


def run_mutated(rng: random.Random) -> None:
    """Machine and message reader on a damaged stream: only the peer is ever to blame, and an end is an end."""
    machine, reader = Acceptor(max_pdu=16384), MessageReader({1, 3})
    stream = mutate(SCRIPT, rng)
    while stream:
        count = rng.choice((1, 5, 100, 1000))
        feed(machine, stream[:count])
        stream = stream[count:]
        for event in events(machine):
            match event:
                case Piece():
                    try:
                        reader.take(event)
                    except RemoteProtocolError:
                        machine.abort()
                case AssociateRequested():
                    accept(machine, event)
                case ReleaseRequested():
                    machine.release()
        assert len(machine.data_to_send()) < 100_000
    machine.transport_closed()
    assert machine.state is State.IDLE


def test_damaged_streams() -> None:
    for seed in range(3000):
        run_mutated(random.Random(seed))


@pytest.mark.soak
def test_damaged_streams_for_long() -> None:
    for seed in range(300_000):
        run_mutated(random.Random(10**6 + seed))


class AnyOrder(RuleBasedStateMachine):
    """Everything that can be asked or received, in any order: illegal requests raise and change nothing."""

    @initialize()
    def connect(self) -> None:
        self.machine = Acceptor(max_pdu=16384)
        self.request: pdu.AssociateRq | None = None

    def seen(self) -> tuple[object, ...]:
        m = self.machine
        return m.state, m.timer, m.wants_close, m.violation, m.in_pdu, tuple(m._out)

    def ask(self, event: Event, call: object, *arguments: object) -> None:
        assert callable(call)
        before = self.seen()
        if (self.machine.state, event) in TRANSITIONS:
            call(*arguments)
            assert self.machine.state is TRANSITIONS[before[0], event].next  # type: ignore[index]
        else:
            with pytest.raises(LocalProtocolError):
                call(*arguments)
            assert self.seen() == before

    @rule(stream=st.sampled_from([
        associate_rq((CT, EXPLICIT)), store_rq(), data(b"ab"), p_data((1, 0, b"a")), pdu.encode(pdu.ReleaseRq()),
        pdu.encode(pdu.ReleaseRp()), pdu.encode(pdu.Abort()), pdu.encode(pdu.AssociateRj(1, 1, 1)), b"\x09\0\0\0\0\0",
        associate_rq((CT, EXPLICIT))[:30], store_rq()[:9],
    ]))  # fmt: skip
    def receive(self, stream: bytes) -> None:
        feed(self.machine, stream)
        for event in events(self.machine):
            if isinstance(event, AssociateRequested):
                self.request = event.request

    @rule()
    def accept(self) -> None:
        request = self.request or pdu.AssociateRq(pdu.Titles.of("A", "B"), (), UserInformation())
        self.ask(Event.ACCEPT, self.machine.accept, negotiate(request, max_pdu=0, implementation=OWN).answer)

    @rule()
    def reject(self) -> None:
        self.ask(Event.REJECT, self.machine.reject, Rejection.LOCAL_LIMIT_EXCEEDED)

    @rule()
    def send(self) -> None:
        self.ask(Event.SEND_DATA, self.machine.send_command, 1, b"ab")

    @rule()
    def release(self) -> None:
        self.ask(Event.RELEASE, self.machine.release)

    @rule()
    def abort(self) -> None:
        self.ask(Event.ABORT, self.machine.abort)

    @rule()
    def expire(self) -> None:
        if self.machine.timer:
            self.machine.timer_expired()
            assert self.machine.state is State.IDLE
        else:
            with pytest.raises(LocalProtocolError):
                self.machine.timer_expired()

    @rule()
    def close(self) -> None:
        event = self.machine.transport_closed()
        assert event is None or event.by is Indication.CONNECTION_LOST
        assert self.machine.state is State.IDLE

    @rule()
    def flush(self) -> None:
        self.machine.data_to_send()

    @invariant()
    def timer_only_where_it_belongs(self) -> None:
        assert bool(self.machine.timer) == (self.machine.state in (State.AWAITING_REQUEST, State.CLOSING))


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


def test_local_events_are_what_the_user_can_ask() -> None:
    assert LOCAL_EVENTS.isdisjoint(FROM_PEER)
    assert {event for _, event in (*TRANSITIONS, *REQUESTING)} == set(Event)


def test_more_than_there_was_space_for_is_our_mistake() -> None:
    machine = Acceptor()
    with pytest.raises(LocalProtocolError):
        machine.filled(len(machine.space()) + 1)
    with contextlib.suppress(LocalProtocolError):
        machine.filled(-1)
    assert not machine.in_pdu
