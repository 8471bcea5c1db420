"""Who a node is: one Ed25519 key, the id and the certificate that follow from it, and what the key signs.

The certificate is a function of the key: same key, same bytes, for ever. Whoever knows the shape can therefore check a
stranger's certificate without parsing it (:func:`public_key_of_certificate`), and a peer can pin the bytes.
"""

import datetime as dt
import hashlib
import os
from enum import StrEnum
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from node.errors.crypto_identity import BadCertificate, BadSignature
from node.model.ids import PeerId

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64


class Domain(StrEnum):
    """What a binary message is. Signed is ``domain ‖ 00 ‖ message``, so that no signature can be taken for another.

    Texts (JWS, notes) carry their kind within themselves and have no domain: the package docstring has the whole list.
    """

    FEED = "leveret/feed/v1"
    BACKUP = "leveret/backup/v1"


class Identity:
    """A node's key pair. Shows its PeerId and never its seed; cannot be pickled or copied."""

    __slots__ = ("_key", "certificate", "peer_id", "public_key")

    def __init__(self, seed: bytes) -> None:
        """``seed`` is the private key: 32 uniformly random bytes (RFC 8032 section 5.1.5)."""
        if len(seed) != SEED_BYTES:
            raise ValueError(len(seed))
        self._key = SigningKey(seed)
        self.public_key = bytes(self._key.verify_key)
        self.peer_id = PeerId.of_public_key(self.public_key)
        self.certificate = _build_certificate(self.public_key, Ed25519PrivateKey.from_private_bytes(seed))  # DER

    @classmethod
    def generate(cls) -> Self:
        """A new node."""
        return cls(os.urandom(SEED_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The node that ``seed`` (32 bytes) belongs to."""
        return cls(seed)

    @property
    def seed(self) -> bytes:
        """The private key; only the key store and ``crypto.tls`` have any business with it."""
        return bytes(self._key)

    def sign(self, domain: Domain, message: bytes) -> bytes:
        """64 bytes over ``message`` in ``domain``; see :func:`verify_signature`."""
        return self._key.sign(_in_domain(domain, message)).signature

    def sign_text(self, text: str) -> bytes:
        """64 bytes over the UTF-8 of ``text`` itself, as JWS and signed notes want it.

        A text with a NUL is refused (ValueError): everything else that this key signs contains one.
        """
        return self._key.sign(_as_text(text)).signature

    def __repr__(self) -> str:
        return f"Identity({self.peer_id.short})"

    def __reduce__(self) -> str:
        raise TypeError("an identity stays where it is")


def verify_signature(public_key: bytes, domain: Domain, message: bytes, signature: bytes) -> None:
    """Check a signature made by :meth:`Identity.sign`.

    Raises:
        BadSignature: another key, domain or message; a key that is no point of the curve, or one of small order.
    """
    _verify(public_key, _in_domain(domain, message), signature)


def verify_text(public_key: bytes, text: str, signature: bytes) -> None:
    """Check a signature made by :meth:`Identity.sign_text`.

    Raises:
        BadSignature: as :func:`verify_signature`; also for a text that no node signs.
    """
    try:
        message = _as_text(text)
    except ValueError as exc:
        raise BadSignature from exc
    _verify(public_key, message, signature)


def public_key_of_certificate(der: bytes) -> bytes:
    """The Ed25519 public key (32 bytes) of a certificate that has the one shape a node's certificate has.

    Nothing is parsed: the key is read from its place, the certificate of that key is built again, and the two must be
    equal in all but the signature, which must be the key's own. So it is never an authority (CA:FALSE, no keyCertSign)
    and holds nothing but the key.

    Raises:
        BadCertificate: anything else.
    """
    if len(der) != _CERTIFICATE_BYTES:
        raise BadCertificate
    public_key = der[_KEY_AT : _KEY_AT + PUBLIC_KEY_BYTES]
    body, signature = der[:-SIGNATURE_BYTES], der[-SIGNATURE_BYTES:]
    if body != _build_certificate(public_key, _anybody())[:-SIGNATURE_BYTES]:
        raise BadCertificate
    try:
        _verify(public_key, der[_TBS_AT:_TBS_END], signature)
    except BadSignature as exc:
        raise BadCertificate from exc
    return public_key


def _in_domain(domain: Domain, message: bytes) -> bytes:
    return domain.encode() + b"\0" + message


def _as_text(text: str) -> bytes:
    if "\0" in text:
        raise ValueError("a text has no NUL")
    return text.encode()  # UnicodeEncodeError for a lone surrogate is a ValueError too


def _verify(public_key: bytes, message: bytes, signature: bytes) -> None:
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise BadSignature
    try:
        VerifyKey(public_key).verify(message, signature)
    except BadSignatureError as exc:
        raise BadSignature from exc


# RFC 5280 section 4.1.2.5: 99991231235959Z is the date of a certificate that has no good expiry date. Trust ends by the
# trust list, never by a date that both facilities would have to remember.
_NOT_BEFORE = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_NOT_AFTER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
_SERIAL_BITS = 126


def _build_certificate(public_key: bytes, signer: Ed25519PrivateKey) -> bytes:
    """The certificate of ``public_key``, DER; self-signed if ``signer`` is that key.

    Everything in it follows from the key, and every field has the same length for every key.
    """
    key = Ed25519PublicKey.from_public_bytes(public_key)
    peer_id = PeerId.of_public_key(public_key).compact
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, peer_id)])
    host = x509.DNSName(f"{peer_id.lower()}.leveret.invalid")  # never looked up; RFC 2606 section 2
    hashed = hashlib.sha256(b"leveret/certificate-serial/v1\0" + public_key).digest()
    serial = int.from_bytes(hashed) >> (256 - _SERIAL_BITS) | 1 << _SERIAL_BITS  # positive, always 16 bytes in DER
    signs_only = x509.KeyUsage(
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
    both_ends = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return (
        x509.CertificateBuilder(name, name, key, serial, _NOT_BEFORE, _NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(signs_only, critical=True)
        .add_extension(both_ends, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key), critical=False)
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .sign(signer, None)
        .public_bytes(Encoding.DER)
    )


def _anybody() -> Ed25519PrivateKey:
    """A key of no importance: the builder signs, and the caller cuts the signature off."""
    return Ed25519PrivateKey.from_private_bytes(bytes(SEED_BYTES))


def _layout() -> tuple[int, int, int, int]:
    """(length, where the key is, where the signed part begins, where it ends), the same for every certificate."""
    key = _anybody().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    der = _build_certificate(key, _anybody())
    tbs = x509.load_der_x509_certificate(der).tbs_certificate_bytes
    start = der.index(tbs)
    return len(der), der.index(key), start, start + len(tbs)


_CERTIFICATE_BYTES, _KEY_AT, _TBS_AT, _TBS_END = _layout()
