"""Object format: chunked, committing, seekable encryption (docs/formats.md, "Encrypted objects").

The construction of C2SP chunked-encryption (https://c2sp.org/chunked-encryption) with HKDF-Expand-SHA-512 and
AES-256-GCM; the chunk is 256 KiB instead of 16 KiB, so the label differs.

``salt ‖ commitment ‖ chunk 0 ‖ … ‖ chunk n``: every chunk but the last holds CHUNK_BYTES of plaintext, the last one
fewer (perhaps none), so each plaintext length has exactly one encrypted length and a cut at a chunk's border is
recognised by the length alone. The commitment is compared before anything is decrypted: a ciphertext opens under one
key and one context, or none.

One 530 KB image takes 65 µs in one core of an AMD EPYC with chunks of 256 KiB or 1 MiB, 70 µs with 64 KiB, 270 µs with
16 KiB (median of 5 runs of 200, :meth:`Encryptor.encrypt`, pieces not joined). 256 KiB is the smallest chunk with
nothing more to win, keeps a small range cheap, and is what the transfer streams write at once.
"""

import hmac
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from node.errors.crypto_keys import DamagedCiphertext, WrongKeyOrDamaged

KEY_BYTES = 32
SALT_BYTES = 24
COMMITMENT_BYTES = 32
HEADER_BYTES = SALT_BYTES + COMMITMENT_BYTES
TAG_BYTES = 16
CHUNK_BYTES = 256 * 1024
MAX_CHUNKS = 2**32  # 1 PiB of plaintext; keeps AES-GCM far below its limits (C2SP allows 2^38)

_SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES
_NONCE_BYTES = 12
_LABEL = b"leveret/object/v1+AEAD_AES_256_GCM\0"

Buffer = bytes | bytearray | memoryview


