"""Signed tree heads: C2SP signed notes, checkpoints and cosignatures (https://c2sp.org).

A note is a text, a blank line, and signature lines ``— NAME BASE64(key id ‖ signature)``. A checkpoint is a note whose
text says origin, size and root of a log. A witness adds a cosignature line: its statement that, at a time, this was the
largest consistent tree that it knew of that log.

This node signs no other texts than checkpoints as notes, so a note cannot be mistaken for a cosigned message, whose
second line (``time …``) no checkpoint has.
"""

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass

from node.crypto.identity import SIGNATURE_BYTES, Identity, verify_text
from node.crypto.tlog import HASH_BYTES, MAX_SIZE
from node.errors.crypto_identity import BadSignature, MalformedNote

MAX_NOTE_LENGTH = 64 * 1024  # characters; a checkpoint of this node with 64 witnesses has 14,000
MAX_SIGNATURES = 64  # C2SP asks for at least 16
_ED25519, _COSIGNATURE_V1 = 1, 4  # signature types of C2SP signed-note
_KEY_ID_BYTES = 4
_TIME = struct.Struct(">Q")
_MAX_TIME = 2**63 - 1  # C2SP tlog-cosignature


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One line below a note: whose it says it is, and the signature as its type encodes it."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it was parsed; nothing of it is verified."""

    text: str
    signatures: tuple[SignatureLine, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of the log ``origin``: its first ``size`` entries have the root hash ``root``."""

    origin: str
    size: int
    root: bytes


def checkpoint_body(origin: str, size: int, root: bytes) -> str:
    """The text of a checkpoint. ``origin`` follows the rules for a key's name (:class:`ValueError`)."""
    if not _is_name(origin) or not 0 <= size <= MAX_SIZE or len(root) != HASH_BYTES:
        raise ValueError(size, len(root))
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def sign_note(identity: Identity, name: str, body: str) -> str:
    """The note of a checkpoint's ``body`` with the signature of ``identity`` under the key name ``name``.

    A body that is no checkpoint is refused (MalformedNote): a node signs no other texts.
    """
    parse_checkpoint(body)
    return f"{body}\n{_line(name, _key_id(name, _ED25519, identity.public_key), identity.sign_text(body))}"


def cosign(identity: Identity, name: str, body: str, at: int) -> str:
    """A witness's line for a checkpoint's ``body``, to be put at the end of its note; ``at`` in seconds since 1970.

    Whoever cosigns has verified that this tree continues the largest one it has cosigned for that origin.
    """
    parse_checkpoint(body)
    if not 0 <= at <= _MAX_TIME:
        raise ValueError(at)
    signature = _TIME.pack(at) + identity.sign_text(_cosigned(body, at))
    return _line(name, _key_id(name, _COSIGNATURE_V1, identity.public_key), signature)


def verify_checkpoint(note: str, origin: str, public_key: bytes) -> Checkpoint:
    """The checkpoint of the log ``origin``, whose key has the log's name.

    Raises:
        MalformedNote: it is no checkpoint, or another log's.
        BadSignature: not signed by ``public_key`` under that name.
    """
    checkpoint = parse_checkpoint(verify_note(note, origin, public_key))
    if checkpoint.origin != origin:
        raise MalformedNote
    return checkpoint


def verify_note(note: str, name: str, public_key: bytes) -> str:
    """The text of a note that ``public_key`` signed under the key name ``name``; errors as :func:`verify_checkpoint`.

    Lines of other keys are ignored; every line of this key must verify.
    """
    parsed = parse_note(note)
    for line in _lines_of(parsed, name, _key_id(name, _ED25519, public_key)):
        verify_text(public_key, parsed.text, line.signature)
    return parsed.text


def verify_cosignature(note: str, name: str, public_key: bytes) -> int:
    """When (seconds since 1970) the witness ``name`` with ``public_key`` cosigned this checkpoint; the latest time.

    Raises:
        MalformedNote: it is no checkpoint, or the line is none of a cosignature.
        BadSignature: it did not cosign it.
    """
    parsed = parse_note(note)
    parse_checkpoint(parsed.text)
    return max(
        _cosigned_at(parsed.text, line, public_key)
        for line in _lines_of(parsed, name, _key_id(name, _COSIGNATURE_V1, public_key))
    )


_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE_LINE = re.compile("\u2014 ([^ ]+) ([A-Za-z0-9+/]+={0,2})")
_EXTENSIONS_FROM = 3


def parse_note(note: str) -> Note:
    """Split a note at its last blank line.

    Raises:
        MalformedNote: not the form of C2SP signed-note, too long, or too many signatures.
    """
    if len(note) > MAX_NOTE_LENGTH or _CONTROL.search(note):
        raise MalformedNote
    text, blank, below = note.rpartition("\n\n")
    if not blank or not text or not below.endswith("\n"):
        raise MalformedNote
    lines = below[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedNote
    return Note(text + "\n", tuple(_parse_line(line) for line in lines))


def parse_checkpoint(body: str) -> Checkpoint:
    """Read a checkpoint's text; extension lines are allowed and mean nothing here.

    Raises:
        MalformedNote: not the form of C2SP tlog-checkpoint.
    """
    if not body.endswith("\n") or _CONTROL.search(body):
        raise MalformedNote
    lines = body[:-1].split("\n")
    if len(lines) < _EXTENSIONS_FROM or not all(lines):
        raise MalformedNote
    origin, size, root = lines[:_EXTENSIONS_FROM]
    hashed = _decode(root)
    if not _is_name(origin) or not _DECIMAL.fullmatch(size) or int(size) > MAX_SIZE or len(hashed) != HASH_BYTES:
        raise MalformedNote
    return Checkpoint(origin, int(size), hashed)


def _parse_line(line: str) -> SignatureLine:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None or not _is_name(match[1]):
        raise MalformedNote
    data = _decode(match[2])
    if len(data) <= _KEY_ID_BYTES:
        raise MalformedNote
    return SignatureLine(match[1], data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


def _lines_of(note: Note, name: str, key_id: bytes) -> list[SignatureLine]:
    """The lines of one key, at least one."""
    lines = [line for line in note.signatures if (line.name, line.key_id) == (name, key_id)]
    if not lines:
        raise BadSignature
    return lines


def _cosigned_at(text: str, line: SignatureLine, public_key: bytes) -> int:
    if len(line.signature) != _TIME.size + SIGNATURE_BYTES:
        raise MalformedNote
    (at,) = _TIME.unpack_from(line.signature)
    if at > _MAX_TIME:
        raise MalformedNote
    verify_text(public_key, _cosigned(text, at), line.signature[_TIME.size :])
    return int(at)


def _cosigned(body: str, at: int) -> str:
    return f"cosignature/v1\ntime {at}\n{body}"


def _line(name: str, key_id: bytes, signature: bytes) -> str:
    if not _is_name(name):
        raise ValueError(len(name))
    return f"\u2014 {name} {base64.b64encode(key_id + signature).decode()}\n"


def _key_id(name: str, kind: int, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()[:_KEY_ID_BYTES]


def _is_name(text: str) -> bool:
    """A key's name: not empty, no Unicode spaces, no control characters, no plus."""
    return text.isprintable() and bool(text) and "+" not in text and not any(map(str.isspace, text))


def _decode(text: str) -> bytes:
    """Standard base64 in its one canonical form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise MalformedNote from exc
    if base64.b64encode(data).decode() != text:
        raise MalformedNote
    return data
