"""TLS of the local API: files that an administrator names, or a certificate that the node makes for itself.

Browsers do not take the node's identity certificate (Ed25519, and it names no host). The one made here is ECDSA on
P-256; its key follows from the identity, so that nothing secret is kept for it, and its bytes stay the same for half a
year, so that who has accepted it is not asked after every restart. Nobody vouches for it: people compare its
fingerprint with what ``leveret status`` shows, or the administrator puts it into the browsers' list.

TLS 1.3, and TLS 1.2 with forward-secret AEAD suites (RFC 9325).
"""

import datetime as dt
import hashlib
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from node.crypto.identity import Identity
from node.crypto.seal import derive
from node.errors.setup import WebTlsUnusable

_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
_PERIOD_DAYS = 182  # after that a new one is made
_VALID_DAYS = 398  # the longest that browsers take from anybody
_EARLIER = dt.timedelta(days=2)  # valid from so long before its period: clocks differ
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186-5, SP 800-186
_MAX_PEM_BYTES = 1 << 20  # a chain has a few kilobytes


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """What is shown to whoever connects."""

    is_own: bool  # made by the node: nobody vouches for it
    fingerprint: str  # SHA-256 of the certificate, hexadecimal
    expires_at: int  # seconds since the epoch


class WebTls:
    """The accepting side of the local API; :meth:`refresh` may change ``context`` and ``shown``."""

    def __init__(self, identity: Identity, *, certificate: str, key: str) -> None:
        """``certificate`` and ``key`` are paths of PEM files; both empty: the node makes its own.

        Raises:
            WebTlsUnusable: one is named without the other.
        """
        _check_named(certificate, key)
        self._identity = identity
        self._files = (certificate, key) if certificate else None
        self._known: object = None
        self._context: ssl.SSLContext | None = None
        self._shown: ServerCertificate | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection; after the first :meth:`refresh`."""
        assert self._context is not None
        return self._context

    @property
    def shown(self) -> ServerCertificate:
        """What the next connection is shown; after the first :meth:`refresh`."""
        assert self._shown is not None
        return self._shown

    def refresh(self, hosts: Sequence[str], now: int) -> bool:
        """Take up exchanged files, or make the certificate of this half-year for ``hosts``; blocks for a moment.

        Returns whether there is something new to show.

        Raises:
            WebTlsUnusable: the files cannot be used; what was shown before goes on being shown.
        """
        known: object = _versions(*self._files) if self._files else (now // (_PERIOD_DAYS * 86400), tuple(hosts))
        if known == self._known:
            return False
        context = _empty_context()
        if self._files is None:
            self._shown = _load_own(context, self._identity, hosts, now)
        else:
            self._shown = _load_files(context, *self._files)
        self._context, self._known = context, known
        return True


def check_files(certificate: str, key: str) -> None:
    """Raises WebTlsUnusable if these two PEM files (or none: both empty) cannot be used."""
    _check_named(certificate, key)
    if certificate:
        _load_files(_empty_context(), certificate, key)


def _check_named(certificate: str, key: str) -> None:
    if bool(certificate) != bool(key):
        raise WebTlsUnusable("tls_certificate and tls_key belong together")


def _versions(*paths: str) -> list[tuple[int, int, int]]:
    try:
        found = [Path(path).stat() for path in paths]
    except OSError as exc:
        raise WebTlsUnusable("certificate and key") from exc
    return [(one.st_ino, one.st_mtime_ns, one.st_size) for one in found]


def _load_files(context: ssl.SSLContext, certificate: str, key: str) -> ServerCertificate:
    try:
        # Empty: a key that needs a password is refused, where OpenSSL would ask on the terminal.
        context.load_cert_chain(certificate, key, password=b"")
        with Path(certificate).open("rb") as file:
            first = x509.load_pem_x509_certificates(file.read(_MAX_PEM_BYTES))[0]
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        raise WebTlsUnusable("certificate and key") from exc
    return _described(first, is_own=False)


def _load_own(context: ssl.SSLContext, identity: Identity, hosts: Sequence[str], now: int) -> ServerCertificate:
    number = int.from_bytes(derive(identity.seed, "leveret/api-tls-key/v1", 48))
    key = ec.derive_private_key(number % (_P256_ORDER - 1) + 1, ec.SECP256R1())
    certificate = _build(key, identity, hosts, now)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    try:
        with os.fdopen(os.memfd_create("leveret", os.MFD_CLOEXEC), "wb", buffering=0) as memory:  # as tls.load_key
            memory.write(pem)
            context.load_cert_chain(f"/proc/self/fd/{memory.fileno()}")
    except OSError as exc:
        raise WebTlsUnusable("the node's own certificate") from exc
    return _described(certificate, is_own=True)


def _build(key: ec.EllipticCurvePrivateKey, identity: Identity, hosts: Sequence[str], now: int) -> x509.Certificate:
    """The same bytes for the same hosts and half-year."""
    begins = dt.datetime.fromtimestamp(now // (_PERIOD_DAYS * 86400) * _PERIOD_DAYS * 86400, dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Leveret {identity.peer_id.short}")])
    said = hashlib.sha256("\0".join([identity.peer_id.full, str(begins), *hosts]).encode()).digest()
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder(name, name, key.public_key(), int.from_bytes(said[:16]) >> 1 | 1)
        .not_valid_before(begins - _EARLIER)
        .not_valid_after(begins + dt.timedelta(days=_VALID_DAYS) - _EARLIER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([_name_of(host) for host in hosts]), critical=False)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)  # RFC 6979
    )


def _name_of(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _described(certificate: x509.Certificate, *, is_own: bool) -> ServerCertificate:
    digest = certificate.fingerprint(hashes.SHA256()).hex().upper()
    return ServerCertificate(
        is_own,
        ":".join(digest[i : i + 2] for i in range(0, len(digest), 2)),
        int(certificate.not_valid_after_utc.timestamp()),
    )


def _empty_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context
