"""The invitation file: a signed token in armour that an e-mail survives (docs/protocol/pairing.md, section Invitation).

The armour uses no character that mail programs like to change: no dash that becomes a long one, no ``=`` that
quoted-printable takes for its own, no blank. So reading may throw away quote marks, blanks and line ends of every
kind.
"""

import re
import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from node.crypto.identity import Identity, public_key_of_certificate
from node.crypto.jws import JwsType, sign_jws, verify_self_signed
from node.crypto.pairing import SECRET_BYTES
from node.errors.base import LeveretError
from node.errors.trust import InvitationDamaged
from node.model.ids import PeerId
from node.model.trust import Card, Invitation
from node.sharing.cards import MAX_CARD_BYTES, peer_of_card, read_card

MAX_TEXT = 64 * 1024  # characters of a file or a pasted mail
MAX_TOKEN_BYTES = 2 * MAX_CARD_BYTES  # the card once more in base64, and a few small fields
ID_BYTES = 16
_LINE = 64

_ARMOUR = re.compile(r"BEGIN\W+LEVERET\W+INVITATION\b(.*?)\bEND\W+LEVERET\W+INVITATION\b", re.DOTALL)
_QUOTES = re.compile(r"^(?:\s|>|&gt;|\|)+", re.MULTILINE)
# Blanks, marks that cannot be seen, dashes left of the BEGIN and END lines, soft line breaks of quoted-printable.
_NOISE = re.compile(r"[\s\u200b-\u200f\u2060\ufeff\u00ad>|=\-\u2010-\u2015]+")
_BODY = re.compile(r"[A-Za-z0-9+/.]+")
_TO_ARMOUR, _FROM_ARMOUR = str.maketrans("-_", "+/"), str.maketrans("+/", "-_")


class _Invitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    card: str
    invitation: bytes
    secret: bytes
    created_at: int
    expires_at: int
    auto_confirm: bool
    bound_to: str | None


@dataclass(frozen=True, slots=True)
class ReadInvitation:
    """An invitation that somebody else made, verified."""

    inviter: PeerId
    card: Card
    card_token: str
    invitation: Invitation


def write_invitation(identity: Identity, card_token: str, name: str, invitation: Invitation) -> str:
    """The text of the file, with a few lines for whoever opens it."""
    payload = _Invitation(
        v=1,
        card=card_token,
        invitation=invitation.invitation_id,
        secret=invitation.secret,
        created_at=invitation.created_at,
        expires_at=invitation.expires_at,
        auto_confirm=invitation.auto_confirm,
        bound_to=invitation.bound_to.compact if invitation.bound_to else None,
    )
    token = sign_jws(identity, JwsType.INVITATION, msgspec.json.encode(payload))
    body = token.translate(_TO_ARMOUR)
    until = datetime.fromtimestamp(invitation.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"Invitation to exchange studies with {name}, for one facility, valid until {until}.\n"
        "Whoever holds this text can use it: send it to nobody else.\n"
        "Save it as a file and run there:  leveret peers join FILE\n"
        "Then compare the safety phrase that both sides show, best by telephone.\n\n"
        "-----BEGIN LEVERET INVITATION-----\n" + "\n".join(textwrap.wrap(body, _LINE)) + "\n"
        "-----END LEVERET INVITATION-----\n"
    )


def read_invitation(text: str) -> ReadInvitation:
    """Find, decode and verify an invitation in a file or a mail; expiry and recipient are the caller's to judge.

    Raises:
        InvitationDamaged: there is none, or it is not as its maker signed it.
    """
    token = _token_in(text)
    try:
        payload = verify_self_signed(token, JwsType.INVITATION, _signer, max_bytes=MAX_TOKEN_BYTES)
        read = _decode(payload)
        card = read_card(read.card)
        bound_to = None if read.bound_to is None else PeerId.parse(read.bound_to)
    except InvitationDamaged:
        raise
    except LeveretError as exc:
        raise InvitationDamaged(exc.code) from exc
    if read.v != 1:
        raise InvitationDamaged("a version this node does not know")
    if len(read.invitation) != ID_BYTES or len(read.secret) != SECRET_BYTES or not 0 <= read.expires_at < 2**53:
        raise InvitationDamaged
    invitation = Invitation(read.invitation, read.secret, read.created_at, read.expires_at, read.auto_confirm, bound_to)
    return ReadInvitation(peer_of_card(card), card, read.card, invitation)


def _token_in(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise InvitationDamaged("too long")
    found = _ARMOUR.search(text)
    if found is None:
        raise InvitationDamaged("no BEGIN and END line")
    body = _NOISE.sub("", _QUOTES.sub("", found[1]))
    if not _BODY.fullmatch(body):
        raise InvitationDamaged("characters are missing or changed")
    return body.translate(_FROM_ARMOUR)


def _decode(payload: bytes) -> _Invitation:
    try:
        return msgspec.json.decode(payload, type=_Invitation)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvitationDamaged("not an invitation") from exc


def _signer(payload: bytes) -> bytes:
    return public_key_of_certificate(read_card(_decode(payload).card).certificate)
