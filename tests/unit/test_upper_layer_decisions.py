"""Negotiation, command sets, patience and memory: what is decided without a socket."""

import asyncio
import contextlib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.upper_layer.codes import ContextResult
from node.dicom.upper_layer.command import (
    CommandField,
    MoveOriginator,
    Request,
    Response,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from node.dicom.upper_layer.errors import RemoteProtocolError
from node.dicom.upper_layer.intake import FIRST_BYTES, HIGH_BYTES, KEEP_BYTES, LOW_BYTES, Budget, Buffer, Stream
from node.dicom.upper_layer.items import AsyncWindow, ExtendedNegotiation, RoleSelection, UserIdentity, UserInformation
from node.dicom.upper_layer.negotiation import STORAGE_AS_RECEIVED, negotiate
from node.dicom.upper_layer.pdu import AssociateRq, ProposedContext, Titles
from node.dicom.upper_layer.watch import Timing, Watch
from node.errors.dicom import Truncated

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"


def negotiated(abstract: str, *transfer: str, user: UserInformation | None = None) -> tuple[int, str, UserInformation]:
    request = AssociateRq(Titles.of("A", "B"), (ProposedContext(1, abstract, transfer),), user or UserInformation())
    done = negotiate(request, max_pdu=1000, implementation=("1.2.3", "TEST"))
    (answer,) = done.answer.contexts
    assert (answer.context_id in done.contexts) == (answer.result == 0)
    assert done.answer.titles == request.titles
    return answer.result, answer.transfer_syntax, done.answer.user


@pytest.mark.parametrize(
    "abstract",
    [CT, VERIFICATION, "1.2.840.10008.5.1.4.1.1.9.1", "1.2.840.10008.5.1.1.30", "1.3.46.670589.2.5.1.1", "2.25.1"],
)
def test_any_storage_class_is_accepted_with_the_first_syntax(abstract: str) -> None:
    assert negotiated(abstract, JPEG, EXPLICIT)[:2] == (ContextResult.ACCEPTANCE, JPEG)
    assert negotiated(abstract, "1.2.3.4.5.6", EXPLICIT)[:2] == (ContextResult.ACCEPTANCE, "1.2.3.4.5.6")


@pytest.mark.parametrize(
    "abstract",
    ["1.2.840.10008.5.1.4.1.2.3.1", "1.2.840.10008.1.20.2", "1.2.840.10008.3.1.2.3.3", "1.2.840.10008.1.3.10", "", "x"],
)
def test_other_services_are_not(abstract: str) -> None:
    assert negotiated(abstract, EXPLICIT)[0] == ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED


def test_without_a_usable_transfer_syntax() -> None:
    assert negotiated(CT)[0] == ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    assert negotiated(CT, "nonsense", EXPLICIT)[0] == ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED


def test_annex_d() -> None:
    user = UserInformation(
        async_window=AsyncWindow(0, 0),
        roles=(RoleSelection(CT, scu=True, scp=True), RoleSelection("1.2.3", scu=True, scp=True)),
        extended=(ExtendedNegotiation(CT, b"\2\0\0\0\0\0"), ExtendedNegotiation("1.2.3", b"x")),
        identity=UserIdentity(1, wants_response=True, primary=b"who"),
    )
    result, _, answer = negotiated(CT, EXPLICIT, user=user)
    assert result == ContextResult.ACCEPTANCE
    assert answer.async_window == AsyncWindow(1, 1)
    assert answer.roles == (RoleSelection(CT, scu=True, scp=False),)
    assert answer.extended == (ExtendedNegotiation(CT, STORAGE_AS_RECEIVED),)
    assert answer.identity_response is None  # nothing was verified, so nothing is confirmed
    assert (answer.max_length, answer.implementation_class_uid) == (1000, "1.2.3")
    only_scp = UserInformation(roles=(RoleSelection(CT, scu=False, scp=True),))
    assert negotiated(CT, EXPLICIT, user=only_scp)[0] == ContextResult.USER_REJECTION


def test_nothing_is_negotiated_that_was_not_proposed() -> None:
    answer = negotiated(CT, EXPLICIT)[2]
    assert (answer.async_window, answer.roles, answer.extended, answer.identity_response) == (None, (), (), None)


short = st.integers(0, 0xFFFF)
uid_text = st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(lambda arcs: ".".join(map(str, arcs)))
title = st.text(alphabet="ABCXYZ_19", min_size=1, max_size=16)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any request, with what its kind has."""
    command = draw(st.sampled_from([*CommandField, 0x0020, 0x0110, 0x0FFF]))
    has_priority = command in (0x0001, 0x0010, 0x0020, 0x0021)
    return Request(
        command,
        draw(short),
        draw(st.booleans()),
        "" if command == CommandField.C_CANCEL_RQ else draw(uid_text),
        draw(st.just("") | uid_text),
        draw(short) if has_priority else 0,
        draw(short) if command in (CommandField.N_ACTION_RQ, CommandField.N_EVENT_REPORT_RQ) else 0,
        draw(title) if command == CommandField.C_MOVE_RQ else "",
        draw(st.builds(MoveOriginator, title, short)) if command == CommandField.C_STORE_RQ else None,
    )


any_request = requests()


@given(any_request, short)
def test_commands_round_trip(request: Request, status: int) -> None:
    assert decode_request(encode_request(request)) == request
    answer = Response(
        request.command, request.message_id, status, request.sop_class_uid, request.sop_instance_uid, "why"
    )
    assert decode_response(encode_response(request, status, "why")) == answer


@given(any_request, st.data())
def test_damaged_commands_are_refused_or_read(request: Request, draw: st.DataObject) -> None:
    command = bytearray(encode_request(request))
    for _ in range(draw.draw(st.integers(1, 4))):
        command[draw.draw(st.integers(0, len(command) - 1))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(0, len(command)))
    for damaged in (bytes(command), bytes(command[:cut]), bytes(command[cut:])):
        with contextlib.suppress(RemoteProtocolError):
            encode_response(decode_request(damaged), 0)


@dataclass
class Peer:
    received: int = 0
    timer: int = 0
    is_waiting: bool = True
    in_message: bool = False
    sent: int = 0

    @property
    def moved(self) -> int:
        return self.received + self.sent


def test_patience() -> None:
    watch, peer = Watch(Timing(artim=5, idle=10, window=20, floor=100)), Peer(timer=1)
    assert not watch.timer_is_over(0, peer)
    assert not watch.timer_is_over(4.9, peer)
    peer.timer = 2  # restarted
    assert not watch.timer_is_over(5.5, peer)
    assert watch.timer_is_over(10.5, peer)
    peer.timer = 0
    assert not watch.timer_is_over(99, peer)
    for now in range(100, 200, 2):  # a trickle: never silent, never enough
        peer.received, peer.in_message = peer.received + 2, True
        complaint = watch.complaint(now, peer)
        assert complaint in {"", "too slow"}
        if complaint:
            break
    assert complaint == "too slow"
    peer.in_message = False
    for now in range(200, 300, 2):  # as slow, but between messages
        peer.received += 2
        assert not watch.complaint(now, peer)
    assert watch.complaint(310, peer) == "silent"
    peer.is_waiting = False
    assert not watch.complaint(1000, peer)


def test_memory_is_taken_once_kept_if_small_and_given_back() -> None:
    budget = Budget(20 * FIRST_BYTES)
    buffer = Buffer(budget)
    for fill in (b"a", b"b"):
        assert buffer.add(memoryview(fill * 1000))
        assert bytes(buffer.view()) == fill * 1000
        buffer.clear()
        assert budget._left == 19 * FIRST_BYTES
    while buffer.add(memoryview(bytes(FIRST_BYTES))):
        pass
    assert buffer.size <= 20 * FIRST_BYTES
    assert buffer.size > KEEP_BYTES
    buffer.clear()
    assert budget._left == 20 * FIRST_BYTES


def test_memory_that_is_still_looked_at_is_not_used_again() -> None:
    buffer = Buffer(Budget(20 * FIRST_BYTES))
    buffer.add(memoryview(b"first"))
    view = buffer.view()
    buffer.clear()
    buffer.add(memoryview(b"again"))
    assert bytes(view) == b"first"
    with pytest.raises(TypeError):
        view[0] = 0


async def test_a_stream_tells_when_it_is_full_and_when_not() -> None:
    told: list[int] = []
    stream = Stream(lambda: told.append(stream.level))
    piece = bytes(LOW_BYTES // 2)
    for _ in range(HIGH_BYTES // len(piece)):
        assert not stream.is_full
        stream.add(piece)
    assert stream.is_full
    stream.end()
    assert sum([len(one) async for one in stream]) == HIGH_BYTES
    assert told == [LOW_BYTES]


async def test_a_stream_that_breaks_off_says_so_to_a_reader_that_waits() -> None:
    stream = Stream(lambda: None)
    stream.add(b"a")
    assert await anext(stream) == b"a"
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.fail()
    with pytest.raises(Truncated):
        await waiting
