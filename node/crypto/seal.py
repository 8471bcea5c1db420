"""Sealing small secrets: keys under keys, and what the key store holds (docs/formats.md, "Sealed values").

A sealed value is an encrypted object (``crypto.objects``) under a subkey of the sealing key, so it commits to its key,
and there is one construction to review. It costs 72 bytes beyond the plaintext.
"""

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from node.crypto import objects
from node.errors.crypto_keys import DamagedCiphertext, WrongKeyOrDamaged

SEAL_OVERHEAD = objects.HEADER_BYTES + objects.TAG_BYTES
KEY_BYTES = objects.KEY_BYTES
WRAPPED_KEY_BYTES = KEY_BYTES + SEAL_OVERHEAD

_SUBKEY = "leveret/seal/v1"


def derive(key: bytes, label: str, length: int = KEY_BYTES) -> bytes:
    """A key of ``length`` bytes for the purpose that ``label`` names: HKDF-Expand-SHA-512 (RFC 5869 section 2.3).

    ``key`` must be uniformly random (at least 32 bytes); the step that extracts is left out for that reason.
    """
    if len(key) < KEY_BYTES:
        raise ValueError(len(key))
    return HKDFExpand(SHA512(), length, label.encode()).derive(key)


def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """``plaintext`` under ``key`` (32 random bytes), readable only by who names the same ``aad``."""
    return objects.encrypt(derive(key, _SUBKEY), plaintext, aad)


def unseal(key: bytes, blob: bytes, aad: bytes) -> bytes:
    """What was sealed.

    Raises:
        WrongKeyOrDamaged: another key, other ``aad``, or any change to ``blob``.
    """
    try:
        return objects.decrypt(derive(key, _SUBKEY), blob, aad)
    except DamagedCiphertext as exc:
        raise WrongKeyOrDamaged from exc


def wrap_object_key(study_key: bytes, key: bytes, *, object_id: bytes, study: bytes, version: int) -> bytes:
    """An object's data key under its study's key (104 bytes); ``version`` is the key version that the record names."""
    return seal(study_key, key, _object_aad(object_id, study, version))


def unwrap_object_key(study_key: bytes, blob: bytes, *, object_id: bytes, study: bytes, version: int) -> bytes:
    """The data key of exactly this object of this study.

    Raises:
        WrongKeyOrDamaged: it is another object's, another study's, another version's, or damaged.
    """
    return unseal(study_key, blob, _object_aad(object_id, study, version))


def _object_aad(object_id: bytes, study: bytes, version: int) -> bytes:
    if len(object_id) != 16 or len(study) != 16:  # noqa: PLR2004 - both are RandomId.value; fixed widths keep it injective
        raise ValueError(len(object_id), len(study))
    return b"object-key\0" + object_id + study + version.to_bytes(4, "big")
