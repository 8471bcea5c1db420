"""Files of SMART Health Links: compact JWE (RFC 7516 section 7.1), alg ``dir``, enc ``A256GCM``, one key a link.

Only what this node says stands here: it encrypts, and whoever has the link decrypts. Every file gets a fresh random
nonce of 96 bits; with one key for at most some thousand files a repeated one is out of reach (NIST SP 800-38D section
8.3 allows 2^32). The specification lets files be deflated first (``zip``); these never are, because many receiving
applications cannot inflate them (the JavaScript library jose not at all, jwcrypto up to 256 KiB).
"""

import base64
import json
import secrets

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
_TAG_BYTES = 16


def new_key() -> bytes:
    """The key of a new link."""
    return secrets.token_bytes(KEY_BYTES)


def encrypt_file(key: bytes, plaintext: bytes, content_type: str) -> str:
    """``plaintext`` as a JWE that says what it is (``cty``)."""
    header = {"alg": "dir", "enc": "A256GCM", "cty": content_type}
    return seal(key, secrets.token_bytes(NONCE_BYTES), json.dumps(header, separators=(",", ":")).encode(), plaintext)


def seal(key: bytes, nonce: bytes, header: bytes, plaintext: bytes) -> str:
    """The five parts of RFC 7516 section 7.1 for a protected ``header``; the second is empty, as ``dir`` wants it."""
    protected = _encode(header)
    sealed = AESGCM(key).encrypt(nonce, plaintext, protected.encode("ascii"))
    ciphertext, tag = sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]
    return f"{protected}..{_encode(nonce)}.{_encode(ciphertext)}.{_encode(tag)}"


def _encode(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
