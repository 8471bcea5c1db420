"""Identifiers as types: a PeerId is not a UID, and neither is a bare ``str``."""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Self

from node.errors.identifiers import InvalidPeerId, InvalidUid

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_GROUP = 13  # base32 characters protected by one check character
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
MAX_UID_LENGTH = 64  # PS3.5 section 9.1


def _check_character(group: str) -> str:
    """Luhn mod 32 over one group: catches every single mistyped character and most swaps."""
    total, factor = 0, 1
    for char in group:
        addend = factor * _ALPHABET.index(char)
        factor = 3 - factor
        total += addend // 32 + addend % 32
    return _ALPHABET[-total % 32]


@dataclass(frozen=True, slots=True)
class PeerId:
    """A node's name: SHA-256 of its Ed25519 public key, in base32 with check characters.

    The full form is 8 groups of 7 characters: 52 base32 characters in 4 runs of 13, each followed by its check
    character.
    """

    digest: bytes

    def __post_init__(self) -> None:
        if len(self.digest) != hashlib.sha256().digest_size:
            raise InvalidPeerId

    @classmethod
    def of_public_key(cls, public_key: bytes) -> Self:
        """The id of the node that holds the Ed25519 ``public_key`` (32 bytes)."""
        return cls(hashlib.sha256(public_key).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the full form; dashes, blanks and case do not matter, 0 1 8 are read as O I B.

        Raises:
            InvalidPeerId: wrong length, wrong character or wrong check character.
        """
        compact = re.sub(r"[\s-]", "", text).upper().translate(str.maketrans("018", "OIB"))
        if len(compact) != 4 * (_GROUP + 1) or not set(compact) <= set(_ALPHABET):
            raise InvalidPeerId
        runs = [compact[i : i + _GROUP + 1] for i in range(0, len(compact), _GROUP + 1)]
        if any(_check_character(run[:-1]) != run[-1] for run in runs):
            raise InvalidPeerId("a character is mistyped")
        body = "".join(run[:-1] for run in runs)
        peer = cls(base64.b32decode(body + "===="))
        if peer.compact != compact:  # the last base32 character has unused bits: only one spelling is valid
            raise InvalidPeerId
        return peer

    @property
    def compact(self) -> str:
        """The full form without dashes (56 characters)."""
        body = base64.b32encode(self.digest).decode().rstrip("=")
        runs = (body[i : i + _GROUP] for i in range(0, len(body), _GROUP))
        return "".join(run + _check_character(run) for run in runs)

    @property
    def full(self) -> str:
        """The form that people compare and files carry."""
        text = self.compact
        return "-".join(text[i : i + 7] for i in range(0, len(text), 7))

    @property
    def short(self) -> str:
        """The first group, enough to tell one's own peers apart."""
        return self.compact[:7]

    @property
    def log(self) -> str:
        """The form for log lines: two groups."""
        text = self.compact
        return f"{text[:7]}-{text[7:14]}"

    def __str__(self) -> str:
        return self.full


class Uid(str):
    """A DICOM unique identifier (PS3.5 section 9.1), strictly: digits and dots, no leading zeros, 64 at most."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a UID as it stands in a data set (trailing NUL or blank padding allowed).

        Raises:
            InvalidUid: anything that the grammar of PS3.5 section 9.1 does not allow.
        """
        bare = text.rstrip("\0 ")
        if len(bare) > MAX_UID_LENGTH or not _UID.fullmatch(bare):
            raise InvalidUid
        return cls(bare)


class StudyInstanceUID(Uid):
    """(0020,000D)."""

    __slots__ = ()


class SeriesInstanceUID(Uid):
    """(0020,000E)."""

    __slots__ = ()


class SOPInstanceUID(Uid):
    """(0008,0018)."""

    __slots__ = ()


class SOPClassUID(Uid):
    """(0008,0016); private and retired classes are as good as any."""

    __slots__ = ()


class TransferSyntaxUID(Uid):
    """(0002,0010)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Digest:
    """SHA-256 of a data set without group 0002: what decides whether two instances are the same."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != hashlib.sha256().digest_size:
            raise ValueError(len(self.value))

    def __str__(self) -> str:
        return self.value.hex()


@dataclass(frozen=True, slots=True)
class PatientKey:
    """Who a patient is for one facility: (Issuer of Patient ID (0010,0021), Patient ID (0010,0020))."""

    issuer: str
    patient_id: str

    def __repr__(self) -> str:  # never let a traceback or a log show a patient
        return "PatientKey(...)"


@dataclass(frozen=True, slots=True)
class RandomId:
    """A 128-bit random name, shown as 32 hexadecimal digits: safe in paths, logs and file names."""

    value: bytes

    SIZE = 16

    def __post_init__(self) -> None:
        if len(self.value) != self.SIZE:
            raise ValueError(len(self.value))

    @classmethod
    def new(cls) -> Self:
        """A fresh one."""
        return cls(secrets.token_bytes(cls.SIZE))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the 32 lower-case hexadecimal digits; anything else raises ValueError."""
        if not re.fullmatch(r"[0-9a-f]{32}", text):
            raise ValueError(len(text))
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.value.hex()


class ObjectId(RandomId):
    """A stored object."""


class StudyRef(RandomId):
    """A study inside this node's store (key hierarchy) or, as opaque ``ref``, in an announcement."""


class RequestId(RandomId):
    """A request for release; the transfer that follows it bears the same id."""
