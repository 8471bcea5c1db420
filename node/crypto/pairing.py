"""Pairing: the invitation's secret, the joiner's proof that it knows it, and the phrase that two people compare."""

import hashlib
import hmac
import os

from node.crypto.identity import PUBLIC_KEY_BYTES
from node.errors.crypto_identity import BadJoinProof

SECRET_BYTES = 16  # 128 bits: nobody guesses it, least of all online
PHRASE_WORDS = 10


def new_invitation_secret() -> bytes:
    """A secret for one invitation (16 bytes)."""
    return os.urandom(SECRET_BYTES)


def join_mac(secret: bytes, inviter_key: bytes, joiner_key: bytes) -> bytes:
    """The joiner's proof (32 bytes): HMAC-SHA-256 under the secret over both nodes' public keys.

    It binds the two keys to this invitation. Whoever stands between cannot put a key of its own in either place.
    """
    if (len(secret), len(inviter_key), len(joiner_key)) != (SECRET_BYTES, PUBLIC_KEY_BYTES, PUBLIC_KEY_BYTES):
        raise ValueError(len(secret), len(inviter_key), len(joiner_key))
    return hmac.digest(secret, b"leveret/join/v1\0" + inviter_key + joiner_key, "sha256")


def check_join_mac(secret: bytes, inviter_key: bytes, joiner_key: bytes, mac: bytes) -> None:
    """Check a joiner's proof in constant time.

    Raises:
        BadJoinProof: made with another secret or for other keys.
    """
    if not hmac.compare_digest(join_mac(secret, inviter_key, joiner_key), mac):
        raise BadJoinProof


def safety_phrase(one: bytes, other: bytes) -> str:
    """The words that tell two operators that they see the same two nodes; the same on both sides.

    ``one`` and ``other`` are what the nodes are known by (their certificates), in any order. The phrase is ten words of
    16 bits each from one hash over both. A man in the middle needs two pairs that agree, with a node of his own in
    each, and may choose both: that search takes the square root, 2^80 keys and certificates, when the whole phrase is
    read. To hit a pair that is given takes 2^160.
    """
    parts = sorted(hashlib.sha256(part).digest() for part in (one, other))
    digest = hashlib.sha256(b"leveret/safety-phrase/v1\0" + b"".join(parts)).digest()
    return " ".join(_word(digest[at], digest[at + 1]) for at in range(0, 2 * PHRASE_WORDS, 2))


# Consonants and vowels in turn, 16 of one and 4 of the other: 16 bits make a word of five letters that can be said in
# most languages, and needs no list of words in any of them (the letters are those of Wilkerson's proquints).
_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aiou"


def _word(high: int, low: int) -> str:
    bits = high << 8 | low
    letters = (
        _CONSONANTS[bits >> 12],
        _VOWELS[bits >> 10 & 3],
        _CONSONANTS[bits >> 6 & 15],
        _VOWELS[bits >> 4 & 3],
        _CONSONANTS[bits & 15],
    )
    return "".join(letters)
