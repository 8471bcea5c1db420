"""Who gets through the handshake, over real loopback sockets; both sides of each connection tell how it went."""

import asyncio
import contextlib
import datetime as dt
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from node.crypto.identity import Identity
from node.crypto.tls import (
    PAIRING_NAME,
    ServerTls,
    client_context,
    is_pairing,
    pairing_client_context,
    peer_key_of,
)
from node.errors.crypto_identity import BadCertificate, TlsKeyUnusable

HOLDER, TRUSTED, OTHER, STRANGER = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3, 4))
GREETING = b"welcome"
SECONDS = 5.0

REFUSED = "CERTIFICATE_VERIFY_FAILED"
CUT_OFF = "CONNECTIONRESETERROR"  # asyncio drops OpenSSL's alert; that there is one is shown below, in memory
NO_CERTIFICATE = "PEER_DID_NOT_RETURN_A_CERTIFICATE"


@dataclass(frozen=True)
class Outcome:
    """``server``: why its handshake failed, or "" if it did not. ``client``: what it read, or why it could not."""

    server: str
    client: bytes | str
    peer_key: bytes | None = None
    pairing: bool | None = None
    version: str | None = None
    resumed: bool | None = None


class _Greeter(asyncio.Protocol):
    """The application behind the handshake. That it was reached is what the tests want to know."""

    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(GREETING)


Client = Callable[[int], Awaitable[bytes]]


def reason_of(error: BaseException) -> str:
    return (getattr(error, "reason", None) or type(error).__name__).upper().replace(" ", "_")


async def connect(server: ServerTls, client: Client, *, before: Callable[[], None] = lambda: None) -> Outcome:
    """One connection; ``before`` runs between accepting it and reading from it."""
    loop = asyncio.get_running_loop()
    greeter = _Greeter()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        calling = asyncio.ensure_future(client(listening.getsockname()[1]))
        async with asyncio.timeout(SECONDS):
            accepted, _ = await loop.sock_accept(listening)
            before()
            try:
                await loop.connect_accepted_socket(lambda: greeter, accepted, ssl=server.context)
                refused = ""
            except OSError as exc:
                refused = reason_of(exc)
                accepted.close()
            try:
                read: bytes | str = await calling
            except OSError as exc:
                read = reason_of(exc)
    if greeter.transport is None:
        return Outcome(refused, read)
    tls = greeter.transport.get_extra_info("ssl_object")
    found = Outcome(refused, read, peer_key_of(tls), is_pairing(tls), tls.version(), tls.session_reused)
    greeter.transport.abort()
    await asyncio.sleep(0)
    return found


def calling(context: ssl.SSLContext, name: str = "") -> Client:
    async def call(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        try:
            data = await reader.readexactly(len(GREETING))
        except asyncio.IncompleteReadError as exc:
            raise ConnectionResetError from exc
        finally:
            writer.transport.abort()
        return data

    return call


def saying(data: bytes) -> Client:
    async def call(port: int) -> bytes:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        return b""

    return call


def trusting(*peers: Identity) -> ServerTls:
    server = ServerTls(HOLDER)
    server.set_trust(peer.certificate for peer in peers)
    return server


def load(context: ssl.SSLContext, key: Ed25519PrivateKey, *chain: bytes, folder: Path) -> ssl.SSLContext:
    pem = folder / "client.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + b"".join(ssl.DER_cert_to_PEM_cert(der).encode() for der in chain))
    context.load_cert_chain(pem)
    return context


def key_of(identity: Identity) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(identity.seed)


def certificate(subject: str, key: Ed25519PrivateKey, issuer: str, signer: Ed25519PrivateKey) -> bytes:
    """A certificate as an attacker would make it, with all the extensions that strict checking asks for."""

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    signs = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    built = (
        x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), 7)
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2099, 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(signs, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("leaf.invalid")]), critical=False)
    )
    return built.sign(signer, None).public_bytes(Encoding.DER)


# --- mutual --------------------------------------------------------------------------------------------------


async def test_a_trusted_peer_gets_in_and_is_known() -> None:
    outcome = await connect(trusting(TRUSTED, OTHER), calling(client_context(TRUSTED, HOLDER.certificate)))
    assert outcome == Outcome("", GREETING, TRUSTED.public_key, pairing=False, version="TLSv1.3", resumed=False)


async def test_a_server_that_was_told_nothing_trusts_nobody() -> None:
    outcome = await connect(ServerTls(HOLDER), calling(client_context(TRUSTED, HOLDER.certificate)))
    assert outcome.server == REFUSED


