"""Cards: what a node says about itself, signed by its key (docs/protocol/pairing.md, section Card).

A card carries the certificate that its own signature is checked with, so it proves only that its parts belong
together; whether the node behind it is trusted is another question.
"""

import msgspec

from node.crypto.identity import Identity, public_key_of_certificate
from node.crypto.jws import JwsType, sign_jws, verify_self_signed
from node.errors.base import LeveretError
from node.errors.trust import InvalidCard
from node.model.ids import PeerId
from node.model.trust import Address, Card

CARD_SECONDS = 30 * 24 * 3600  # a peer that was away for a month still finds this node
RENEW_SECONDS = CARD_SECONDS // 2
MAX_CARD_BYTES = 3072  # of the token; so that a join message stays below 4 KiB
MAX_ADDRESSES = 4
MAX_NAME = 64  # characters
MAX_NAME_BYTES = 192  # in UTF-8


class _Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    certificate: bytes
    name: str
    addresses: list[str]
    sequence: int
    issued_at: int
    expires_at: int


def sign_card(identity: Identity, card: Card) -> str:
    """The card as a token (compact JWS)."""
    payload = _Card(
        v=1,
        certificate=card.certificate,
        name=card.name,
        addresses=[str(address) for address in card.addresses],
        sequence=card.sequence,
        issued_at=card.issued_at,
        expires_at=card.expires_at,
    )
    return sign_jws(identity, JwsType.CARD, msgspec.json.encode(payload))


def read_card(token: str) -> Card:
    """Verify a card against the certificate inside it.

    Raises:
        InvalidCard: the signature, the certificate or a field is wrong.
    """
    try:
        payload = verify_self_signed(
            token,
            JwsType.CARD,
            lambda data: public_key_of_certificate(_decode(data).certificate),
            max_bytes=MAX_CARD_BYTES,
        )
        return _checked(_decode(payload))
    except InvalidCard:
        raise
    except LeveretError as exc:
        raise InvalidCard(exc.code) from exc


def peer_of_card(card: Card) -> PeerId:
    """Whose card it is."""
    return PeerId.of_public_key(public_key_of_certificate(card.certificate))


def presentable(name: str) -> str:
    """A facility's name as a card may carry it: printable, on one line, not too long."""
    kept = " ".join("".join(char if char.isprintable() else " " for char in name).split())[:MAX_NAME]
    while len(kept.encode()) > MAX_NAME_BYTES:
        kept = kept[:-1]
    return kept.strip() or "unnamed facility"


def _decode(payload: bytes) -> _Card:
    try:
        return msgspec.json.decode(payload, type=_Card)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidCard("not a card") from exc


def _checked(card: _Card) -> Card:
    if card.v != 1:
        raise InvalidCard("a version this node does not know")
    if card.name != presentable(card.name):
        raise InvalidCard("name")
    if len(card.addresses) > MAX_ADDRESSES:
        raise InvalidCard("too many addresses")
    if not 0 <= card.sequence < 2**53 or not 0 <= card.issued_at < card.expires_at < 2**53:
        raise InvalidCard("sequence or times")
    addresses = tuple(Address.parse(text) for text in card.addresses)
    return Card(card.certificate, card.name, addresses, card.sequence, card.issued_at, card.expires_at)
