"""Sealing announcements, and signing the batches that carry them (docs/protocol/announcements.md).

An entry is ``tag ‖ nonce ‖ XChaCha20-Poly1305(key, label)``. Tag and key come from the VOPRF output of a linkage token,
so only who can name the patient (or is the holder) finds and opens it; to anybody else it is noise, as a dummy is.
Index ``i`` counts per token and is never used twice: the same tag twice would tell that two entries are of one patient.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from nacl import bindings, exceptions
from nacl.utils import random

from node.crypto.identity import Domain, Identity, verify_signature
from node.crypto.oprf import OUTPUT_BYTES, check_public_key
from node.errors.feeds import BatchMalformed, EntryMalformed, InvalidElement
from node.model.feed import (
    ENTRY_BYTES,
    MAX_BATCH_BYTES,
    MIN_BATCH_BYTES,
    SIGNATURE_BYTES,
    TAG_BYTES,
    Batch,
    decode_batch,
    encode_batch,
    padded_count,
)
from node.model.ids import PeerId
from node.model.label import Label

KEY_BYTES = 32
NONCE_BYTES = 24

_LABEL = b"leveret/announce/v1\0"


@dataclass(frozen=True, slots=True)
class EntryKeys:
    """Where one entry is found (``tag``, 16 bytes) and what opens it (``key``, 32 bytes)."""

    tag: bytes
    key: bytes = field(repr=False)


def entry_keys(f: bytes, *, holder: PeerId, peer: PeerId, incarnation: int, epoch: int, index: int) -> EntryKeys:
    """Tag and key of the ``index``-th entry about the token with VOPRF output ``f`` (64 bytes)."""
    if len(f) != OUTPUT_BYTES:
        raise ValueError(len(f))
    info = _LABEL + holder.digest + peer.digest
    info += incarnation.to_bytes(8, "big") + epoch.to_bytes(8, "big") + index.to_bytes(4, "big")
    okm = HKDFExpand(SHA512(), TAG_BYTES + KEY_BYTES, info).derive(f)
    return EntryKeys(okm[:TAG_BYTES], okm[TAG_BYTES:])


def seal_entry(keys: EntryKeys, label: Label, *, nonce: bytes | None = None) -> bytes:
    """ENTRY_BYTES bytes that announce ``label``. ``nonce`` is random; only test vectors give it."""
    nonce = random(NONCE_BYTES) if nonce is None else nonce
    sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(label.encode(), keys.tag, nonce, keys.key)
    return keys.tag + nonce + sealed


def open_entry(keys: EntryKeys, entry: bytes) -> Label:
    """The label of an entry that was found by ``keys.tag``.

    Raises:
        EntryMalformed: it does not open, or is no label: the holder's node is faulty or lies.
    """
    if len(entry) != ENTRY_BYTES or entry[:TAG_BYTES] != keys.tag:
        raise EntryMalformed("length or tag")
    nonce, sealed = entry[TAG_BYTES : TAG_BYTES + NONCE_BYTES], entry[TAG_BYTES + NONCE_BYTES :]
    try:
        data = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, keys.tag, nonce, keys.key)
    except exceptions.CryptoError as exc:
        raise EntryMalformed("seal") from exc
    return Label.decode(data)


def dummy_entry() -> bytes:
    """An entry about nobody, which no key opens; indistinguishable from a real one."""
    return random(ENTRY_BYTES)


def padded(entries: Iterable[bytes]) -> tuple[bytes, ...]:
    """The entries of one batch: sorted by tag, dummies added up to the next power of two.

    ValueError for more than ``feed.MAX_ENTRIES`` entries.
    """
    real = list(entries)
    real.extend(dummy_entry() for _ in range(padded_count(len(real)) - len(real)))
    return tuple(sorted(real))


def sign_batch(identity: Identity, batch: Batch) -> bytes:
    """The batch as it is sent: its encoding and the holder's signature."""
    body = encode_batch(batch)
    return body + identity.sign(Domain.FEED, body)


def verify_batch(data: bytes, public_key: bytes) -> Batch:
    """Read a batch that the holder with ``public_key`` signed; nothing in it is looked at before the signature holds.

    Whether it is meant for this node and follows the batches before it is for the caller to check.

    Raises:
        BadSignature: somebody else's, or changed on the way.
        BatchMalformed: signed, but against the protocol or in another holder's name.
    """
    if not MIN_BATCH_BYTES <= len(data) <= MAX_BATCH_BYTES:
        raise BatchMalformed("length")
    body = data[:-SIGNATURE_BYTES]
    verify_signature(public_key, Domain.FEED, body, data[-SIGNATURE_BYTES:])
    batch = decode_batch(body)
    if batch.holder != PeerId.of_public_key(public_key):
        raise BatchMalformed("another holder's name")
    try:
        check_public_key(batch.voprf_key)
    except InvalidElement as exc:
        raise BatchMalformed("VOPRF key") from exc
    return batch