async def test_an_untrusted_certificate_is_refused_in_the_handshake() -> None:
    outcome = await connect(trusting(TRUSTED), calling(client_context(STRANGER, HOLDER.certificate)))
    assert outcome == Outcome(REFUSED, CUT_OFF)


async def test_no_certificate_is_refused_in_the_handshake() -> None:
    outcome = await connect(trusting(TRUSTED), calling(pairing_client_context(HOLDER.certificate)))
    assert outcome == Outcome(NO_CERTIFICATE, CUT_OFF)


async def test_tls_1_2_is_refused_in_the_handshake() -> None:
    old = client_context(TRUSTED, HOLDER.certificate)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    outcome = await connect(trusting(TRUSTED), calling(old))
    assert outcome == Outcome("UNSUPPORTED_PROTOCOL", CUT_OFF)


@pytest.mark.parametrize("sends_issuer", [True, False])
async def test_a_certificate_that_a_trusted_peer_issued_is_refused(*, sends_issuer: bool, tmp_path: Path) -> None:
    leaf_key = Ed25519PrivateKey.generate()
    leaf = certificate("leaf", leaf_key, TRUSTED.peer_id.compact, key_of(TRUSTED))
    chain = [leaf, TRUSTED.certificate] if sends_issuer else [leaf]
    context = load(pairing_client_context(HOLDER.certificate), leaf_key, *chain, folder=tmp_path)
    outcome = await connect(trusting(TRUSTED), calling(context))
    assert outcome.server == REFUSED
    assert outcome.client != GREETING


async def test_another_certificate_of_the_same_key_and_name_is_refused(tmp_path: Path) -> None:
    name = TRUSTED.peer_id.compact
    twin = certificate(name, key_of(TRUSTED), name, key_of(TRUSTED))
    context = load(pairing_client_context(HOLDER.certificate), key_of(TRUSTED), twin, folder=tmp_path)
    assert (await connect(trusting(TRUSTED), calling(context))).server == REFUSED