def encrypted_size(plain: int) -> int:
    """How many bytes an object of ``plain`` bytes has when encrypted."""
    if not 0 <= plain < MAX_CHUNKS * CHUNK_BYTES:
        raise ValueError(plain)
    return HEADER_BYTES + plain + TAG_BYTES * (plain // CHUNK_BYTES + 1)


def plain_size(encrypted: int) -> int:
    """How many bytes an encrypted object holds.

    Raises:
        DamagedCiphertext: no object has this length; it was cut off or extended.
    """
    full, rest = divmod(encrypted - HEADER_BYTES, _SEALED_CHUNK)
    if encrypted < HEADER_BYTES or rest < TAG_BYTES or full >= MAX_CHUNKS:
        raise DamagedCiphertext
    return full * CHUNK_BYTES + rest - TAG_BYTES


def encrypt(key: bytes, plaintext: Buffer, context: bytes) -> bytes:
    """The whole encrypted object, header first."""
    encryptor = Encryptor(key, context)
    return b"".join((encryptor.header, *encryptor.encrypt(plaintext)))


def decrypt(key: bytes, ciphertext: Buffer, context: bytes) -> bytes:
    """The plaintext of a whole encrypted object.

    Raises:
        WrongKeyOrDamaged: another key, another context, or a damaged header.
        DamagedCiphertext: any other change.
    """
    view = memoryview(ciphertext)
    decryptor = Decryptor(key, context, bytes(view[:HEADER_BYTES]), len(view))
    pieces = []
    for index in range(decryptor.chunks):
        offset, length = decryptor.span(index)
        pieces.append(decryptor.chunk(index, view[offset : offset + length]))
    return b"".join(pieces)


class _Schedule:
    """What HKDF makes of key, salt and context: an AES key, a base nonce and the commitment to all three."""

    __slots__ = ("_base", "aead", "commitment")

    def __init__(self, key: bytes, salt: bytes, context: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(len(key))
        size = KEY_BYTES + _NONCE_BYTES + COMMITMENT_BYTES
        okm = HKDFExpand(SHA512(), size, _LABEL + salt + context).derive(key)
        self.aead = AESGCM(okm[:KEY_BYTES])
        self._base = int.from_bytes(okm[KEY_BYTES : KEY_BYTES + _NONCE_BYTES], "big")
        self.commitment = okm[KEY_BYTES + _NONCE_BYTES :]

    def nonce(self, index: int) -> bytes:
        return (self._base ^ index).to_bytes(_NONCE_BYTES, "big")


class Encryptor:
    """Encrypts one message, either at once (:meth:`encrypt`) or in pieces (:meth:`update`, :meth:`finish`).

    ``header`` (56 bytes) goes before everything else; no method returns it. ``key`` is 32 uniformly random bytes;
    ``context`` says what the object is and where it belongs, and must be given again to read it. A second message with
    the same instance is refused (RuntimeError): it would reuse nonces.
    """

    __slots__ = ("_index", "_keys", "_over", "_pending", "header")

    def __init__(self, key: bytes, context: bytes, *, salt: bytes | None = None) -> None:
        """``salt`` (24 bytes) is random; only test vectors give it."""
        salt = os.urandom(SALT_BYTES) if salt is None else salt
        if len(salt) != SALT_BYTES:
            raise ValueError(len(salt))
        self._keys = _Schedule(key, salt, context)
        self.header = salt + self._keys.commitment
        self._index = 0
        self._pending = bytearray()
        self._over = False

    def encrypt(self, plaintext: Buffer) -> list[bytes]:
        """The chunks of a whole message, without the header and without copying the plaintext."""
        if self._index or self._pending:
            raise RuntimeError
        view = memoryview(plaintext)
        full = len(view) // CHUNK_BYTES * CHUNK_BYTES
        chunks = [self._seal(view[at : at + CHUNK_BYTES]) for at in range(0, full, CHUNK_BYTES)]
        chunks.append(self._seal(view[full:]))
        self._over = True
        return chunks

    def encrypt_into(self, plaintext: Buffer, out: memoryview) -> int:
        """A whole message, without the header, to the beginning of ``out``; returns how many bytes that took.

        Into memory that was in use before, this takes a fifth of the time of :meth:`encrypt`, whose fresh memory the
        kernel first has to map and clear (57 against 312 µs for 530 KB, 32 of them alive).
        """
        if self._index or self._pending or self._over:
            raise RuntimeError
        view, end = memoryview(plaintext), 0
        for at in range(0, len(view) + 1, CHUNK_BYTES):
            piece = view[at : at + CHUNK_BYTES]
            start, end = end, end + len(piece) + TAG_BYTES
            self._keys.aead.encrypt_into(self._keys.nonce(self._index), piece, None, out[start:end])
            self._index += 1
        self._over = True
        return end

    def update(self, data: Buffer) -> bytes:
        """Take the next bytes of the message; return the chunks that became full (often nothing)."""
        view = memoryview(data)
        out = []
        if self._pending:
            missing = CHUNK_BYTES - len(self._pending)
            self._pending += view[:missing]
            view = view[missing:]
            if len(self._pending) == CHUNK_BYTES:
                out.append(self._seal(self._pending))
                self._pending = bytearray()
        full = len(view) // CHUNK_BYTES * CHUNK_BYTES
        out.extend(self._seal(view[at : at + CHUNK_BYTES]) for at in range(0, full, CHUNK_BYTES))
        self._pending += view[full:]
        return out[0] if len(out) == 1 else b"".join(out)

    def finish(self) -> bytes:
        """The last chunk; a message without it does not verify."""
        last = self._seal(self._pending)
        self._over = True
        return last

    def _seal(self, piece: Buffer) -> bytes:
        if self._over or self._index >= MAX_CHUNKS:
            raise RuntimeError
        sealed = self._keys.aead.encrypt(self._keys.nonce(self._index), piece, None)
        self._index += 1
        return sealed


@dataclass(frozen=True, slots=True)
class ChunkRange:
    """Where a range of plaintext lies: read ``length`` bytes at ``offset`` of the encrypted object.

    They are the chunks ``first`` … ``first + count - 1``; of their plaintext, skip ``skip`` bytes and take ``take``.
    """

    first: int
    count: int
    offset: int
    length: int
    skip: int
    take: int


class Decryptor:
    """Reads one object, any chunk at any time; plaintext is handed out only after its chunk was verified.

    ``size`` is the plaintext's length as the encrypted length implies it. The last chunk proves it: whoever relies on
    the size before reading the whole object reads that chunk first.
    """

    __slots__ = ("_encrypted_size", "_keys", "chunks", "size")

    def __init__(self, key: bytes, context: bytes, header: bytes, encrypted_size: int) -> None:
        """``header`` is the object's first 56 bytes, ``encrypted_size`` its whole length.

        Raises:
            DamagedCiphertext: no object has this length.
            WrongKeyOrDamaged: the commitment is to another key, context or salt (compared in constant time).
        """
        self.size = plain_size(encrypted_size)
        if len(header) != HEADER_BYTES:
            raise DamagedCiphertext
        self._keys = _Schedule(key, header[:SALT_BYTES], context)
        if not hmac.compare_digest(self._keys.commitment, header[SALT_BYTES:]):
            raise WrongKeyOrDamaged
        self._encrypted_size = encrypted_size
        self.chunks = self.size // CHUNK_BYTES + 1

    def span(self, index: int) -> tuple[int, int]:
        """(offset, length) of chunk ``index`` within the encrypted object."""
        if not 0 <= index < self.chunks:
            raise IndexError(index)
        offset = HEADER_BYTES + index * _SEALED_CHUNK
        return offset, min(_SEALED_CHUNK, self._encrypted_size - offset)

    def chunk(self, index: int, data: Buffer) -> bytes:
        """The plaintext of chunk ``index``, whose encrypted bytes are ``data``.

        Raises:
            DamagedCiphertext: they are not what was written there.
        """
        if len(data) != self.span(index)[1]:
            raise DamagedCiphertext
        try:
            return self._keys.aead.decrypt(self._keys.nonce(index), data, None)
        except InvalidTag as exc:
            raise DamagedCiphertext from exc

    def locate(self, offset: int, length: int) -> ChunkRange:
        """Which chunks hold ``length`` bytes of plaintext from ``offset``; what lies past the end is left out."""
        if offset < 0 or length < 0:
            raise ValueError(offset, length)
        take = max(0, min(length, self.size - offset))
        if not take:
            return ChunkRange(0, 0, HEADER_BYTES, 0, 0, 0)
        first, skip = divmod(offset, CHUNK_BYTES)
        last = (offset + take - 1) // CHUNK_BYTES
        start = self.span(first)[0]
        return ChunkRange(first, last - first + 1, start, sum(self.span(last)) - start, skip, take)
