"""The key, its certificate, and that no signature passes for another."""

import copy
import datetime as dt
import hashlib
import pickle

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from node.crypto.identity import (
    Domain,
    Identity,
    public_key_of_certificate,
    verify_signature,
    verify_text,
)
from node.errors.crypto_identity import BadCertificate, BadSignature
from node.model.ids import PeerId

ONE, TWO = Identity.from_seed(b"\1" * 32), Identity.from_seed(b"\2" * 32)
# RFC 8032 section 7.1, test 1.
RFC_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
RFC_SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
# Points of small order, and one that is not on the curve: none of them is anybody's key.
NOBODY = [bytes(32), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f", b"\2" + bytes(31)]


def test_rfc_8032() -> None:
    identity = Identity.from_seed(RFC_SEED)
    assert identity.public_key == RFC_PUBLIC
    assert identity.sign_text("") == RFC_SIGNATURE
    verify_text(RFC_PUBLIC, "", RFC_SIGNATURE)


def test_an_identity_is_its_seed() -> None:
    fresh = Identity.generate()
    again = Identity.from_seed(fresh.seed)
    assert (again.public_key, again.certificate, again.peer_id) == (
        fresh.public_key,
        fresh.certificate,
        PeerId.of_public_key(fresh.public_key),
    )
    assert Identity.generate().seed != fresh.seed


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), bytes(64)])
def test_a_seed_has_32_bytes(seed: bytes) -> None:
    with pytest.raises(ValueError, match=str(len(seed))):
        Identity.from_seed(seed)


def test_an_identity_shows_its_id_and_stays_where_it_is() -> None:
    assert repr(ONE) == f"Identity({ONE.peer_id.short})"
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leave(ONE)


# --- signatures ---------------------------------------------------------------------------------------------------


def test_what_is_signed_is_domain_nul_message() -> None:
    key = Ed25519PublicKey.from_public_bytes(ONE.public_key)
    key.verify(ONE.sign(Domain.FEED, b"message"), b"leveret/feed/v1\0message")
    verify_signature(ONE.public_key, Domain.FEED, b"message", ONE.sign(Domain.FEED, b"message"))


@given(st.binary(max_size=200), st.integers(0), st.integers(1, 255))
def test_any_change_spoils_a_signature(message: bytes, at: int, flip: int) -> None:
    signature = ONE.sign(Domain.FEED, message)
    for public_key, text, proof in (
        (TWO.public_key, message, signature),
        (ONE.public_key, message + b"\0", signature),
        (ONE.public_key, _flipped(message, at, flip) if message else b"x", signature),
        (ONE.public_key, message, _flipped(signature, at, flip)),
        (_flipped(ONE.public_key, at, flip), message, signature),
    ):
        with pytest.raises(BadSignature):
            verify_signature(public_key, Domain.FEED, text, proof)


@pytest.mark.parametrize("public_key", [*NOBODY, b"", bytes(31), bytes(33)])
def test_a_key_that_is_nobodys_verifies_nothing(public_key: bytes) -> None:
    forged = b"\1" + bytes(63)  # R = identity, S = 0 verifies under a key of small order if nobody looks
    for signature in (forged, ONE.sign(Domain.FEED, b""), b"", bytes(63), bytes(65)):
        with pytest.raises(BadSignature):
            verify_signature(public_key, Domain.FEED, b"", signature)


def test_a_signature_has_one_encoding() -> None:
    """S + L verifies too unless it is refused (RFC 8032 section 5.1.7)."""
    order = 2**252 + 27742317777372353535851937790883648493
    signature = ONE.sign(Domain.FEED, b"")
    twin = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    with pytest.raises(BadSignature):
        verify_signature(ONE.public_key, Domain.FEED, b"", twin)


