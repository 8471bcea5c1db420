"""The Storage SCP before a peer made of bytes: what real programs never send, and what a hostile one would."""

import asyncio
import contextlib
import io
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from support.dicom_peer import (
    CT,
    EXPLICIT,
    VERIFICATION,
    Peer,
    associate_rq,
    data,
    echo_rq,
    p_data,
    store_rq,
)

from node.dicom.received import ReceivedInstance, Status, status_of
from node.dicom.upper_layer import pdu, server
from node.dicom.upper_layer.codes import ContextResult, PduType, Rejection
from node.dicom.upper_layer.limits import MAX_ASSOCIATE_BYTES, MAX_COMMAND_BYTES
from node.dicom.upper_layer.operation import Operation
from node.dicom.upper_layer.pdu import IS_COMMAND, IS_LAST, AssociateRq
from node.dicom.upper_layer.server import Listener, ListenerSettings
from node.dicom.upper_layer.service import Admission, Outcome
from node.dicom.upper_layer.watch import Timing
from node.errors import LeveretError, Retryable
from node.errors.dicom import InstanceMismatch, InvalidHeader, Truncated
from node.errors.setup import PortInUse
from node.log import make_logger


@dataclass
class Service:
    """Keeps what it is given, in memory; may be told to fail, to wait, not to stream."""

    streams: bool = True
    refuse: Rejection | None = None
    error: LeveretError | None = None
    gate: asyncio.Event | None = None
    kept: list[bytes] = field(default_factory=list)
    broken_off: int = 0
    shared: list[memoryview] = field(default_factory=list)
    keep_views: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def admit(self, request: AssociateRq, address: str) -> Rejection | Admission:
        assert request.titles.called == "LEVERET"
        assert address == "127.0.0.1"
        return self.refuse or Admission()

    async def operate(self, operation: Operation, dataset: bytes) -> Outcome:
        raise NotImplementedError

    def begin(self, received: ReceivedInstance) -> None:
        """Nothing is done before the end."""

    async def store(self, received: ReceivedInstance) -> Outcome:
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            return Outcome(status_of(self.error), self.error.code)
        if self.keep_views:
            self.shared.append(received.dataset)
        self.kept.append(bytes(received.dataset))
        self.answered.set()
        return Outcome(Status.SUCCESS)

    async def store_stream(self, received: ReceivedInstance, rest: AsyncIterator[bytes]) -> Outcome:
        if self.error is not None:
            return Outcome(status_of(self.error), self.error.code)
        got = bytearray(received.dataset)
        try:
            async for piece in rest:
                got += piece
                if self.gate is not None:
                    await self.gate.wait()
        except Truncated as error:
            self.broken_off += 1
            self.answered.set()
            return Outcome(status_of(error))
        self.kept.append(bytes(got))
        return Outcome(Status.SUCCESS)


@asynccontextmanager
async def listening(service: Service | None = None, **changes: object) -> AsyncIterator[tuple[Listener, Service]]:
    service = service or Service()
    settings = ListenerSettings("127.0.0.1", 0, **changes)  # type: ignore[arg-type]
    async with Listener(settings, service, make_logger(io.StringIO())) as listener:
        yield listener, service


async def aborted(peer: Peer) -> bytes:
    """Wait for the A-ABORT; returns source and reason."""
    while True:
        kind, body = await peer.receive()
        if kind == PduType.ABORT:
            return body[2:]


async def test_echo_store_release() -> None:
    async with listening() as (listener, service), Peer.connect(listener.address) as peer:
        answer = await peer.associate((CT, EXPLICIT), (VERIFICATION, EXPLICIT))
        assert [context.result for context in answer.contexts] == [ContextResult.ACCEPTANCE] * 2
        await peer.send(echo_rq(context_id=3, message_id=7))
        response = await peer.response()
        assert (response.status, response.message_id) == (0, 7)
        for number, size in enumerate((0, 1, 2, 65536, 3_000_001), 2):
            dataset = bytes((number,)) * size
            assert (await peer.store(dataset, message_id=number)).status == 0
            assert service.kept[-1] == dataset
        await peer.release()


@pytest.mark.parametrize("chunk", [1, 7, 1000])
async def test_bytes_may_come_in_any_pieces(chunk: int) -> None:
    dataset = bytes(range(256)) * 8
    script = associate_rq((CT, EXPLICIT)) + store_rq() + data(dataset, max_length=70)
    async with listening() as (listener, service), Peer.connect(listener.address) as peer:
        for at in range(0, len(script), chunk):
            await peer.send(script[at : at + chunk])
            await asyncio.sleep(0)
        assert (await peer.receive())[0] == PduType.ASSOCIATE_AC
        assert (await peer.response()).status == 0
        assert service.kept == [dataset]


