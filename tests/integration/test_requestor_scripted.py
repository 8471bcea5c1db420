"""Calling systems that misbehave: whatever they do, the caller gets an error with a reason, and nothing stays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from support.dicom_peer import CT, EXPLICIT, VERIFICATION, p_data
from support.peers import free_port

from node.dicom.upper_layer import pdu
from node.dicom.upper_layer.codes import PduType
from node.dicom.upper_layer.command import MoveOriginator, Request, decode_request, encode_response
from node.dicom.upper_layer.items import UserInformation
from node.dicom.upper_layer.requestor import Association, Limits
from node.errors import LeveretError
from node.errors.dimse import (
    AssociationBusy,
    AssociationLost,
    AssociationRejected,
    DicomUnreachable,
    NotAccepted,
)

Script = Callable[["Acceptor"], Awaitable[None]]
CONTEXTS = [pdu.ProposedContext(1, VERIFICATION, (EXPLICIT,)), pdu.ProposedContext(3, CT, (EXPLICIT,))]
QUICK = Limits(connect=2, associate=0.5, response=0.5, stall=0.5, release=0.5)


class Acceptor:
    """The other side, as its script says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        head = await self.reader.readexactly(6)
        return head[0], await self.reader.readexactly(int.from_bytes(head[2:], "big"))

    async def accept(self, *results: int, max_length: int = 16384) -> None:
        kind, _ = await self.receive()
        assert kind == PduType.ASSOCIATE_RQ
        contexts = tuple(
            pdu.ContextAnswer(2 * number + 1, result, EXPLICIT) for number, result in enumerate(results or (0, 0))
        )
        answer = pdu.AssociateAc(pdu.Titles.of("A", "B"), contexts, UserInformation(max_length))
        await self.send(pdu.encode(answer))

    async def request(self) -> tuple[Request, bytes]:
        """The next request and its data set."""
        _, body = await self.receive()
        request = decode_request(body[6:])
        dataset, last = b"", not request.has_dataset
        while not last:
            _, body = await self.receive()
            assert len(body) <= 16384
            dataset += body[6:]
            last = bool(body[5] & pdu.IS_LAST)
        return request, dataset

    async def answer(self, context_id: int, request: Request, status: int = 0) -> None:
        await self.send(p_data((context_id, 3, encode_response(request, status))))

    async def release(self) -> None:
        assert (await self.receive())[0] == PduType.RELEASE_RQ
        await self.send(pdu.encode(pdu.ReleaseRp()))


