"""Offers: a holder sends a study to a peer without being asked (trauma transfer, second opinion). Pure.

The clinician at the holder records the patient's consent by offering; the recipient accepts by hand or by its policy,
and then asks as always, so that an offer is decided, transferred, verified and signed for like any request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from node.errors.offers import OfferNotPending
from node.model.ids import PatientKey, PeerId, RandomId, StudyInstanceUID
from node.model.instance import Demographics

OFFER_SECONDS = 14 * 86_400  # how long it may be accepted, as long as a release lasts
MAX_OFFER_STUDIES = 32  # as many as one request may name
MAX_OFFER_REASON = 500  # characters
MAX_PENDING = 200  # offers of one peer that wait here; more are a flood


class OfferId(RandomId):
    """An offer."""


class OfferState(StrEnum):
    """Where an offer stands."""

    QUEUED = "QUEUED"  # out: the recipient has not been reached yet
    OFFERED = "OFFERED"  # the recipient has it and has not decided
    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    EXPIRED = "EXPIRED"
    WITHDRAWN = "WITHDRAWN"  # the holder took it back: its consent was revoked, or nothing of it is left


class OfferEvent(StrEnum):
    """What moves it."""

    DELIVER = "deliver"
    ACCEPT = "accept"
    REFUSE = "refuse"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"


_S, _E = OfferState, OfferEvent
OFFER_TRANSITIONS: Mapping[tuple[OfferState, OfferEvent], OfferState] = {
    (_S.QUEUED, _E.DELIVER): _S.OFFERED,
    (_S.QUEUED, _E.ACCEPT): _S.ACCEPTED,  # the answer to the delivery was lost
    (_S.QUEUED, _E.REFUSE): _S.REFUSED,
    (_S.QUEUED, _E.EXPIRE): _S.EXPIRED,
    (_S.OFFERED, _E.DELIVER): _S.OFFERED,
    (_S.OFFERED, _E.ACCEPT): _S.ACCEPTED,
    (_S.OFFERED, _E.REFUSE): _S.REFUSED,
    (_S.OFFERED, _E.EXPIRE): _S.EXPIRED,
    (_S.QUEUED, _E.WITHDRAW): _S.WITHDRAWN,
    (_S.OFFERED, _E.WITHDRAW): _S.WITHDRAWN,
    (_S.WITHDRAWN, _E.WITHDRAW): _S.WITHDRAWN,
    (_S.WITHDRAWN, _E.REFUSE): _S.WITHDRAWN,  # both sides changed their minds
    (_S.ACCEPTED, _E.ACCEPT): _S.ACCEPTED,
    (_S.REFUSED, _E.REFUSE): _S.REFUSED,
}


def next_offer_state(state: OfferState, event: OfferEvent) -> OfferState:
    """The state after ``event``.

    Raises:
        OfferNotPending: the table has no such row.
    """
    try:
        return OFFER_TRANSITIONS[state, event]
    except KeyError:
        raise OfferNotPending(f"{event.value} while {state.value}") from None


@dataclass(frozen=True, slots=True)
class OfferedStudy:
    """One study, with what helps to decide."""

    study: StudyInstanceUID
    date: str = ""
    modalities: tuple[str, ...] = ()
    description: str = field(default="", repr=False)
    instances: int = 0


@dataclass(frozen=True, slots=True)
class OfferText:
    """What the holder signed: whose studies, why, who offers them."""

    offer_id: OfferId
    holder: PeerId
    recipient: PeerId
    at: int
    expires_at: int
    user: str
    role: str
    reason: str = field(repr=False)
    patient: PatientKey
    demographics: Demographics
    studies: tuple[OfferedStudy, ...]