async def test_command_and_data_set_may_share_a_pdu() -> None:
    command = store_rq()[12:]
    async with listening() as (listener, service), Peer.connect(listener.address) as peer:
        await peer.associate()
        await peer.send(
            p_data(
                (1, IS_COMMAND, command[:20]), (1, IS_COMMAND | IS_LAST, command[20:]), (1, 0, b"ab"), (1, IS_LAST, b"")
            )
        )
        assert (await peer.response()).status == 0
        assert service.kept == [b"ab"]


async def test_answers_keep_to_the_peers_maximum_length() -> None:
    async with listening() as (listener, _), Peer.connect(listener.address) as peer:
        await peer.associate(max_length=16)
        await peer.send(store_rq() + data(b"ab"))
        kind, body = await peer.receive()
        assert kind == PduType.P_DATA_TF
        assert len(body) == 16
        assert not body[5] & IS_LAST


@pytest.mark.parametrize(
    ("error", "status"),
    [(Retryable(), 0xA700), (InstanceMismatch(), 0xA900), (InvalidHeader(), 0xC000), (LeveretError(), 0x0110)],
)
async def test_statuses(error: LeveretError, status: int) -> None:
    async with listening(Service(error=error)) as (listener, _), Peer.connect(listener.address) as peer:
        await peer.associate()
        response = await peer.store(b"ab")
        assert (response.status, response.comment) == (status, error.code)
        await peer.release()


async def test_unknown_operation_and_missing_data_set() -> None:
    async with listening() as (listener, service), Peer.connect(listener.address) as peer:
        await peer.associate()
        await peer.send(pdu.encode_data(1, _command(0x0020, 5, 1), is_command=True, max_length=0) + data(b"query"))
        assert (await peer.response()).status == Status.UNRECOGNIZED_OPERATION
        await peer.send(pdu.encode_data(1, _command(0x0001, 6, 0x0101), is_command=True, max_length=0))
        assert (await peer.response()).status == Status.CANNOT_UNDERSTAND
        assert service.kept == []


def _command(field_: int, message_id: int, dataset_type: int) -> bytes:
    elements = ((0x0100, field_), (0x0110, message_id), (0x0800, dataset_type))
    return b"".join(struct.pack("<HHIH", 0, tag, 2, value) for tag, value in elements)


HOSTILE = {
    "unknown pdu type": b"\x09\0\0\0\0\4abcd",
    "endless pdu": b"\x04\0\xff\xff\xff\xff",
    "endless association": b"\x01\0" + struct.pack(">I", MAX_ASSOCIATE_BYTES + 1),
    "short abort": b"\x07\0\0\0\0\3abc",
    "empty p-data": b"\x04\0\0\0\0\0",
    "pdv longer than its pdu": b"\x04\0\0\0\0\6" + struct.pack(">IBB", 100, 1, 3),
    "pdv without header": b"\x04\0\0\0\0\6" + struct.pack(">IBB", 1, 1, 3),
    "second association": associate_rq((CT, EXPLICIT)),
    "answer to nothing": pdu.encode(pdu.ReleaseRp()),
    "unknown context": store_rq(context_id=99),
    "data before command": data(b"ab"),
    "two contexts in one message": p_data((1, 1, b"a")) + p_data((3, 1, b"b")),
    "command in the data set": store_rq() + p_data((1, 1, b"a")),
    "endless command": p_data((1, 1, bytes(MAX_COMMAND_BYTES + 2))),
    "no command": p_data((1, 3, b"")),
    "response": p_data((1, 3, _command(0x8001, 1, 0x0101))),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_violations_end_the_association_and_nothing_else(name: str) -> None:
    contexts = ((CT, EXPLICIT), (CT, EXPLICIT))
    async with listening() as (listener, service):
        async with Peer.connect(listener.address) as good, Peer.connect(listener.address) as bad:
            await good.associate()
            await bad.associate(*contexts)
            await bad.send(HOSTILE[name])
            await aborted(bad)
            bad.writer.close()
            assert (await good.store(b"ab")).status == 0
        assert service.kept == [b"ab"]


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", pdu.encode(pdu.ReleaseRq()), data(b"ab")])
async def test_what_is_no_association_request(first: bytes) -> None:
    async with listening() as (listener, _), Peer.connect(listener.address) as peer:
        await peer.send(first)
        await aborted(peer)


async def test_refusals() -> None:
    refusing = Service(refuse=Rejection.CALLING_AE_NOT_RECOGNISED)
    async with listening(refusing) as (listener, _), Peer.connect(listener.address) as peer:
        await peer.send(associate_rq((CT, EXPLICIT)))
        assert await peer.receive() == (PduType.ASSOCIATE_RJ, b"\0\1\1\3")
    async with listening() as (listener, _):
        async with Peer.connect(listener.address) as peer:
            request = bytearray(associate_rq((CT, EXPLICIT)))
            request[6:8] = b"\0\2"
            await peer.send(bytes(request))
            assert await peer.receive() == (PduType.ASSOCIATE_RJ, b"\0\1\2\2")
        async with Peer.connect(listener.address) as peer:
            await peer.send(associate_rq((CT, EXPLICIT)).replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.2"))
            assert await peer.receive() == (PduType.ASSOCIATE_RJ, b"\0\1\1\2")


async def test_the_cap_counts_associations_not_connections() -> None:
    async with listening(max_associations=1) as (listener, _), contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(Peer.connect(listener.address)) for _ in range(3)]
        await idle[0].associate()
        await idle[1].send(associate_rq((CT, EXPLICIT)))
        assert await idle[1].receive() == (PduType.ASSOCIATE_RJ, b"\0\2\3\2")
        await idle[0].release()
        await idle[2].associate()


async def test_whoever_only_connects_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_UNASSOCIATED", 4)
    async with listening() as (listener, _), contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(Peer.connect(listener.address)) for _ in range(5)]
        assert await idle[0].closed()
        await idle[4].associate()
        await idle[1].associate()


