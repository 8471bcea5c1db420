"""Share codes: what a patient carries from the holder to whoever may have the images.

95 random bits as 19 letters and digits and a check character, in five groups of four: ``7K2M-9QXA-…``. All codes have
one length, so none is the beginning of another. From the code come, by HKDF, a lookup id, by which the holder finds its
row, and a MAC key. A request carries the lookup id and a MAC over what is asked, of whom and by whom: a code shown to
the wrong holder or seen by an onlooker on the wire is worth nothing to them, and 95 bits cannot be searched.
"""

import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from node.errors.codes import ShareCodeMalformed, ShareCodeMistyped
from node.model.ids import PeerId

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
RANDOM_CHARACTERS: Final = 19  # 95 bits
CODE_CHARACTERS: Final = RANDOM_CHARACTERS + 1
GROUP: Final = 4
LOOKUP_ID_BYTES: Final = 16
MAC_KEY_BYTES: Final = 32
PROOF_BYTES: Final = 32
URL_PREFIX: Final = "LEVERET:SHARE/"  # capitals: a QR code in alphanumeric mode is a third smaller
MAX_TEXT: Final = 200  # longer input is not a code with blanks in it

_LOOKALIKES: Final = str.maketrans("OIL", "011")
_INFO: Final = b"leveret/share-code/v1"
_PROOF: Final = b"leveret/share-code-proof/v1\0"
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ShareCode:
    """A code and what is derived from it; the holder keeps ``lookup_id`` and ``mac_key``, never the text.

    ``text`` is the grouped form. ``repr`` shows nothing.
    """

    text: str = field(repr=False)
    lookup_id: bytes = field(repr=False)
    mac_key: bytes = field(repr=False)

    @property
    def url(self) -> str:
        """What the QR code holds."""
        return URL_PREFIX + self.text


def generate() -> ShareCode:
    """A fresh code."""
    return _from_body("".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS)))


def parse(text: str) -> ShareCode:
    """Read a code as people type it or as the QR code holds it.

    Case, blanks, dashes and dots do not matter; O is read as 0, I and L as 1.

    Raises:
        ShareCodeMistyped: the check character does not fit.
        ShareCodeMalformed: another length, or other characters.
    """
    if len(text) > MAX_TEXT:
        raise ShareCodeMalformed
    compact = text.strip().upper().removeprefix(URL_PREFIX)
    compact = re.sub(r"[\s.\u2010-\u2015-]", "", compact).translate(_LOOKALIKES)
    if len(compact) != CODE_CHARACTERS or not set(compact) <= set(ALPHABET):
        raise ShareCodeMalformed
    code = _from_body(compact[:-1])
    if code.text.replace("-", "") != compact:
        raise ShareCodeMistyped
    return code


def proof(mac_key: bytes, request_digest: bytes, holder: PeerId, requester: PeerId) -> bytes:
    """The MAC by which a request shows that its sender knows the code (32 bytes).

    ``request_digest`` is the SHA-256 of what is asked; holder and requester are bound, so nobody else can use it.
    """
    if len(mac_key) != MAC_KEY_BYTES or len(request_digest) != _DIGEST_BYTES:
        raise ValueError(len(mac_key), len(request_digest))
    return hmac.digest(mac_key, _PROOF + request_digest + holder.digest + requester.digest, "sha256")


def check_proof(mac_key: bytes, given: bytes, request_digest: bytes, holder: PeerId, requester: PeerId) -> bool:
    """Whether ``given`` is the proof for exactly this request, compared in constant time."""
    return hmac.compare_digest(proof(mac_key, request_digest, holder, requester), given)


def _from_body(body: str) -> ShareCode:
    compact = body + _check_character(body)
    derived = HKDF(SHA256(), LOOKUP_ID_BYTES + MAC_KEY_BYTES, salt=None, info=_INFO).derive(compact.encode())
    text = "-".join(compact[at : at + GROUP] for at in range(0, CODE_CHARACTERS, GROUP))
    return ShareCode(text, derived[:LOOKUP_ID_BYTES], derived[LOOKUP_ID_BYTES:])


def _check_character(body: str) -> str:
    """A checksum over GF(32) with another weight at each place.

    It finds every single mistyped character and every two characters that changed places, wherever they stand.
    """
    total = 0
    for char in body:
        total = _double(total ^ ALPHABET.index(char))
    return ALPHABET[total]


def _double(value: int) -> int:
    """Times x in GF(2)[x] / (x^5 + x^2 + 1)."""
    return (value << 1) ^ (0b100101 if value & 0b10000 else 0)
