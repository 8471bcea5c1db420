"""Clients that misbehave at the local listener: they drip, stall, do not read, smuggle, lie about hosts, mark up."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Self

import pytest
from aiohttp import ClientSession, DummyCookieJar
from support.ct import CtStudy
from support.running import Running, running

from node.api import bodies, listener

SECURE = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "leveret",
}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "north") as one:
        yield one


class Raw:
    """A connection that sends bytes as they are."""

    def __init__(self, node: Running) -> None:
        host, _, port = node.node.addresses["api"].rpartition(":")
        self._address = host, int(port)

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.writer.transport.abort()

    async def says(self, data: bytes) -> bytes:
        """All that comes until the other side hangs up."""
        self.writer.write(data)
        return await self.end()

    async def end(self) -> bytes:
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(30):
                return await self.reader.read()
        return b""


def requests_of_two(middle: str, body: str) -> bytes:
    """A request whose length is said in two ways, and what would then be taken for another."""
    head = f"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{middle}\r\n"
    return (head + body).encode("latin-1")


INNER = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
SMUGGLED = {
    "length and chunks": requests_of_two("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + INNER),
    "two lengths": requests_of_two(f"Content-Length: 0\r\nContent-Length: {len(INNER)}\r\n", INNER),
    "signed length": requests_of_two("Content-Length: +4\r\n", INNER),
    "length of two numbers": requests_of_two("Content-Length: 0, 44\r\n", INNER),
    "blank before the colon": requests_of_two(f"Content-Length : {len(INNER)}\r\n", INNER),
    "chunked twice": requests_of_two("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n" + INNER),
    "chunked and something": requests_of_two("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n" + INNER),
    "nearly chunked": requests_of_two("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n" + INNER),
    "folded": requests_of_two("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n" + INNER),
    "bare line feed": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "chunk that is none": requests_of_two("Transfer-Encoding: chunked\r\n", "0x1\r\na\r\n0\r\n\r\n" + INNER),
    "nul in a field": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "version 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "long line": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "long field": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "many fields": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 500 + b"\r\n",
}


async def test_requests_with_two_meanings_have_none(node: Running) -> None:
    """Nobody gets a second answer out of one request, nor sees his bytes again, and the connection ends."""
    for name, data in SMUGGLED.items():
        async with Raw(node) as raw:
            said = await raw.says(data)
        assert len(re.findall(rb"HTTP/1\.1 [0-9]{3} ", said)) <= 1, (name, said)
        assert not re.match(rb"HTTP/1\.1 [23]", said), (name, said)
        assert b"leveret_" not in said, name
        assert b"aaaa" not in said, name
        if said:
            head, _, body = said.partition(b"\r\n\r\n")
            assert json.loads(body)["code"] in {"invalid_input", "too_large", "wrong_host"}, (name, said)
            assert b"nosniff" in head, name
    assert (await node.done("GET", "/status"))["problems"] == []


async def test_heads_that_drip_are_not_waited_for(node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "KEEPALIVE_SECONDS", 0.5)
    async with Raw(node) as raw:
        dripping = asyncio.create_task(_drip(raw, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 500))
        assert await raw.end() == b""
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def _drip(raw: Raw, data: bytes) -> None:
    for byte in data:
        raw.writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def test_bodies_that_stall_or_drip_are_not_waited_for(node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    head = requests_of_two("Content-Length: 999\r\n", "")
    monkeypatch.setattr(bodies, "READ_SECONDS", 0.2)
    async with Raw(node) as raw:
        assert b"upload_broken" in await raw.says(head + b"{")
    monkeypatch.setattr(bodies, "READ_SECONDS", 60.0)
    monkeypatch.setattr(bodies, "GRACE_SECONDS", 0.3)
    async with Raw(node) as raw:
        raw.writer.write(head)
        dripping = asyncio.create_task(_drip(raw, b" " * 900))
        assert b"upload_broken" in await raw.end()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_answers_that_are_not_read_are_not_kept(node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(listener, "UNREAD_SECONDS", 0.3)
    monkeypatch.setattr(listener, "UNREAD_RATE", 10**9)
    token = await node.token("operator")
    path = "/api/v1/openapi.json"
    ask = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with _small_window(node) as silent:
        silent.sendall(ask * 40)  # several megabytes of answers, none of which is read
        async with asyncio.timeout(20):
            while "nothing is read" not in node.logged.getvalue():  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.05)
    async with ClientSession(node.api) as http, http.get("/healthz") as answer:
        assert answer.status == 200


@contextlib.contextmanager
def _small_window(node: Running) -> Iterator[socket.socket]:
    host, _, port = node.node.addresses["api"].rpartition(":")
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect((host, int(port)))
        yield silent


async def test_one_address_cannot_take_every_connection(node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CONNECTIONS", 8)
    host, _, port = node.node.addresses["api"].rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection((host, int(port))))
        async with asyncio.timeout(10):
            while "too many connections" not in node.logged.getvalue():  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.02)
    async with asyncio.timeout(10), ClientSession(node.api) as http:
        while True:  # what has hung up makes room
            with contextlib.suppress(OSError):
                async with http.get("/healthz") as answer:
                    assert answer.status == 200
                    break
            await asyncio.sleep(0.05)


async def test_every_answer_says_what_browsers_must_not_do(node: Running) -> None:
    operator = {"Authorization": f"Bearer {await node.token('operator')}"}
    paths = (
        "/healthz",
        "/api/v1/status",
        "/api/v1/nothing",
        "/dicom-web/studies",
        "/console/",
        "/console/login",
        "/portal/",
    )
    async with ClientSession(node.api) as http:
        for path in paths:
            for headers in ({}, operator):
                async with http.get(path, headers=headers, allow_redirects=False) as answer:
                    got = {name: answer.headers.get(name) for name in SECURE}
                    assert got == SECURE, path
                    policy = answer.headers["Content-Security-Policy"]
                    assert "frame-ancestors 'none'" in policy, path
                    assert "unsafe" not in policy, path
                    assert "Access-Control-Allow-Origin" not in answer.headers, path
                    assert "Set-Cookie" not in answer.headers, path


FOREIGN = (
    "https://evil.example/",
    "//evil.example",
    "/\\evil.example",
    "/console/../../evil",
    "/console//evil.example",
    "javascript:alert(1)",
    "/console/\r\nSet-Cookie: a=b",
    "/console/@evil.example",
    "https:evil.example",
    "/portal/\t//evil.example",
)


async def test_nobody_is_sent_to_another_site(node: Running) -> None:
    """After signing in, and where one is asked to."""
    await node.done("POST", "/users", json={"name": "anna", "role": "clinician", "password": "correct horse battery"})
    async with ClientSession(node.api, cookie_jar=DummyCookieJar()) as http:
        for place in FOREIGN:
            form = {"user": "anna", "password": "correct horse battery", "next": place}
            async with http.post("/console/login", data=form, allow_redirects=False) as answer:
                assert answer.status == 303
                assert re.fullmatch(r"/console/(?:[a-z]+)?", answer.headers["Location"]), place
        for path in ("/console//evil.example", "/portal//evil.example"):
            async with http.get(path, allow_redirects=False) as answer:
                assert "evil" not in answer.headers.get("Location", "").partition("?")[0], path


REBOUND = ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::ffff:1]", "a@localhost")


async def test_names_that_resolve_here_are_not_answered(node: Running) -> None:
    """DNS rebinding: the page's own name stands in Host, whatever it resolves to; so does one address of another."""
    async with ClientSession(node.api) as http:
        for host in (
            "rebound.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::ffff:1]",
            "a@localhost",
        ):
            for path in ("/healthz", "/api/v1/session", "/console/login", "/dicom-web/studies"):
                async with http.get(path, headers={"Host": host}, allow_redirects=False) as answer:
                    assert answer.status == 421, (host, path)
                    assert "evil" not in await answer.text()


async def test_nothing_from_outside_makes_a_line_of_the_log(node: Running) -> None:
    forged = '\n{"event": "forged", "level": "critical"}\n'
    study = CtStudy(instances=1, rows=16, patient_name="Evil\x1b[31m^" + "Line", patient_id="LOGGED-ID")
    run = (await node.done("POST", "/imports"))["import_id"]
    await node.done("POST", f"/imports/{run}/files", data=next(study.files()))
    await node.done("POST", f"/imports/{run}/end")
    async with ClientSession(node.api) as http:
        for path in (
            "/api/v1/" + forged.encode().hex(),
            "/%0A%7B%22event%22%3A%22forged%22%7D",
            "/console/%0D%0Aforged",
        ):
            async with http.get(path) as answer:
                assert answer.status in {303, 404}
        headers = {"User-Agent": "forged", "Referer": "http://forged.example/", "Authorization": "Bearer forged"}
        async with http.get("/api/v1/status", headers=headers) as answer:
            assert answer.status == 401
        async with http.post("/api/v1/session", json={"name": forged, "password": "forged"}) as answer:
            assert answer.status == 401
    lines = node.logged.getvalue().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert not any("forged" in line or "Evil" in line or "LOGGED-ID" in line for line in lines)
