"""What somebody sees who has a SQLCipher file and its key: every page, free ones and those of the log included.

SQLCipher 4 with a raw key: pages of 4096 bytes, AES-256-CBC, 80 bytes of each reserved (IV 16, HMAC-SHA-512 64); the
first 16 bytes of the file are the salt. A WAL frame is 24 bytes of header and a page.
"""

from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PAGE, RESERVED, IV, SALT = 4096, 80, 16, 16
WAL_HEADER, FRAME_HEADER = 32, 24


def decrypted(page: bytes, key: bytes, *, first: bool) -> bytes:
    start = SALT if first else 0
    iv = page[PAGE - RESERVED : PAGE - RESERVED + IV]
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    return decryptor.update(page[start : PAGE - RESERVED]) + decryptor.finalize()


def pages(path: Path, key: bytes) -> Iterator[bytes]:
    """Everything that the index file and its write-ahead log hold, in clear."""
    data = path.read_bytes()
    for at in range(0, len(data), PAGE):
        yield decrypted(data[at : at + PAGE], key, first=at == 0)
    wal = path.with_name(path.name + "-wal")
    frames = wal.read_bytes() if wal.exists() else b""
    for at in range(WAL_HEADER + FRAME_HEADER, len(frames) - PAGE + 1, FRAME_HEADER + PAGE):
        yield decrypted(frames[at : at + PAGE], key, first=False)


def occurs(path: Path, key: bytes, what: bytes) -> bool:
    return any(what in page for page in pages(path, key))