async def test_a_pinned_certificate_without_its_key_is_worth_nothing(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        load(pairing_client_context(HOLDER.certificate), key_of(STRANGER), TRUSTED.certificate, folder=tmp_path)


async def test_a_removed_peer_is_refused_and_an_added_one_gets_in_at_once() -> None:
    server = trusting(TRUSTED)
    first, second = (client_context(peer, HOLDER.certificate) for peer in (TRUSTED, OTHER))
    assert (await connect(server, calling(first))).client == GREETING
    server.set_trust([OTHER.certificate])
    assert (await connect(server, calling(first))).server == REFUSED
    assert (await connect(server, calling(second))).peer_key == OTHER.public_key
    server.set_trust([])
    assert (await connect(server, calling(second))).server == REFUSED


async def test_trust_counts_from_the_client_hello_not_from_the_accept() -> None:
    server = trusting(TRUSTED)
    client = calling(client_context(TRUSTED, HOLDER.certificate))
    assert (await connect(server, client, before=lambda: server.set_trust([]))).server == REFUSED


async def test_nothing_can_be_resumed_after_a_removal() -> None:
    server = trusting(TRUSTED)
    context = client_context(TRUSTED, HOLDER.certificate)
    kept: list[ssl.SSLSession | None] = []

    def blocking(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as raw:
            session = kept[0] if kept else None
            with context.wrap_socket(raw, server_hostname=PAIRING_NAME[5:], session=session) as tls:
                data = tls.recv(len(GREETING))
                kept.append(tls.session)
                return data

    async def call(port: int) -> bytes:
        return await asyncio.to_thread(blocking, port)

    assert (await connect(server, call)).client == GREETING
    assert kept[0] is not None
    assert not kept[0].has_ticket
    again = await connect(server, call)
    assert again.client == GREETING
    assert not again.resumed
    server.set_trust([])
    assert (await connect(server, call)).server == REFUSED


async def test_the_client_refuses_any_other_server() -> None:
    outcome = await connect(trusting(TRUSTED), calling(client_context(TRUSTED, OTHER.certificate)))
    assert outcome.client == REFUSED
    assert outcome.peer_key is None


async def test_many_peers() -> None:
    crowd = [Identity.generate() for _ in range(100)]
    outcome = await connect(trusting(*crowd), calling(client_context(crowd[57], HOLDER.certificate)))
    assert outcome.peer_key == crowd[57].public_key


# --- pairing -------------------------------------------------------------------------------------------------


def inviting(*peers: Identity) -> ServerTls:
    server = trusting(*peers)
    server.open_pairing(is_open=True)
    return server


def joining() -> Client:
    return calling(pairing_client_context(HOLDER.certificate), PAIRING_NAME)


async def test_an_open_invitation_lets_a_stranger_into_the_pairing_context() -> None:
    outcome = await connect(inviting(TRUSTED), joining())
    assert outcome == Outcome("", GREETING, None, pairing=True, version="TLSv1.3", resumed=False)


@pytest.mark.parametrize("who", [None, STRANGER, TRUSTED])
async def test_without_an_open_invitation_the_pairing_name_is_refused_to_everybody(who: Identity | None) -> None:
    server = inviting(TRUSTED)
    server.open_pairing(is_open=False)
    context = client_context(who, HOLDER.certificate) if who else pairing_client_context(HOLDER.certificate)
    outcome = await connect(server, calling(context, PAIRING_NAME))
    assert outcome == Outcome("CALLBACK_FAILED", CUT_OFF)


async def test_pairing_counts_from_the_client_hello_not_from_the_accept() -> None:
    server = inviting(TRUSTED)
    outcome = await connect(server, joining(), before=lambda: server.open_pairing(is_open=False))
    assert outcome.server == "CALLBACK_FAILED"


@pytest.mark.parametrize("name", ["", "leveret.invalid", "pair.leveret.invalid.example", "xpair.leveret.invalid"])
async def test_an_open_invitation_changes_nothing_for_other_names(name: str) -> None:
    server = inviting(TRUSTED)
    known = await connect(server, calling(client_context(TRUSTED, HOLDER.certificate), name))
    assert known == Outcome("", GREETING, TRUSTED.public_key, pairing=False, version="TLSv1.3", resumed=False)
    assert (await connect(server, calling(client_context(STRANGER, HOLDER.certificate), name))).server == REFUSED
    assert (await connect(server, calling(pairing_client_context(HOLDER.certificate), name))).server == NO_CERTIFICATE


async def test_a_trusted_peer_in_the_pairing_context_is_a_stranger() -> None:
    outcome = await connect(inviting(TRUSTED), calling(client_context(TRUSTED, HOLDER.certificate), PAIRING_NAME))
    assert (outcome.client, outcome.peer_key, outcome.pairing) == (GREETING, None, True)


async def test_the_joiner_refuses_anybody_but_the_inviter() -> None:
    outcome = await connect(inviting(), calling(pairing_client_context(OTHER.certificate), PAIRING_NAME))
    assert outcome.client == REFUSED


async def test_tls_1_2_is_refused_for_pairing_too() -> None:
    old = pairing_client_context(HOLDER.certificate)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (await connect(inviting(), calling(old, PAIRING_NAME))).server == "UNSUPPORTED_PROTOCOL"


class _InMemory:
    """Both ends of a connection without sockets, ``step`` bytes at a time towards the server."""

    def __init__(self, server: ServerTls, context: ssl.SSLContext, name: str | None, *, step: int = 100_000) -> None:
        self._step = step
        self._to_server, self._from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._to_client, self._from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.context.wrap_bio(self._to_server, self._from_server, server_side=True)
        self.client = context.wrap_bio(self._to_client, self._from_client, server_hostname=name)

    def shake(self) -> None:
        """Until both are done; raises what the server raises, with its alert delivered."""
        try:
            done = [False]
            while not all(done):
                done = [self._client_is_done(), self._server_is_done()]
        finally:
            self._to_client.write(self._from_server.read())

    def _client_is_done(self) -> bool:
        self._to_client.write(self._from_server.read())
        return _is_done(self.client)

    def _server_is_done(self) -> bool:
        data = self._from_client.read()
        pieces = [data[at : at + self._step] for at in range(0, len(data), self._step)]
        return all([self._feed(piece) for piece in pieces][-1:])

    def _feed(self, piece: bytes) -> bool:
        self._to_server.write(piece)
        return _is_done(self.server)


def _is_done(tls: ssl.SSLObject) -> bool:
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


@pytest.mark.parametrize("step", [1, 7, 200, 100_000])
def test_a_client_hello_in_pieces(step: int) -> None:
    server = inviting(TRUSTED)
    stranger = _InMemory(server, pairing_client_context(HOLDER.certificate), PAIRING_NAME, step=step)
    stranger.shake()
    assert (is_pairing(stranger.server), peer_key_of(stranger.server)) == (True, None)
    peer = _InMemory(server, client_context(TRUSTED, HOLDER.certificate), None, step=step)
    peer.shake()
    assert (is_pairing(peer.server), peer_key_of(peer.server)) == (False, TRUSTED.public_key)
    assert peer_key_of(peer.client) == HOLDER.public_key


@pytest.mark.parametrize(
    ("who", "name", "alert"),
    [
        (STRANGER, None, "TLSV1_ALERT_UNKNOWN_CA"),
        (None, None, "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
        (None, PAIRING_NAME, "TLSV1_UNRECOGNIZED_NAME"),
    ],
)
def test_a_refusal_tells_the_client_why(who: Identity | None, name: str | None, alert: str) -> None:
    context = client_context(who, HOLDER.certificate) if who else pairing_client_context(HOLDER.certificate)
    ends = _InMemory(trusting(TRUSTED), context, name)
    with pytest.raises(ssl.SSLError):
        ends.shake()
    # With the server's certificate judged, the client believes that it is connected; it learns otherwise by reading.
    with pytest.raises(ssl.SSLError) as heard:
        ends.client.read(1)
    assert reason_of(heard.value) == alert


@pytest.mark.parametrize(
    "data",
    [b"", b"\x16", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\1" * 70_000, bytes(300_000)],
    ids=["nothing", "one byte", "http", "huge record", "zeros"],
)
@pytest.mark.parametrize("is_open", [True, False])
async def test_what_is_no_client_hello_is_refused(*, data: bytes, is_open: bool) -> None:
    server = trusting(TRUSTED)
    server.open_pairing(is_open=is_open)
    outcome = await connect(server, saying(data))
    assert outcome.server
    assert outcome.pairing is None


def hello(name: str) -> bytes:
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        pairing_client_context(HOLDER.certificate).wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


# Python's ssl cannot show such a name to a callback and says so on stderr; what counts is that it refuses.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("is_open", [True, False])
async def test_a_server_name_that_is_not_ascii_is_refused(*, is_open: bool) -> None:
    server = trusting(TRUSTED)
    server.open_pairing(is_open=is_open)
    said = hello(PAIRING_NAME).replace(b"pair.", b"\xff\xfe\xfd\xfc.")
    assert (await connect(server, saying(said))).server == "CALLBACK_FAILED"


async def test_blocking_sockets_never_get_to_the_pairing_context() -> None:
    server = inviting(TRUSTED)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with ours, server.context.wrap_socket(ours, server_side=True):
            pass

    def join() -> None:
        context = pairing_client_context(HOLDER.certificate)
        with theirs, contextlib.suppress(OSError), context.wrap_socket(theirs, server_hostname=PAIRING_NAME) as tls:
            tls.recv(1)

    async with asyncio.timeout(SECONDS):
        _, error = await asyncio.gather(asyncio.to_thread(join), asyncio.to_thread(serve), return_exceptions=True)
    assert isinstance(error, ssl.SSLError)


# --- contexts ------------------------------------------------------------------------------------------------


def test_every_context_is_strict() -> None:
    for context in (ServerTls(HOLDER).context, client_context(TRUSTED, HOLDER.certificate)):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
    assert ServerTls(HOLDER).context.num_tickets == 0
    assert ServerTls(HOLDER).context.get_ca_certs() == []


def test_only_certificates_of_nodes_can_be_trusted() -> None:
    server = trusting(TRUSTED)
    authority = certificate("ca", key_of(STRANGER), "ca", key_of(STRANGER))
    with pytest.raises(BadCertificate):
        server.set_trust([OTHER.certificate, authority])
    for context in (pairing_client_context, lambda der: client_context(TRUSTED, der)):
        with pytest.raises(BadCertificate):
            context(authority)


async def test_a_refused_trust_list_changes_nothing() -> None:
    server = trusting(TRUSTED)
    with pytest.raises(BadCertificate):
        server.set_trust([b"nonsense"])
    assert (await connect(server, calling(client_context(TRUSTED, HOLDER.certificate)))).client == GREETING


async def test_the_trust_list_can_change_within_the_event_loop() -> None:
    server = ServerTls(HOLDER)
    with blockbuster_ctx():
        server.set_trust([TRUSTED.certificate])
        client_context(TRUSTED, HOLDER.certificate)


def test_the_key_reaches_no_file_and_leaves_no_descriptor_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = sorted(Path("/proc/self/fd").iterdir())
    server = trusting(TRUSTED)
    client_context(TRUSTED, HOLDER.certificate)
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert list(tmp_path.iterdir()) == []
    assert server.context is server.context


def test_without_proc_there_is_an_error_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str, _flags: int) -> int:
        raise OSError

    monkeypatch.setattr(os, "memfd_create", fail)
    with pytest.raises(TlsKeyUnusable):
        ServerTls(HOLDER)
