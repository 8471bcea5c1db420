"""Passphrases and sign-in names: what may be one, and how it is checked in the same time for everybody."""

import asyncio
import unicodedata

from node.crypto.passwords import hash_password, password_is
from node.errors.access import WeakPassword
from node.errors.portal import InvalidSignInName
from node.sharing.hashing import MAX_PASSWORD
from node.sharing.users import MIN_PASSWORD

MAX_NAME = 254  # characters: an e-mail address (RFC 5321 section 4.5.3.1)
MIN_NAME = 3
_LEAST_DIFFERENT = 5  # characters: "aaaaaaaaaaaa" is none
_HASHING = 2  # at once: each takes 64 MiB


class Passphrases:
    """Hashes and checks; counts how often it worked, so that a test can tell that all failures cost the same."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_HASHING)
        self.worked = 0

    async def hashed(self, passphrase: str, *names: str) -> str:
        """What is kept of a new passphrase; raises WeakPassword. ``names``: what must not be in it."""
        raw = _bytes(passphrase)
        folded = fold_name(passphrase)
        weak = len(set(passphrase)) < _LEAST_DIFFERENT or any(name and fold_name(name) == folded for name in names)
        if weak or not MIN_PASSWORD <= len(raw) <= MAX_PASSWORD:
            raise WeakPassword
        async with self._slots:
            self.worked += 1
            return await asyncio.to_thread(hash_password, raw)

    async def is_right(self, stored: str | None, passphrase: str) -> bool:
        """Whether ``stored`` was made from it; takes as long without ``stored``, and for a passphrase of any length."""
        raw = _bytes(passphrase)
        async with self._slots:
            self.worked += 1
            right = await asyncio.to_thread(password_is, stored, raw[:MAX_PASSWORD])
        return right and len(raw) <= MAX_PASSWORD


def checked_name(name: str) -> str:
    """A sign-in name as it is shown; raises InvalidSignInName."""
    text = unicodedata.normalize("NFC", name.strip())
    if not MIN_NAME <= len(text) <= MAX_NAME or not text.isprintable() or any(c.isspace() for c in text):
        raise InvalidSignInName
    return text


def fold_name(name: str) -> str:
    """The form by which a name is found: capitals and the way accents are written do not matter."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name.strip()).casefold())


def _bytes(passphrase: str) -> bytes:
    # One keyboard sends é as one character, another as two (RFC 8265 section 4.2.2: NFC).
    return unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
