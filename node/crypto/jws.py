"""Signed messages: compact JWS (RFC 7515 section 7.1) with Ed25519 (RFC 8037), in exactly one form.

For each type there is one header, byte for byte: ``{"alg":"EdDSA","typ":TYPE}``. It is compared, never parsed, so there
is no ``alg`` to downgrade, no ``crit``, ``kid`` or ``jwk`` to obey and no duplicate member to disagree about. A message
of one type never verifies as another. The exact received bytes are verified; a payload is not encoded again.
"""

import base64
import re
from collections.abc import Callable
from enum import StrEnum

from node.crypto.identity import SIGNATURE_BYTES, Identity, verify_text
from node.errors.crypto_identity import BadSignature, MalformedJws


class JwsType(StrEnum):
    """What a message says; the value is the header's ``typ``."""

    CARD = "leveret-card+jws"
    INVITATION = "leveret-invitation+jws"
    REQUEST = "leveret-request+jws"
    DECISION = "leveret-decision+jws"
    MANIFEST = "leveret-manifest+jws"
    RECEIPT = "leveret-receipt+jws"
    WITHDRAWAL = "leveret-withdrawal+jws"
    WITHDRAWAL_ACK = "leveret-withdrawal-ack+jws"
    OFFER = "leveret-offer+jws"
    GRANT = "leveret-grant+jws"  # by a patient's key


def sign_jws(identity: Identity, typ: JwsType, payload: bytes) -> str:
    """``payload`` as a message of ``typ``, signed by ``identity``."""
    signed = f"{_header(typ)}.{_encode(payload)}"
    return f"{signed}.{_encode(identity.sign_text(signed))}"


def verify_jws(token: str, typ: JwsType, public_key: bytes, *, max_bytes: int) -> bytes:
    """The payload of a message of ``typ`` that the owner of ``public_key`` signed; ``max_bytes`` bounds the token.

    Raises:
        MalformedJws: longer, of another type or not in the one accepted form.
        BadSignature: somebody else signed it, or it was changed.
    """
    return verify_self_signed(token, typ, lambda _: public_key, max_bytes=max_bytes)


def verify_self_signed(token: str, typ: JwsType, key_of: Callable[[bytes], bytes], *, max_bytes: int) -> bytes:
    """The payload of a message that names its own signer; errors as :func:`verify_jws`.

    ``key_of`` reads the signer's public key from the payload, which is not verified yet: it must trust nothing in it,
    and raises whatever it likes. That the key is one to be believed is for the caller to decide.
    """
    if len(token) > max_bytes:
        raise MalformedJws("too long")
    match token.split("."):
        case [header, payload, signature] if header == _header(typ):
            decoded = _decode(payload)
            proof = _decode(signature)
        case _:
            raise MalformedJws
    if len(proof) != SIGNATURE_BYTES:
        raise MalformedJws
    public_key = key_of(decoded)
    try:
        verify_text(public_key, f"{header}.{payload}", proof)
    except BadSignature as exc:
        raise BadSignature(typ.value) from exc
    return decoded


def _header(typ: JwsType) -> str:
    return _encode(b'{"alg":"EdDSA","typ":"%s"}' % typ.encode())


def _encode(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


def _decode(text: str) -> bytes:
    """The only bytes that encode to ``text``: no padding, no other alphabet, no stray bits, no white space."""
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise MalformedJws
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encode(data) != text:  # the last character's unused bits must be zero
        raise MalformedJws
    return data