@asynccontextmanager
async def system(script: Script) -> AsyncIterator[int]:
    """Listens; a script that fails fails the test."""
    ended: list[asyncio.Future[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        done = asyncio.get_running_loop().create_future()
        ended.append(done)
        try:
            await script(Acceptor(reader, writer))
            done.set_result(None)
        except (asyncio.IncompleteReadError, ConnectionError):
            done.set_result(None)
        except Exception as error:  # noqa: BLE001 - the test has it
            done.set_exception(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
        for one in ended:
            await asyncio.wait_for(one, 5)
    finally:
        server.close()
        await server.wait_closed()


def calling(port: int) -> Association:
    return Association("127.0.0.1", port, calling="ME", called="IT", contexts=CONTEXTS, limits=QUICK)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for one in data:
        yield one


async def store(association: Association, *data: bytes) -> int:
    reply = await association.store(3, pieces(*data), sop_class_uid=CT, sop_instance_uid="1.2.3")
    return reply.status


async def test_data_sets_arrive_whole_however_they_are_cut() -> None:
    seen: list[bytes] = []
    requests: list[Request] = []

    async def script(it: Acceptor) -> None:
        await it.accept()
        for _ in range(5):
            request, dataset = await it.request()
            requests.append(request)
            seen.append(dataset)
            await it.answer(3, request)
        await it.release()

    big = bytes(range(256)) * 400
    cuts = [[big], [big[:1], big[1:4], b"", big[4:50_001], big[50_001:]], [b""], [], [b"a", b"b", b"c"]]
    async with system(script) as port, calling(port) as association:
        assert association.accepted == {1: (VERIFICATION, EXPLICIT), 3: (CT, EXPLICIT)}
        for cut in cuts:
            reply = await association.store(
                3, pieces(*cut), sop_class_uid=CT, sop_instance_uid="1.2.3", originator=MoveOriginator("WHO", 7)
            )
            assert reply.status == 0
    assert seen == [big, big, b"", b"", b"abc"]
    assert [one.message_id for one in requests] == [1, 2, 3, 4, 5]
    assert requests[0].originator == MoveOriginator("WHO", 7)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((1, 1, 7), AssociationRejected, "called AE title not recognized"),
        ((1, 1, 3), AssociationRejected, "calling AE title not recognized"),
        ((2, 3, 2), AssociationBusy, "limit"),
        ((1, 9, 9), AssociationRejected, "unknown reason"),
    ],
)
async def test_rejections_say_why(answer: tuple[int, int, int], error: type[LeveretError], words: str) -> None:
    async def script(it: Acceptor) -> None:
        await it.receive()
        await it.send(pdu.encode(pdu.AssociateRj(*answer)))

    async with system(script) as port:
        with pytest.raises(error, match=words):
            await calling(port).__aenter__()


async def silence(it: Acceptor) -> None:
    await it.receive()
    await it.reader.read()


async def hang_up(it: Acceptor) -> None:
    await it.receive()


async def babble(it: Acceptor) -> None:
    await it.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await it.reader.read()


async def abort(it: Acceptor) -> None:
    await it.receive()
    await it.send(pdu.encode(pdu.Abort()))


async def no_room(it: Acceptor) -> None:
    await it.accept(max_length=7)
    await it.reader.read()


@pytest.mark.parametrize("script", [silence, hang_up, babble, abort, no_room])
async def test_no_association_comes_of_it(script: Script) -> None:
    async with system(script) as port:
        with pytest.raises(AssociationLost):
            await calling(port).__aenter__()


async def test_nobody_listens() -> None:
    with pytest.raises(DicomUnreachable):
        await calling(free_port()).__aenter__()
    with pytest.raises(DicomUnreachable):
        await Association(
            "no-such-host.invalid", 104, calling="ME", called="IT", contexts=CONTEXTS, limits=QUICK
        ).__aenter__()


async def wrong_id(it: Acceptor) -> None:
    await it.accept()
    request, _ = await it.request()
    await it.answer(3, Request(request.command, 99, False, CT))
    await it.reader.read()


async def a_request(it: Acceptor) -> None:
    await it.accept()
    await it.send(p_data((3, 3, b"\0\0\0\1\2\0\0\0\1\0")))
    await it.reader.read()


async def never(it: Acceptor) -> None:
    await it.accept()
    await it.request()
    await it.reader.read()


async def hang_up_then(it: Acceptor) -> None:
    await it.accept()
    await it.receive()


async def release_then(it: Acceptor) -> None:
    await it.accept()
    await it.request()
    await it.send(pdu.encode(pdu.ReleaseRq()))
    await it.reader.read()


async def other_context(it: Acceptor) -> None:
    await it.accept()
    request, _ = await it.request()
    await it.answer(77, request)
    await it.reader.read()


@pytest.mark.parametrize("script", [wrong_id, a_request, never, hang_up_then, release_then, other_context])
async def test_no_answer_comes_of_it(script: Script) -> None:
    async with system(script) as port:
        with pytest.raises(AssociationLost):
            await store_and_echo(port)


async def store_and_echo(port: int) -> None:
    async with calling(port) as association:
        await store(association, b"ab" * 1000)
        await association.echo()


async def test_one_that_does_not_read_stalls_nobody_for_long() -> None:
    async def script(it: Acceptor) -> None:
        it.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    async def accepting(it: Acceptor) -> None:
        await it.accept(max_length=0)
        await script(it)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    async with system(accepting) as port:
        with pytest.raises(AssociationLost):
            async with calling(port) as association:
                await association.store(3, endless(), sop_class_uid=CT, sop_instance_uid="1.2.3")


async def test_a_data_set_that_cannot_be_read_to_its_end_costs_the_association() -> None:
    aborted = asyncio.Event()

    async def script(it: Acceptor) -> None:
        await it.accept()
        while (await it.receive())[0] != PduType.ABORT:
            pass
        aborted.set()

    async def broken() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"
        raise NotAccepted("the disk")

    async with system(script) as port:
        with pytest.raises(NotAccepted, match="the disk"):
            async with calling(port) as association:
                await association.store(3, broken(), sop_class_uid=CT, sop_instance_uid="1.2.3")
        await asyncio.wait_for(aborted.wait(), 5)


async def test_what_was_not_accepted_is_said_without_asking() -> None:
    async def script(it: Acceptor) -> None:
        await it.accept(3, 0)
        await it.release()

    async with system(script) as port, calling(port) as association:
        assert association.accepted == {3: (CT, EXPLICIT)}
        with pytest.raises(NotAccepted):
            await association.echo()


async def test_both_may_ask_for_release_at_once() -> None:
    async def script(it: Acceptor) -> None:
        await it.accept()
        assert (await it.receive())[0] == PduType.RELEASE_RQ
        await it.send(pdu.encode(pdu.ReleaseRq()))
        assert (await it.receive())[0] == PduType.RELEASE_RP
        await it.send(pdu.encode(pdu.ReleaseRp()))

    async with system(script) as port, calling(port):
        pass


async def test_a_cancelled_caller_leaves_an_abort_behind() -> None:
    heard = asyncio.Event()

    async def script(it: Acceptor) -> None:
        await it.accept()
        while (await it.receive())[0] != PduType.ABORT:
            pass
        heard.set()

    async def call(port: int) -> None:
        async with calling(port) as association:
            await store(association, b"ab")

    async with system(script) as port:
        task = asyncio.create_task(call(port))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(heard.wait(), 5)
