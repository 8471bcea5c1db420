"""TLS of the local listener: given files, exchanged files, the node's own certificate, proxies, and hosts."""

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector
from support.certificates import Authority
from support.running import Running, initialised, running

from node.api import listener, server
from node.api.cookies import cookie_name
from node.api.reach import Reach
from node.config import ApiSettings
from node.crypto.identity import Identity
from node.crypto.web_tls import WebTls
from node.errors.access import ApiNeedsTls
from node.errors.base import LeveretError
from node.errors.setup import InvalidConfig, WebTlsUnusable
from node.model.trust import Address

YEAR = 365 * 86400


@asynccontextmanager
async def api(folder: Path, **changes: str) -> AsyncIterator[Running]:
    settings = await asyncio.to_thread(initialised, folder, "north")
    async with running(folder, settings=replace(settings, api=replace(settings.api, **changes))) as node:
        yield node


def port_of(node: Running) -> int:
    return int(node.node.addresses["api"].rsplit(":", 1)[1])


async def shown_by(node: Running) -> str:
    """The certificate that a new connection is shown, PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(node), ssl=context)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return str(ssl.DER_cert_to_PEM_cert(certificate))


async def test_given_files(tmp_path: Path) -> None:
    authority = await asyncio.to_thread(Authority, tmp_path, "hospital")
    pair = await asyncio.to_thread(authority.sign, "api", "localhost", "images.hospital.example")
    async with api(tmp_path / "n", tls_certificate=str(pair.certificate), tls_key=str(pair.key)) as node:
        context = ssl.create_default_context(cafile=authority.path)
        port = port_of(node)
        async with ClientSession(connector=TCPConnector(ssl=context)) as http:
            async with http.get(f"https://localhost:{port}/healthz") as answer:
                assert answer.status == 200
                assert "Strict-Transport-Security" not in answer.headers, "localhost is not this node's alone"
            async with http.get(f"https://localhost:{port}/healthz", headers={"Host": "other.example"}) as answer:
                assert answer.status == 421
        with pytest.raises(OSError):  # noqa: PT011 - how it ends depends on what is read first: an alert, or nothing
            await _with_version(node, ssl.TLSVersion.TLSv1_1)
        status = await node.done("GET", "/status")
        assert status["certificate"]["own"] is False
        assert status["url"] == f"https://localhost:{port}"


async def _with_version(node: Running, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        context.maximum_version = context.minimum_version = version
    await asyncio.open_connection("127.0.0.1", port_of(node), ssl=context)


async def test_an_exchanged_certificate_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REFRESH_SECONDS", 0.05)
    authority = await asyncio.to_thread(Authority, tmp_path, "hospital")
    old, new = [await asyncio.to_thread(authority.sign, name, "localhost") for name in ("old", "new")]
    certificate, key = tmp_path / "used.crt", tmp_path / "used.key"
    shutil.copy(old.certificate, certificate)
    shutil.copy(old.key, key)
    async with api(tmp_path / "n", tls_certificate=str(certificate), tls_key=str(key)) as node:
        assert await shown_by(node) == old.certificate.read_text()
        shutil.copy(new.certificate, certificate)  # the key is not there yet
        async with asyncio.timeout(10):
            while "certificate not taken up" not in node.logged.getvalue():  # noqa: ASYNC110 - another task's log
                await asyncio.sleep(0.02)
        assert await shown_by(node) == old.certificate.read_text(), "the former one, until both are there"
        shutil.copy(new.key, key)
        async with asyncio.timeout(10):
            while await shown_by(node) != new.certificate.read_text():  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.02)


async def test_own_certificate_beyond_loopback(tmp_path: Path) -> None:
    async with api(tmp_path / "n", listen="0.0.0.0:0", public_url="https://images.hospital.example") as node:
        port = port_of(node)
        pem = await shown_by(node)
        context = ssl.create_default_context(cadata=pem)
        async with ClientSession(connector=TCPConnector(ssl=context)) as http:
            async with http.get(f"https://127.0.0.1:{port}/healthz") as answer:
                assert answer.status == 200, "whoever put it into the list gets through, by number"
            host = {"Host": "images.hospital.example"}
            async with http.get(f"https://localhost:{port}/healthz", headers=host) as answer:
                assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        status = await node.done("GET", "/status")
        assert status["url"] == "https://images.hospital.example"
        assert status["certificate"]["own"] is True
        assert len(status["certificate"]["fingerprint"].split(":")) == 32


async def test_plain_http_is_not_answered_where_tls_is_spoken(tmp_path: Path) -> None:
    async with api(tmp_path / "n", listen="0.0.0.0:0") as node:
        port = port_of(node)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP/1.1 200" not in await reader.read()
        writer.close()


async def test_silent_handshakes_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HALF_OPEN", 4)
    async with api(tmp_path / "n", listen="0.0.0.0:0") as node:
        port = port_of(node)
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(12)]
        assert "CERTIFICATE" in await shown_by(node)
        for one in silent:
            one.close()


async def test_cookies_are_secure_behind_a_proxy(tmp_path: Path) -> None:
    """A proxy on this machine ends TLS and passes the name on; a script on this machine speaks plain HTTP."""
    async with (
        api(tmp_path / "n", public_url="https://images.hospital.example") as node,
        ClientSession(node.api) as http,
    ):
        await node.done(
            "POST", "/users", json={"name": "anna", "role": "clinician", "password": "correct horse battery"}
        )
        body = {"name": "anna", "password": "correct horse battery"}
        proxied = {"Host": "images.hospital.example"}
        async with http.post("/api/v1/session", json=body, headers=proxied) as answer:
            cookie = answer.headers["Set-Cookie"]
            assert answer.headers["Strict-Transport-Security"]
        assert cookie.startswith(f"{cookie_name(port_of(node), secure=True)}=")
        assert "; Secure" in cookie
        assert "; HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        async with http.post("/api/v1/session", json=body) as answer:
            assert answer.headers["Set-Cookie"].startswith(f"{cookie_name(port_of(node))}=")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"public_url": "http://images.hospital.example"}, ApiNeedsTls),
        ({"public_url": "images.hospital.example"}, InvalidConfig),
        ({"public_url": "https://images.hospital.example/portal"}, InvalidConfig),
        ({"public_url": "https://user@images.hospital.example"}, InvalidConfig),
        ({"public_url": "https://[::1"}, InvalidConfig),
        ({"public_url": "https://a_b.example"}, InvalidConfig),
        ({"public_url": "ftp://images.hospital.example"}, InvalidConfig),
        ({"public_url": "https://images.hospital.example:0"}, InvalidConfig),
    ],
)
def test_addresses_that_cannot_be(changes: dict[str, Any], error: type[LeveretError]) -> None:
    with pytest.raises(error):
        Reach(replace(ApiSettings(), **changes))


@pytest.mark.parametrize(
    ("listen", "public_url", "url"),
    [
        ("127.0.0.1:8080", "", "http://localhost:8080"),
        ("[::1]:8080", "", "http://localhost:8080"),
        ("10.1.2.3:443", "", "https://10.1.2.3"),
        ("[2001:db8::1]:8443", "", "https://[2001:db8::1]:8443"),
        ("0.0.0.0:8443", "", f"https://{socket.gethostname().lower()}:8443"),
        ("0.0.0.0:8443", "https://Images.Hospital.example/", "https://images.hospital.example"),
        ("127.0.0.1:8080", "http://localhost:9000", "http://localhost:9000"),
    ],
)
def test_what_it_calls_itself(listen: str, public_url: str, url: str) -> None:
    reach = Reach(ApiSettings(listen=listen, public_url=public_url))
    reach.bound(Address.parse(listen))
    assert reach.url == url


def test_the_own_certificate_stays_for_half_a_year() -> None:
    identity, now = Identity.generate(), 1_800_000_000
    seen = []
    for moment in (now, now + 86400, now + YEAR):
        tls = WebTls(identity, certificate="", key="")
        assert tls.refresh(["localhost", "10.1.2.3"], moment)
        assert not tls.refresh(["localhost", "10.1.2.3"], moment)
        assert tls.shown.expires_at > moment + 200 * 86400
        seen.append(tls.shown.fingerprint)
    assert seen[0] == seen[1] != seen[2]
    assert tls.refresh(["localhost", "10.1.2.4"], now + YEAR), "another address"


def test_unusable_files(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "hospital")
    one, other = authority.sign("one"), authority.sign("other")
    (tmp_path / "empty").touch()
    for certificate, key in (
        (one.certificate, other.key),
        (tmp_path / "absent", one.key),
        (tmp_path / "empty", one.key),
    ):
        with pytest.raises(WebTlsUnusable):
            WebTls(Identity.generate(), certificate=str(certificate), key=str(key)).refresh([], 0)
    with pytest.raises(WebTlsUnusable):
        WebTls(Identity.generate(), certificate=str(one.certificate), key="")
