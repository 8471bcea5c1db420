"""Decoding that accepts one spelling: exact members, none twice, canonical base64url. Raises RequestMalformed."""

import base64
import binascii
import json
from typing import Any, TypeVar

import msgspec

from node.errors.sharing import RequestMalformed

T = TypeVar("T")


def decode_json(payload: bytes, of: type[T]) -> T:
    """A JSON document of exactly the members that ``of`` names."""
    try:
        message = msgspec.json.decode(payload, type=of)  # the types bound the depth: the second reader is safe
        json.loads(payload, object_pairs_hook=_no_member_twice)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise RequestMalformed from exc
    return message


def _no_member_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError(len(pairs))
    return members


def b64(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """Strict base64url without padding: only the one canonical spelling of some bytes."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as exc:
        raise RequestMalformed from exc
    if b64(data) != text:
        raise RequestMalformed
    return data
