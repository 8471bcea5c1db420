"""Real sockets, real TLS, peers that misbehave."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from unittest.mock import patch

import msgspec
import pytest
from aiohttp import web
from support.peer_node import PeerNode, raw_connect, serving

from node.crypto.tls import PAIRING_NAME, client_context, pairing_client_context
from node.errors.peers import (
    BodyTooLarge,
    PeerInterrupted,
    PeerProtocolViolation,
    PeerRefusesUs,
    PeerUnreachable,
    RemoteBusy,
    RemoteRefusal,
)
from node.errors.setup import PortInUse
from node.errors.trust import PeerNotTrusted
from node.model.trust import Address, TrustState
from node.peers import limits
from node.peers.wire import body_reader, bytes_reply, json_reply, peer_of, read_body, read_struct, stream_reply


class Greeting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    words: str


async def _hello(request: web.Request) -> web.Response:
    return json_reply(Greeting(peer_of(request).compact))


async def _echo(request: web.Request) -> web.Response:
    return json_reply(await read_struct(request, Greeting))


async def _size(request: web.Request) -> web.Response:
    return bytes_reply(str(len(await read_body(request, limit=1000))).encode())


async def _torrent(request: web.Request) -> web.StreamResponse:
    piece = bytes(limits.PIECE_BYTES)
    async with stream_reply(request) as out:
        for _ in range(int(request.query["pieces"])):
            await out.write(piece)
    return out.response


async def _trickle(request: web.Request) -> web.StreamResponse:
    async with stream_reply(request) as out:
        for _ in range(2000):
            await out.write(b"x" * 4096)
            await asyncio.sleep(0.01)
    return out.response


async def _torn(request: web.Request) -> web.StreamResponse:
    async with stream_reply(request) as out:
        await out.write(b"half of it")
        await _fail()
    return out.response


async def _fail() -> None:
    raise BodyTooLarge


async def _crash(_request: web.Request) -> web.Response:
    raise RuntimeError("PATIENT^NAME")


async def _slow(_request: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return bytes_reply(b"")


async def _count(request: web.Request) -> web.Response:
    reader = body_reader(request, limit=10**9)
    async for _piece in reader:
        pass
    return bytes_reply(str(reader.received).encode())


async def _odd(_request: web.Request) -> web.Response:
    return web.Response(status=400, headers={"Content-Type": "'';\u0130*"})  # the mail package: IndexError


ROUTES = [
    web.get("/hello", _hello),
    web.get("/odd", _odd),
    web.post("/echo", _echo),
    web.post("/size", _size),
    web.post("/count", _count),
    web.get("/torrent", _torrent),
    web.get("/trickle", _trickle),
    web.get("/torn", _torn),
    web.get("/crash", _crash),
    web.get("/slow", _slow),
]


@pytest.fixture
async def pair() -> AsyncIterator[tuple[PeerNode, PeerNode]]:
    """A server and a client that trust each other."""
    north, lake = PeerNode(routes=ROUTES), PeerNode()
    async with serving(north, lake):
        north.trusts(lake)
        lake.trusts(north)
        yield north, lake


Pair = tuple[PeerNode, PeerNode]


async def _until(check: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def _answer(reader: asyncio.StreamReader, seconds: float = 10.0) -> bytes:
    """What comes until the other side closes; empty if it just closes."""
    try:
        async with asyncio.timeout(seconds):
            return await reader.read(65536)
    except (ConnectionError, ssl.SSLError):
        return b""


async def test_a_trusted_peer_is_known_by_its_certificate(pair: Pair) -> None:
    north, lake = pair
    answer = await lake.clients.get(north.peer_id).call("GET", "/hello", response_type=Greeting)
    assert answer == Greeting(lake.peer_id.compact)
    assert north.directory.seen == [lake.peer_id]
    assert lake.directory.seen == [north.peer_id]
    assert await lake.clients.get(north.peer_id).call("POST", "/echo", body=answer, response_type=Greeting) == answer
    assert north.server.connections.count(lake.peer_id) == 1, "kept alive"


@pytest.mark.parametrize("state", [None, TrustState.PENDING, TrustState.SUSPENDED, TrustState.REVOKED])
async def test_who_is_not_trusted_fails_in_the_handshake(pair: Pair, state: TrustState | None) -> None:
    north, _ = pair
    stranger = PeerNode()
    async with serving(stranger):
        stranger.trusts(north)
        if state is not None:
            north.trusts(stranger, state)
        with pytest.raises(PeerRefusesUs):
            await stranger.clients.get(north.peer_id).call("GET", "/hello")
    await _until(lambda: north.handshakes("untrusted_certificate") >= 1)
    assert len(north.server.connections) == 0
    assert '"reason": "untrusted_certificate"' in north.logged.getvalue()
    assert '"address": "127.0.0.1"' in north.logged.getvalue()


async def _refused(north: PeerNode, context: ssl.SSLContext | None, first: bytes, name: str = "n.invalid") -> bytes:
    try:
        reader, writer = await raw_connect(north.server.address, context, name)
    except (ssl.SSLError, ConnectionError):
        return b""
    writer.write(first)
    answer = await _answer(reader)
    writer.close()
    return answer


REQUEST = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_no_certificate_old_tls_and_no_tls_at_all(pair: Pair) -> None:
    north, lake = pair
    anonymous = pairing_client_context(north.identity.certificate)
    assert await _refused(north, anonymous, REQUEST) == b""
    await _until(lambda: north.handshakes("no_certificate") >= 1)
    old = client_context(lake.identity, north.identity.certificate)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await _refused(north, old, REQUEST) == b""
    await _until(lambda: north.handshakes("old_tls_version") >= 1)
    assert b"HTTP" not in await _refused(north, None, REQUEST)
    await _until(lambda: north.handshakes("not_tls") >= 1)
    assert (await lake.clients.get(north.peer_id).call("GET", "/hello")) != b""


async def test_pairing_context_exists_only_while_it_is_open_and_reaches_nothing_else(pair: Pair) -> None:
    north, _ = pair
    anonymous = pairing_client_context(north.identity.certificate)
    assert await _refused(north, anonymous, REQUEST, PAIRING_NAME) == b""
    await _until(lambda: north.handshakes("pairing_closed") >= 1)
    north.tls.open_pairing(True)
    answer = await _refused(north, anonymous, REQUEST, PAIRING_NAME)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"no_such_route" in answer
    assert b"aiohttp" not in answer.lower()
    assert await _refused(north, anonymous, REQUEST) == b"", "another name still wants a certificate"


async def test_pairing_connections_are_few_and_short(pair: Pair) -> None:
    north, _ = pair
    north.tls.open_pairing(True)
    anonymous = pairing_client_context(north.identity.certificate)
    open_ones = [
        await raw_connect(north.server.address, anonymous, PAIRING_NAME) for _ in range(limits.PAIRING_CONNECTIONS)
    ]
    await _until(lambda: len(north.server.connections) == limits.PAIRING_CONNECTIONS)
    assert await _refused(north, anonymous, b"", PAIRING_NAME) == b""
    with patch.object(limits, "PAIRING_SECONDS", 0.0):
        await _until(lambda: len(north.server.connections) == 0)
    for _, writer in open_ones:
        writer.close()


async def test_suspension_cuts_a_running_answer_and_kept_alive_connections(pair: Pair) -> None:
    north, lake = pair
    client = lake.clients.get(north.peer_id)
    await client.call("GET", "/hello")
    with pytest.raises(PeerInterrupted):  # noqa: PT012 - the stream is what breaks
        async with client.stream("GET", "/trickle", max_bytes=10**9) as answer:
            async for _piece in answer:
                if answer.received > 20_000 and north.directory.states[lake.peer_id] is TrustState.TRUSTED:
                    north.trusts(lake, TrustState.SUSPENDED)
                    cut = time.monotonic()
    assert time.monotonic() - cut < 0.5
    assert len(north.server.connections) == 0
    with pytest.raises(PeerRefusesUs):
        await client.call("GET", "/hello")
    north.trusts(lake, TrustState.TRUSTED)
    assert await client.call("GET", "/hello")


async def test_the_list_is_asked_again_on_each_request(pair: Pair) -> None:
    north, lake = pair
    client = lake.clients.get(north.peer_id)
    await client.call("GET", "/hello")
    north.directory.states[lake.peer_id] = TrustState.REVOKED  # nobody told the server
    with pytest.raises(PeerRefusesUs):
        await client.call("GET", "/hello")


async def test_revoking_at_the_caller_ends_its_calls(pair: Pair) -> None:
    north, lake = pair
    client = lake.clients.get(north.peer_id)
    with pytest.raises(PeerNotTrusted):  # noqa: PT012 - the stream is what breaks
        async with client.stream("GET", "/trickle", max_bytes=10**9) as answer:
            async for _piece in answer:
                if answer.received > 20_000 and lake.directory.states[north.peer_id] is TrustState.TRUSTED:
                    lake.trusts(north, TrustState.REVOKED)
    with pytest.raises(PeerNotTrusted):
        await client.call("GET", "/hello")
    with pytest.raises(PeerNotTrusted):
        lake.clients.get(north.peer_id)


async def test_refusals_carry_the_code_and_nothing_else(pair: Pair) -> None:
    north, lake = pair
    client = lake.clients.get(north.peer_id)
    with pytest.raises(RemoteRefusal) as malformed:
        await client.call("POST", "/echo", body=b'{"words": "a", "more": 1}')
    assert (malformed.value.remote_code, malformed.value.remote_status) == ("malformed_message", 400)
    with pytest.raises(RemoteRefusal) as missing:
        await client.call("GET", "/nothing")
    assert missing.value.remote_code == "no_such_route"
    with pytest.raises(RemoteRefusal) as wrong_method:
        await client.call("DELETE", "/hello")
    assert wrong_method.value.remote_code == "no_such_route"
    with pytest.raises(RemoteBusy) as crashed:
        await client.call("GET", "/crash")
    assert crashed.value.remote_code == "internal_error"
    assert "PATIENT" not in north.logged.getvalue()
    assert '"error": "RuntimeError"' in north.logged.getvalue()


async def test_a_refusal_that_cannot_be_parsed_is_a_refusal(pair: Pair) -> None:
    north, lake = pair
    with pytest.raises(RemoteRefusal) as odd:
        await lake.clients.get(north.peer_id).call("GET", "/odd")
    assert (odd.value.remote_code, odd.value.remote_status) == ("unknown", 400)


async def test_no_exception_of_a_library_gets_past_the_client(pair: Pair) -> None:
    north, lake = pair
    with patch("aiohttp.ClientResponse.start", side_effect=IndexError), pytest.raises(PeerInterrupted):
        await lake.clients.get(north.peer_id).call("GET", "/hello")


async def test_bodies_are_counted(pair: Pair) -> None:
    north, lake = pair
    client = lake.clients.get(north.peer_id)
    assert await client.call("POST", "/size", body=bytes(1000)) == b"1000"
    with pytest.raises((RemoteRefusal, PeerInterrupted)):
        await client.call("POST", "/size", body=bytes(1001))
    reader, writer = await lake.connect(north)
    writer.write(b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(b"400\r\n" + bytes(0x400) + b"\r\n")
    assert b"413" in await _answer(reader), "chunked bodies too"
    writer.close()
    with pytest.raises(PeerProtocolViolation):
        await client.call("GET", "/torrent?pieces=2", max_bytes=limits.PIECE_BYTES)


async def test_encoded_bodies_are_refused(pair: Pair) -> None:
    north, lake = pair
    reader, writer = await lake.connect(north)
    writer.write(b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
    answer = await _answer(reader)
    assert b"415" in answer
    assert b"content_encoding_refused" in answer
    writer.close()


async def test_a_torn_answer_is_never_taken_for_a_whole_one(pair: Pair) -> None:
    north, lake = pair
    with pytest.raises(PeerInterrupted):
        await lake.clients.get(north.peer_id).call("GET", "/torn")


async def test_stalled_and_dripping_bodies_and_heads_are_cut(pair: Pair) -> None:
    north, lake = pair
    head = b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n"
    with patch.object(limits, "READ_SECONDS", 0.2):
        reader, writer = await lake.connect(north)
        writer.write(head + b"abc")
        assert b"body_too_slow" in await _answer(reader), "stalled"
        writer.close()
    with patch.object(limits, "GRACE_SECONDS", 0.2):
        reader, writer = await lake.connect(north)
        writer.write(head)
        drip = asyncio.create_task(_drip(writer))
        assert b"body_too_slow" in await _answer(reader), "dripping body"
        drip.cancel()
        writer.close()
    with patch.object(limits, "REQUEST_HEAD_SECONDS", 0.2):
        reader, writer = await lake.connect(north)
        writer.write(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Long: ")
        drip = asyncio.create_task(_drip(writer))
        assert await _answer(reader) == b"", "dripping head"
        drip.cancel()
        writer.close()


async def _drip(writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"a")
        await asyncio.sleep(0.05)


async def test_heads_have_limits_and_smuggling_shapes_are_refused(pair: Pair) -> None:
    north, lake = pair
    shapes = [
        b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /hello HTTP/1.1\r\n" + b"".join(b"X%d: 1\r\n" % i for i in range(200)) + b"\r\n",
        b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\nabc",
    ]
    for shape in shapes:
        reader, writer = await lake.connect(north)
        writer.write(shape)
        answer = await _answer(reader)
        assert b" 200 " not in answer.split(b"\r\n", 1)[0], shape[:60]
        writer.close()


async def test_five_hundred_half_open_handshakes_keep_nobody_out(pair: Pair) -> None:
    north, lake = pair
    address = north.server.address
    silent = [await asyncio.open_connection(address.host, address.port) for _ in range(500)]
    started = time.monotonic()
    assert await lake.clients.get(north.peer_id).call("GET", "/hello")
    assert time.monotonic() - started < 2.0
    assert north.handshakes("crowded_out") >= 500 - limits.HALF_OPEN
    for _, writer in silent:
        writer.close()


async def test_a_silent_handshake_ends(pair: Pair) -> None:
    north, _ = pair
    with patch.object(limits, "HANDSHAKE_SECONDS", 0.2):
        reader, writer = await raw_connect(north.server.address, None)
        assert await _answer(reader, 5) == b""
        writer.close()
    await _until(lambda: north.handshakes("timeout") == 1)


async def test_an_address_that_only_fails_is_turned_away_unread(pair: Pair) -> None:
    north, _ = pair
    with patch.object(limits, "FAILURES_BURST", 3.0), patch.object(limits, "FAILURES_PER_SECOND", 0.0):
        hostile = PeerNode(routes=ROUTES)
        async with serving(hostile):
            for _ in range(4):
                await _refused(hostile, None, b"GET / HTTP/1.0\r\n\r\n")
            await _until(lambda: hostile.handshakes("over_budget") == 1)
            assert hostile.handshakes("not_tls") == 3
    assert await _refused(north, None, b"x" * 100) == b""


async def test_connections_of_one_peer_are_capped(pair: Pair) -> None:
    north, lake = pair
    with patch.object(limits, "CONNECTIONS_PER_PEER", 2):
        first, second = await lake.connect(north), await lake.connect(north)
        await _until(lambda: north.server.connections.count(lake.peer_id) == 2)
        reader, writer = await lake.connect(north)
        assert await _answer(reader) == b""
        for w in (writer, first[1], second[1]):
            w.close()


async def test_unreachable_peers_and_peers_with_a_wrong_key(pair: Pair) -> None:
    north, lake = pair
    gone = Address("127.0.0.1", 1)
    lake.directory.addresses[north.peer_id] = [gone]
    with pytest.raises(PeerUnreachable):
        await lake.clients.get(north.peer_id).call("GET", "/hello")
    lake.directory.addresses[north.peer_id] = []
    with pytest.raises(PeerUnreachable):
        await lake.clients.get(north.peer_id).call("GET", "/hello")
    other = PeerNode(routes=ROUTES)
    async with serving(other):
        other.trusts(lake)
        lake.directory.addresses[north.peer_id] = [other.server.address]
        with pytest.raises(PeerUnreachable) as wrong:
            await lake.clients.get(north.peer_id).call("GET", "/hello")
        assert wrong.value.fact == "another node answers at its address"
        lake.directory.addresses[north.peer_id] = [gone, other.server.address, north.server.address]
        assert await lake.clients.get(north.peer_id).call("GET", "/hello"), "the next address is tried"


async def test_no_answer_in_time(pair: Pair) -> None:
    north, lake = pair
    with pytest.raises(PeerUnreachable):
        await lake.clients.get(north.peer_id).call("GET", "/slow", seconds=0.2)


async def test_a_port_in_use_is_said(pair: Pair) -> None:
    north, _ = pair
    second = PeerNode(listen=north.server.address)
    with pytest.raises(PortInUse):
        await second.server.__aenter__()
    await second.clients.__aexit__(None, None, None)


async def test_stopping_ends_running_answers(pair: Pair) -> None:
    _, lake = pair
    busy = PeerNode(routes=ROUTES)
    call: asyncio.Task[bytes] | None = None
    async with serving(busy):
        busy.trusts(lake)
        lake.trusts(busy)
        call = asyncio.create_task(lake.clients.get(busy.peer_id).call("GET", "/slow"))
        await _until(lambda: busy.server.connections.count(lake.peer_id) == 1)
        started = time.monotonic()
    assert time.monotonic() - started < 3 * limits.STOP_SECONDS
    with pytest.raises((PeerInterrupted, PeerUnreachable)):
        await call


async def test_uploads_stream_through(pair: Pair) -> None:
    north, lake = pair
    count = await lake.clients.get(north.peer_id).call("POST", "/count", body=bytes(20_000_000))
    assert count == b"20000000"
