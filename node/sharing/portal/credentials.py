"""Passphrases and sign-in names: what may be one, and in which form it is compared."""

import unicodedata

from node.errors.access import WeakPassword
from node.errors.portal import InvalidSignInName
from node.sharing.hashing import MAX_PASSWORD
from node.sharing.users import MIN_PASSWORD

MAX_NAME = 254  # characters: an e-mail address (RFC 5321 section 4.5.3.1)
MIN_NAME = 3
_LEAST_DIFFERENT = 5  # characters: "aaaaaaaaaaaa" is none


def checked_passphrase(passphrase: str, *names: str) -> bytes:
    """A new passphrase as it is hashed; raises WeakPassword. It must not be one of ``names``."""
    raw = passphrase_bytes(passphrase)
    is_name = fold_name(passphrase) in {fold_name(name) for name in names}
    if is_name or len(set(passphrase)) < _LEAST_DIFFERENT or not MIN_PASSWORD <= len(raw) <= MAX_PASSWORD:
        raise WeakPassword
    return raw


def passphrase_bytes(passphrase: str) -> bytes:
    """One keyboard sends é as one character, another as two: both are the same (RFC 8265 section 4.2.2)."""
    return unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")


def checked_name(name: str) -> str:
    """A sign-in name as it is shown; raises InvalidSignInName."""
    text = unicodedata.normalize("NFC", name.strip())
    if not MIN_NAME <= len(text) <= MAX_NAME or not text.isprintable() or any(c.isspace() for c in text):
        raise InvalidSignInName
    return text


def fold_name(name: str) -> str:
    """The form by which a name is found: capitals and the way accents are written do not matter."""
    text = name.encode("utf-8", "replace").decode()  # half a surrogate pair is no character of any name
    for _ in range(2):  # folding may undo a normal form, and the other way round (UAX 15, NFKC_Casefold)
        text = unicodedata.normalize("NFKC", text.casefold())
    return text.strip()
