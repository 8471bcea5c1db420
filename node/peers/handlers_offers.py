"""Offers between two nodes (docs/protocol/offers.md): a signed offer, and its refusal."""

from collections.abc import Iterable
from typing import Annotated, Protocol

import msgspec
from aiohttp import web

from node.errors.base import LeveretError
from node.errors.offers import NoSuchOffer, OfferRefused
from node.model.ids import MAX_UID_LENGTH, PatientKey, PeerId, StudyInstanceUID
from node.model.instance import Demographics
from node.model.offer import (
    MAX_OFFER_REASON,
    MAX_OFFER_STUDIES,
    OFFER_SECONDS,
    OfferedStudy,
    OfferId,
    OfferText,
)
from node.peers import wire
from node.peers.strict import decode_json

OFFERS = "/peer/v1/offers"
REFUSAL = "/peer/v1/offers/{id}/refusal"
MAX_OFFER_BYTES = 48 * 1024  # 32 studies with every text at its longest, in base64

_Text = Annotated[str, msgspec.Meta(max_length=128)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
_Reason = Annotated[str, msgspec.Meta(max_length=MAX_OFFER_REASON)]


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Study(_Message, frozen=True):
    uid: Annotated[str, msgspec.Meta(max_length=MAX_UID_LENGTH)]
    date: Annotated[str, msgspec.Meta(pattern=r"^([0-9]{8})?\Z")]
    modalities: Annotated[list[Annotated[str, msgspec.Meta(max_length=16)]], msgspec.Meta(max_length=32)]
    description: _Text
    instances: Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class _Patient(_Message, frozen=True):
    issuer: _Text
    id: _Text


class _Person(_Message, frozen=True):
    name: Annotated[str, msgspec.Meta(max_length=324)]
    birth_date: Annotated[str, msgspec.Meta(max_length=8)]
    sex: Annotated[str, msgspec.Meta(max_length=16)]


class _Offer(_Message, frozen=True):
    v: Annotated[int, msgspec.Meta(ge=1, le=1)]
    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    holder: Annotated[str, msgspec.Meta(min_length=56, max_length=56)]
    recipient: Annotated[str, msgspec.Meta(min_length=56, max_length=56)]
    at: _Time
    expires: _Time
    user: _Text
    role: _Text
    reason: _Reason
    patient: _Patient
    person: _Person
    studies: Annotated[list[_Study], msgspec.Meta(min_length=1, max_length=MAX_OFFER_STUDIES)]


class Refusal(_Message, frozen=True):
    """Why an offer is refused, in the recipient's words."""

    reason: _Reason = ""


def encode_offer(offer: OfferText) -> bytes:
    """The payload of an offer."""
    who = offer.demographics
    return msgspec.json.encode(
        _Offer(
            1,
            str(offer.offer_id),
            offer.holder.compact,
            offer.recipient.compact,
            offer.at,
            offer.expires_at,
            offer.user,
            offer.role,
            offer.reason,
            _Patient(offer.patient.issuer, offer.patient.patient_id),
            _Person(who.name, who.birth_date, who.sex),
            [_Study(str(s.study), s.date, list(s.modalities), s.description[:128], s.instances) for s in offer.studies],
        )
    )


def decode_offer(payload: bytes) -> OfferText:
    """Read what :func:`encode_offer` made.

    Raises:
        RequestMalformed: not of this form. OfferRefused: a study twice, or a period that is none or too long.
    """
    o = decode_json(payload, _Offer)
    if not 0 < o.expires - o.at <= OFFER_SECONDS or len({s.uid for s in o.studies}) != len(o.studies):
        raise OfferRefused
    try:
        return OfferText(
            OfferId.parse(o.id),
            PeerId.parse(o.holder),
            PeerId.parse(o.recipient),
            o.at,
            o.expires,
            o.user,
            o.role,
            o.reason,
            PatientKey(o.patient.issuer, o.patient.id),
            Demographics(o.person.name, o.person.birth_date, o.person.sex),
            tuple(
                OfferedStudy(StudyInstanceUID.parse(s.uid), s.date, tuple(s.modalities), s.description, s.instances)
                for s in o.studies
            ),
        )
    except (LeveretError, ValueError) as exc:
        raise OfferRefused from exc


class OfferPort(Protocol):
    """What either side does about an offer."""

    async def offered(self, peer: PeerId, token: str) -> None:
        """Take an offer of ``peer``; the same one again is as good."""

    async def refused(self, peer: PeerId, offer_id: OfferId, reason: str) -> None:
        """``peer`` refuses an offer of this node."""


def routes(port: OfferPort) -> Iterable[web.RouteDef]:
    """The handlers, for ``PeerServer.add_routes``."""

    async def offered(request: web.Request) -> web.Response:
        await port.offered(wire.peer_of(request), await wire.read_jws(request, limit=MAX_OFFER_BYTES))
        return wire.empty_reply()

    async def refused(request: web.Request) -> web.Response:
        try:
            offer_id = OfferId.parse(request.match_info["id"])
        except ValueError as exc:
            raise NoSuchOffer from exc
        refusal = await wire.read_struct(request, Refusal)
        await port.refused(wire.peer_of(request), offer_id, refusal.reason)
        return wire.empty_reply()

    return [web.post(OFFERS, offered), web.post(REFUSAL, refused)]