QUICK = Timing(artim=0.3, idle=0.3, window=0.3, floor=10_000)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.02)


@pytest.mark.usefixtures("quick")
async def test_silence_is_cut() -> None:
    async with listening(timing=QUICK) as (listener, _):
        async with Peer.connect(listener.address) as peer:
            assert await peer.closed()  # never asked for an association
        async with Peer.connect(listener.address) as peer:
            await peer.associate()
            assert await aborted(peer) == b"\0\0"
        async with Peer.connect(listener.address) as peer:
            await peer.associate()
            await peer.release()
            assert await peer.closed()  # never closed the connection itself


@pytest.mark.usefixtures("quick")
async def test_a_trickle_is_cut() -> None:
    async with listening(timing=QUICK) as (listener, service), Peer.connect(listener.address) as peer:
        await peer.associate()
        await peer.send(store_rq() + struct.pack(">BBIIBB", 4, 0, 100_006, 100_002, 1, 2))
        trickle = asyncio.create_task(_trickle(peer))
        assert await aborted(peer) == b"\0\0"
        trickle.cancel()
        assert service.kept == []


async def _trickle(peer: Peer) -> None:
    while True:
        await peer.send(b"x")
        await asyncio.sleep(0.02)


@pytest.mark.usefixtures("quick")
async def test_a_slow_disk_is_not_the_peers_fault() -> None:
    gate = asyncio.Event()
    async with listening(Service(gate=gate), timing=QUICK) as (listener, service):
        async with Peer.connect(listener.address) as peer:
            await peer.associate()
            await peer.send(store_rq() + data(b"ab"))
            await asyncio.sleep(0.8)
            gate.set()
            assert (await peer.response()).status == 0
        assert service.kept == [b"ab"]


async def test_large_data_sets_are_streamed() -> None:
    dataset = bytes(range(251)) * 40_000  # 10 MB
    async with listening(spool_from=2_000_000) as (listener, service), Peer.connect(listener.address) as peer:
        await peer.associate()
        for number in (1, 2):
            assert (await peer.store(dataset, message_id=number)).status == 0
        assert service.kept == [dataset, dataset]
        assert (await peer.store(b"small")).status == 0


async def test_a_stream_waits_for_the_disk() -> None:
    gate = asyncio.Event()
    dataset = bytes(40_000_000)
    async with listening(Service(gate=gate), spool_from=2_000_000) as (listener, service):
        async with Peer.connect(listener.address) as peer:
            await peer.associate()
            sending = asyncio.create_task(peer.send(store_rq() + data(dataset)))
            await asyncio.sleep(0.5)
            (association,) = listener._associations
            assert association.received < 20_000_000
            gate.set()
            await sending
            assert (await peer.response()).status == 0
        assert service.kept == [dataset]


async def test_without_a_stream_large_data_sets_are_refused() -> None:
    async with listening(Service(streams=False), spool_from=2_000_000) as (listener, service):
        async with Peer.connect(listener.address) as peer:
            await peer.associate()
            assert (await peer.store(bytes(5_000_000))).status == Status.OUT_OF_RESOURCES
            assert (await peer.store(b"small", message_id=2)).status == 0
        assert service.kept == [b"small"]


