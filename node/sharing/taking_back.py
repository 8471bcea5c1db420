"""Own offers that end because nothing may be released under them any more; whoever has one is told.

It happens in the transaction that revokes the consent, records the denial or withdraws the study: an offer that still
looked open would be accepted, and refused without a word that helps.
"""

from collections.abc import Iterable

from node.errors.lifecycle import StudyChanged
from node.errors.sharing import ConsentDenied, ConsentRevoked
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.consent import ConsentId, PurposeOfUse
from node.model.directive import Directive, traits_of
from node.model.ids import StudyInstanceUID
from node.model.offer import OfferEvent
from node.store import audit
from node.store import offers as rows
from node.store.engine import Read, Write
from node.store.offers import Offer
from node.store.study_queries import StudyQuery, find_studies


async def revoked(tx: Write, consent_id: ConsentId, *, by: str, now: int) -> None:
    """The directive that an offer rests on does not stand any more."""
    await _take_back(tx, await rows.open_under(tx, consent_id), ConsentRevoked.code, by=by, now=now)


async def denied(tx: Write, directive: Directive, *, by: str, now: int) -> None:
    """A denial covers all that an offer is about."""
    found = []
    for offer in await rows.open_to(tx, directive.recipient):
        studies = await find_studies(tx, StudyQuery(study_uids=offer.studies))
        is_about = directive.is_about(offer.peer, PurposeOfUse.TREAT)
        if is_about and all(directive.denies(s.patient, s.study_instance_uid, traits_of(s)) for s in studies):
            found.append(offer)
    await _take_back(tx, found, ConsentDenied.code, by=by, now=now)


async def withdrawn(tx: Write, study: StudyInstanceUID, *, by: str, now: int) -> None:
    """Nothing of ``study`` is visible any more; an offer of others with it goes on with those."""
    found = [offer for offer in await rows.open_of(tx, study) if not await _is_anything_left(tx, offer)]
    await _take_back(tx, found, StudyChanged.code, by=by, now=now)


async def _is_anything_left(rx: Read, offer: Offer) -> bool:
    return bool(await find_studies(rx, StudyQuery(study_uids=offer.studies)))


async def _take_back(tx: Write, offers: Iterable[Offer], code: str, *, by: str, now: int) -> None:
    for offer in offers:
        state = await rows.move(tx, offer, OfferEvent.WITHDRAW, reason=code, untold=True)
        detail: dict[str, str | int] = {"offer": str(offer.offer_id), "state": state.value}
        event = AuditEvent(AuditType.OFFER_DECIDED, now, by, Outcome.REFUSED, offer.peer, code=code, detail=detail)
        await audit.append(tx, event)
