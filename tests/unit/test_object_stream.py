"""The little of HTTP that an object stream needs: strict with heads, patient with pieces, nothing beyond its place."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors.peers import BodyTooSlow, PeerInterrupted, PeerProtocolViolation, RemoteBusy, RemoteRefusal
from node.errors.sharing import FrameError
from node.peers import limits
from node.peers.frames import END_FRAME, EndFrame, FrameReader, PieceFrame, head
from node.peers.object_stream import MAX_HEAD_BYTES, ObjectStream, decode_head, encode_request

OK = b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"
LARGE = 100_000
ONE = head(0, 5) + b"image" + head(1, 4) + b"more" + END_FRAME


def busy(status: int = 429, more: str = "") -> bytes:
    body = b'{"code":"too_many_streams"}'
    lines = f"HTTP/1.1 {status} No\r\nContent-Type: application/problem+json; charset=utf-8\r\n{more}\r\n"
    return lines.encode() + body


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.0",
        b"HTTP/2 200 OK",
        b"HTTP/1.0 100 Continue",
        b"HTTP/1.0 200 OK\nX: 1",
        b"HTTP/1.0 200 OK\r\nno colon",
        b"HTTP/1.0 200 OK\r\nX : 1",
        b"HTTP/1.0 200 OK\r\nX: 1\r\n folded",
        b"HTTP/1.0 200 OK\r\nX: 1\r\nx: 2",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip",
        b"HTTP/1.0 200 OK" + b"".join(b"\r\nX%d: 1" % n for n in range(limits.FIELDS + 1)),
    ],
)
def test_what_is_no_plain_head_is_refused(raw: bytes) -> None:
    with pytest.raises(PeerProtocolViolation):
        decode_head(raw)


@given(st.binary(max_size=200))
def test_no_head_breaks_the_parser(raw: bytes) -> None:
    for candidate in (raw, b"HTTP/1.0 200 OK\r\n" + raw):
        try:
            status, _ = decode_head(candidate)
        except PeerProtocolViolation:
            continue
        assert 200 <= status < 600


def test_a_head_is_read() -> None:
    assert decode_head(OK.removesuffix(b"\r\n\r\n")) == (200, {"content-type": "application/octet-stream"})
    assert encode_request("h:1", "/p", b"{}").endswith(b"Content-Length: 2\r\n\r\n{}")


async def asked(answer: bytes, work: Callable[[ObjectStream], Any], *, cut: int = 7, hang: bool = False) -> Any:
    """What ``work`` makes of a stream whose holder answers ``answer`` in small pieces, and hangs up (or not)."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n{}")
            for start in range(0, len(answer), cut):
                writer.write(answer[start : start + cut])
                await asyncio.sleep(0)
            if hang:
                await reader.read()  # until the other side goes
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader = FrameReader(lambda index, _, length: length in {5 - index, LARGE}, piece_bytes=LARGE)
        request = encode_request("h", "/p", b"{}")
        _, stream = await asyncio.get_running_loop().create_connection(
            lambda: ObjectStream(request, reader), "127.0.0.1", port
        )
        try:
            return await work(stream)
        finally:
            await stream.close()


async def everything(stream: ObjectStream) -> list[bytes]:
    await stream.begin(5)
    bodies: list[bytes] = []
    while True:
        stream.allow(1)
        frame = await stream.take()
        if isinstance(frame, EndFrame):
            await stream.finish()
            return bodies
        assert isinstance(frame, PieceFrame)
        bodies.append(bytes(frame.data))


@pytest.mark.parametrize("cut", [1, 7, 64, 10_000])
async def test_instances_come_whole_however_they_are_cut(cut: int) -> None:
    assert await asked(OK + ONE, everything, cut=cut) == [b"image", b"more"]


async def test_no_more_is_read_than_was_allowed() -> None:
    async def one(stream: ObjectStream) -> int:
        await stream.begin(5)
        stream.allow(1)
        await stream.take()
        await asyncio.sleep(0.1)
        return stream.received

    large = b"".join(head(index, LARGE) + bytes(LARGE) for index in range(3))
    assert LARGE < await asked(OK + large, one, hang=True, cut=10_000) < 2 * LARGE


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (busy(), RemoteBusy),
        (busy(403, "Content-Length: 27\r\n"), RemoteRefusal),
        (busy(403, f"Content-Length: {10**30}\r\n"), RemoteRefusal),
        (b"HTTP/1.0 404 No\r\n\r\n", RemoteRefusal),
        (b"HTTP/1.0 500 No\r\nContent-Type: application/problem+json\r\n\r\n" + b"x" * 50_000, RemoteBusy),
        (b"220 mail.example ESMTP\r\n\r\n", PeerProtocolViolation),
        (b"HTTP/1.0 200 OK\r\nX: " + b"y" * MAX_HEAD_BYTES, PeerProtocolViolation),
        (b"HTTP/1.0 200 OK\r\n", PeerInterrupted),
        (OK, PeerInterrupted),
        (OK + head(0, 5) + b"imag", PeerInterrupted),
        (OK + head(0, 4), FrameError),
        (OK + ONE + b"more", FrameError),
    ],
)
async def test_anything_else_is_an_error(answer: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        await asked(answer, everything, cut=1000)


async def test_a_refusal_of_known_length_needs_no_end_of_the_connection() -> None:
    with pytest.raises(RemoteRefusal):
        await asked(busy(403, "Content-Length: 27\r\n"), everything, hang=True)


async def test_who_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READ_SECONDS", 0.2)
    with pytest.raises(BodyTooSlow):
        await asked(OK + head(0, 5) + b"im", everything, hang=True)
    with pytest.raises(PeerInterrupted):
        await asked(b"HTTP/1.0 200", lambda stream: stream.begin(0.2), hang=True)