async def test_memory_of_all_associations_together_is_bounded() -> None:
    async with (
        listening(Service(streams=False), budget=3_000_000) as (listener, service),
        Peer.connect(listener.address) as two,
    ):
        await two.associate()
        async with Peer.connect(listener.address) as one:
            await one.associate()
            await one.send(store_rq() + p_data((1, 0, bytes(190_000))) * 10)
            await asyncio.sleep(0.1)
            assert (await two.store(bytes(1_900_000))).status == Status.OUT_OF_RESOURCES
            await one.send(p_data((1, IS_LAST, b"ab")))
            assert (await one.response()).status == 0
        await asyncio.sleep(0.1)  # what one had is free when it has gone
        assert listener.budget._left == 3_000_000
        assert (await two.store(bytes(1_900_000), message_id=2)).status == 0
        assert len(service.kept) == 2


async def test_a_refused_stream_is_read_to_its_end() -> None:
    refusing = Service(error=InvalidHeader())
    async with listening(refusing, spool_from=2_000_000) as (listener, _), Peer.connect(listener.address) as peer:
        await peer.associate()
        assert (await peer.store(bytes(20_000_000))).status == Status.CANNOT_UNDERSTAND
        await peer.release()


@pytest.mark.parametrize("how", ["close", "abort", "release", "violate"])
async def test_a_stream_that_breaks_off_is_not_kept(how: str) -> None:
    async with listening(spool_from=2_000_000) as (listener, service):
        async with Peer.connect(listener.address) as peer:
            await peer.associate()
            await peer.send(store_rq() + p_data((1, 0, bytes(200_000))) * 20)
            if how == "abort":
                await peer.send(pdu.encode(pdu.Abort()))
            elif how == "release":
                await peer.send(pdu.encode(pdu.ReleaseRq()))
                await peer.receive()
            elif how == "violate":
                await peer.send(b"\xff" * 10)
                await aborted(peer)
        async with asyncio.timeout(5):
            await service.answered.wait()
        assert service.broken_off
        assert service.kept == []


async def test_an_instance_that_has_arrived_is_stored_although_its_sender_left() -> None:
    gate = asyncio.Event()
    async with listening(Service(gate=gate)) as (listener, service):
        async with Peer.connect(listener.address) as peer:
            await peer.associate()
            await peer.send(store_rq() + data(b"ab"))
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        gate.set()
        async with asyncio.timeout(5):
            await service.answered.wait()
        assert service.kept == [b"ab"]


async def test_stopping_lets_a_complete_instance_be_answered() -> None:
    gate = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        async with listening(Service(gate=gate)) as (listener, service):
            peer = await stack.enter_async_context(Peer.connect(listener.address))
            idle = await stack.enter_async_context(Peer.connect(listener.address))
            await peer.associate()
            await idle.associate()
            await peer.send(store_rq() + data(b"ab"))
            await asyncio.sleep(0.05)
            asyncio.get_running_loop().call_later(0.2, gate.set)
        assert (await peer.response()).status == 0
        assert await aborted(peer) == b"\0\0"
        assert await aborted(idle) == b"\0\0"
        assert service.kept == [b"ab"]


async def test_requests_sent_ahead_wait_their_turn() -> None:
    async with listening() as (listener, service), Peer.connect(listener.address) as peer:
        await peer.associate()
        sets = [bytes((number,)) * 300_000 for number in range(20)]
        script = b"".join(store_rq(message_id=number) + data(one) for number, one in enumerate(sets))
        sending = asyncio.create_task(peer.send(script))
        answers = [await peer.response() for _ in sets]
        await sending
        assert [answer.message_id for answer in answers] == list(range(20))
        assert service.kept == sets


async def test_answers_that_nobody_reads_are_not_piled_up() -> None:
    async with listening() as (listener, _), Peer.connect(listener.address) as peer:
        await peer.associate((VERIFICATION, EXPLICIT))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                while True:
                    await peer.send(echo_rq() * 1000)
        (association,) = listener._associations
        assert association._transport is not None
        assert association._transport.get_write_buffer_size() < 200_000
        peer.writer.transport.abort()


async def test_memory_that_a_sink_kept_is_left_to_it() -> None:
    async with listening(Service(keep_views=True)) as (listener, service), Peer.connect(listener.address) as peer:
        await peer.associate()
        await peer.store(b"first!")
        await peer.store(b"second", message_id=2)
        assert [bytes(view) for view in service.shared] == [b"first!", b"second"]


async def test_a_taken_port_is_said_in_one_line() -> None:
    async with listening() as (listener, service):
        other = Listener(ListenerSettings(*listener.address), service, make_logger(io.StringIO()))
        with pytest.raises(PortInUse):
            await other.__aenter__()