def test_texts_and_binary_messages_never_meet() -> None:
    for message in ("leveret/feed/v1\0message", "\0", "a\0"):
        with pytest.raises(ValueError, match="NUL"):
            ONE.sign_text(message)
    signed = ONE.sign(Domain.FEED, b"message")
    with pytest.raises(BadSignature):
        verify_text(ONE.public_key, "leveret/feed/v1\0message", signed)
    for domain in Domain:
        assert "\0" not in domain.value
    domains = [f"{domain.value}\0" for domain in Domain]
    assert not any(a != b and a.startswith(b) for a in domains for b in domains)


def test_texts_that_are_no_unicode_are_nobodys() -> None:
    with pytest.raises(BadSignature):
        verify_text(ONE.public_key, "\ud800", bytes(64))


# --- the certificate ----------------------------------------------------------------------------------------------


def test_the_certificate_of_a_key_is_always_the_same() -> None:
    """Changing its shape locks out every peer that has pinned it: this test is meant to be in the way."""
    assert hashlib.sha256(ONE.certificate).hexdigest() == (
        "843c88e21c91b2142917dba0cc5d9472724de07f38f9e7f05eb3981b42303255"
    )


def test_what_the_certificate_says() -> None:
    certificate = x509.load_der_x509_certificate(ONE.certificate)
    name = f"CN={ONE.peer_id.compact}"
    assert (certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()) == (name, name)
    assert certificate.not_valid_before_utc == dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    assert certificate.not_valid_after_utc == dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    found = certificate.extensions
    constraints = found.get_extension_for_class(x509.BasicConstraints)
    usage = found.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign) == (True, True, False)
    assert len(found.get_extension_for_class(x509.ExtendedKeyUsage).value) == 2
    hosts = found.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert hosts == [f"{ONE.peer_id.compact.lower()}.leveret.invalid"]
    certificate.verify_directly_issued_by(certificate)


@given(st.binary(min_size=32, max_size=32))
def test_every_key_has_a_certificate_that_is_accepted(seed: bytes) -> None:
    identity = Identity.from_seed(seed)
    assert public_key_of_certificate(identity.certificate) == identity.public_key
    assert len(identity.certificate) == len(ONE.certificate)


def test_a_certificate_with_any_byte_changed_is_refused() -> None:
    for at in range(len(ONE.certificate)):
        with pytest.raises(BadCertificate):
            public_key_of_certificate(_flipped(ONE.certificate, at, 1))


@given(st.binary(max_size=700))
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    for der in (data, ONE.certificate + data[:1], ONE.certificate[:-1], data[:544].ljust(544, b"\0")):
        if der != ONE.certificate:
            with pytest.raises(BadCertificate):
                public_key_of_certificate(der)


def test_a_certificate_for_somebody_elses_key_is_refused() -> None:
    stolen = ONE.certificate[:-64] + TWO.certificate[-64:]
    with pytest.raises(BadCertificate):
        public_key_of_certificate(stolen)


@pytest.mark.parametrize("public_key", NOBODY)
def test_a_certificate_of_a_key_that_is_nobodys_is_refused(public_key: bytes) -> None:
    at = ONE.certificate.index(ONE.public_key)
    der = ONE.certificate[:at] + public_key + ONE.certificate[at + 32 :]
    with pytest.raises(BadCertificate):
        public_key_of_certificate(der)


@pytest.mark.parametrize("is_authority", [True, False])
def test_a_self_signed_certificate_of_another_shape_is_refused(*, is_authority: bool) -> None:
    key = Ed25519PrivateKey.from_private_bytes(ONE.seed)
    ours = x509.load_der_x509_certificate(ONE.certificate)
    built = x509.CertificateBuilder(
        ours.issuer,
        ours.subject,
        key.public_key(),
        ours.serial_number,
        ours.not_valid_before_utc,
        ours.not_valid_after_utc,
    )
    for extension in ours.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            value = x509.BasicConstraints(ca=is_authority, path_length=None)
        built = built.add_extension(value, critical=extension.critical)
    der = built.sign(key, None).public_bytes(Encoding.DER)
    if is_authority:
        with pytest.raises(BadCertificate):
            public_key_of_certificate(der)
    else:
        assert der == ONE.certificate, "built again field by field, it is the same"


def _flipped(data: bytes, at: int, mask: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
