"""DICOM TLS before dcmtk: a listener, calls to a system, certificates that nobody trusts."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.certificates import Authority, PemPair
from support.ct import CtStudy
from support.dimse import DimseNode, call, dimse_node
from support.peers import storescp
from support.store import keys

from node.crypto.dicom_tls import KeyPair, client_context, server_context
from node.dicom.upper_layer import door
from node.dicom.upper_layer.door import TlsEndpoint
from node.errors.dimse import DicomTlsUnusable
from node.sharing.pacs_test import try_pacs

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pki")


@pytest.fixture(scope="module")
def hospital(folder: Path) -> Authority:
    return Authority(folder, "hospital")


@pytest.fixture(scope="module")
def ours(hospital: Authority) -> PemPair:
    return hospital.sign("leveret")


@pytest.fixture(scope="module")
def modality(hospital: Authority) -> PemPair:
    return hospital.sign("modality")


@pytest.fixture(scope="module")
def stranger(folder: Path) -> PemPair:
    return Authority(folder, "stranger-ca").sign("stranger")


@pytest.fixture
async def node(tmp_path: Path, ours: PemPair, hospital: Authority) -> AsyncIterator[DimseNode]:
    pair = KeyPair(keys().identity, str(ours.certificate), str(ours.key))
    tls = TlsEndpoint("127.0.0.1", 0, server_context(pair, str(hospital.path)))
    async with dimse_node(tmp_path, tls=tls) as made:
        yield made


def tls_options(pair: PemPair, authority: Authority) -> tuple[str, ...]:
    return "+tls", str(pair.key), str(pair.certificate), "+cf", str(authority.path)


async def test_dcmtk_stores_and_verifies_by_tls(
    node: DimseNode, tmp_path: Path, modality: PemPair, hospital: Authority
) -> None:
    assert node.scp.tls_address is not None
    port = node.scp.tls_address[1]
    study = CtStudy(instances=2, rows=64, seed=41)
    study.write(tmp_path / "files")
    options = (*tls_options(modality, hospital), "-aec", "LEVERET", "127.0.0.1", port)
    status, said = await call("echoscu", *options)
    assert status == 0, said
    status, said = await call("storescu", *options[:-2], "+sd", *options[-2:], tmp_path / "files")
    assert status == 0, said
    await node.store.indexed()
    assert len(node.logged.getvalue().splitlines()) >= 2
    status, said = await call("echoscu", "-aec", "LEVERET", "127.0.0.1", node.port)  # the other door stays plain
    assert status == 0, said


async def test_a_caller_without_a_good_certificate_gets_no_association(
    node: DimseNode, stranger: PemPair, hospital: Authority
) -> None:
    assert node.scp.tls_address is not None
    where = ("-aec", "LEVERET", "-ta", "5", "127.0.0.1", node.scp.tls_address[1])
    for options in (tls_options(stranger, hospital), ("+tla", "+cf", str(hospital.path)), ()):
        status, _ = await call("echoscu", *options, *where)
        assert status != 0, options
    status, said = await call("echoscu", "-aec", "LEVERET", "127.0.0.1", node.port)
    assert status == 0, said


async def test_the_nodes_own_identity_will_do_where_nobody_asks_for_a_name(tmp_path: Path) -> None:
    tls = TlsEndpoint("127.0.0.1", 0, server_context(KeyPair(keys().identity), ""))
    async with dimse_node(tmp_path, tls=tls) as node:
        assert node.scp.tls_address is not None
        options = ("+tla", "-ic", "-aec", "LEVERET", "127.0.0.1", node.scp.tls_address[1])
        status, said = await call("echoscu", *options)
        assert status == 0, said


async def test_whoever_only_connects_takes_no_place_for_long(
    node: DimseNode, modality: PemPair, hospital: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MAX_HANDSHAKES", 3)
    assert node.scp.tls_address is not None
    crowd = [await asyncio.open_connection(*node.scp.tls_address) for _ in range(6)]
    where = ("-aec", "LEVERET", "127.0.0.1", node.scp.tls_address[1])
    status, said = await call("echoscu", *tls_options(modality, hospital), *where)
    assert status == 0, said
    for reader, _ in crowd[:3]:
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read(1) == b""
    for _, writer in crowd:
        writer.close()


async def test_old_tls_and_weak_suites_are_refused(node: DimseNode, modality: PemPair) -> None:
    def handshake(context: ssl.SSLContext) -> str | None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(modality.certificate, modality.key)
        assert node.scp.tls_address is not None
        with socket.create_connection(node.scp.tls_address, 5) as plain, context.wrap_socket(plain) as tls:
            return tls.version()

    good = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    good.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await asyncio.to_thread(handshake, good) == "TLSv1.2"
    weak = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA256:AES128-GCM-SHA256:ECDHE-RSA-AES128-SHA256")  # no forward secrecy, or no AEAD
    with pytest.raises(OSError, match=r"(?i)handshake|reset|closed|alert|eof"):
        await asyncio.to_thread(handshake, weak)


async def test_a_system_is_called_by_tls_if_its_certificate_is_the_one_expected(
    node: DimseNode, tmp_path: Path, hospital: Authority, modality: PemPair, stranger: PemPair
) -> None:
    options = ("+tls", str(modality.key), str(modality.certificate), "-ic", "-aet", "ARCHIVE")
    with storescp(tmp_path / "archive", *options) as port:
        await node.know("ARCHIVE", port, tls=True, ca=hospital.path.read_text("ascii"))
        await node.know("PINNED", port, tls=True, ca=modality.certificate.read_text("ascii"))
        await node.know("WRONG", port, tls=True, ca=stranger.certificate.read_text("ascii"))
        await node.know("PLAIN", port)
        for name in ("archive", "pinned"):
            trial = await try_pacs(node.directory, node.directory.get(name))
            assert trial.ok, trial
        trial = await try_pacs(node.directory, node.directory.get("wrong"))
        assert (trial.ok, trial.code) == (False, "dicom_tls_failed")
        trial = await try_pacs(node.directory, node.directory.get("plain"))
        assert not trial.ok


def test_what_cannot_be_used_is_said_before_anything_listens(
    tmp_path: Path, hospital: Authority, ours: PemPair, modality: PemPair
) -> None:
    identity = keys().identity
    with pytest.raises(DicomTlsUnusable):
        KeyPair(identity, str(ours.certificate))
    with pytest.raises(DicomTlsUnusable):
        server_context(KeyPair(identity, str(ours.certificate), str(modality.key)), "")
    with pytest.raises(DicomTlsUnusable):
        server_context(KeyPair(identity, str(ours.certificate), str(tmp_path / "no.key")), "")
    with pytest.raises(DicomTlsUnusable):
        server_context(KeyPair(identity), str(tmp_path / "no.pem"))
    with pytest.raises(DicomTlsUnusable):
        client_context(KeyPair(identity), "no certificate")
    with pytest.raises(DicomTlsUnusable):
        client_context(KeyPair(identity), ours.key.read_text("ascii"))
    server_context(KeyPair(identity), str(hospital.path))
