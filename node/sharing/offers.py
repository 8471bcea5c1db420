"""Offers: a clinician sends a study to a trusted facility, which accepts by hand or by policy and then pulls as always.

Offering records a directive: the holder's clinician says that the patient agreed that *this* facility has *these*
studies for two weeks. So the request that accepts the offer is decided like any other, and revoking the directive takes
the offer back. What the other side must be told waits in its queue, however long it is away.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from node.clock import Clock
from node.crypto.identity import Identity, public_key_of_certificate
from node.crypto.jws import JwsType, sign_jws, verify_jws
from node.errors.base import LeveretError
from node.errors.offers import InvalidOffer, NoSuchOffer, OfferNotPending, OfferRefused
from node.errors.peers import PeerUnreachable, RemoteRefusal
from node.errors.sharing import TooManyRequests
from node.log import Logger
from node.model.access import Caller
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.consent import ConsentId, PurposeOfUse
from node.model.directive import Directive, Effect, Scope
from node.model.ids import PeerId, RequestId, StudyInstanceUID
from node.model.instance import StudySummary
from node.model.offer import (
    MAX_OFFER_REASON,
    MAX_OFFER_STUDIES,
    MAX_PENDING,
    OFFER_SECONDS,
    OfferedStudy,
    OfferEvent,
    OfferId,
    OfferState,
    OfferText,
)
from node.model.request import MAX_SKEW_SECONDS, Subject
from node.model.transfer import Direction
from node.peers import limits
from node.peers.buckets import TokenBuckets
from node.peers.client import PeerClients
from node.peers.handlers_offers import MAX_OFFER_BYTES, OFFERS, REFUSAL, Refusal, decode_offer, encode_offer
from node.sharing.asking import is_of
from node.sharing.ingest import Ingest
from node.sharing.messenger import Messenger
from node.sharing.requests import RequestOrder, Requests
from node.sharing.trust import TrustList
from node.store import audit, directives, feeds
from node.store import offers as rows
from node.store.engine import Database, Read, Write
from node.store.offers import Offer
from node.store.study_queries import StudyQuery, find_studies

TELL_SECONDS = 15.0  # for one message to one peer
OFFERS_BURST = 200.0  # new ones of one peer: as many as wait at most
OFFERS_PER_SECOND = 0.1  # as many as requests: each may become one
_OPEN = (OfferState.QUEUED, OfferState.OFFERED)
REQUEST_TIMEOUT = 7 * 86_400  # seconds that an accepted offer tries to reach its holder


@dataclass(frozen=True, slots=True)
class OfferParts:
    """What offers work with. ``issuer`` is this facility's Issuer of Patient ID."""

    db: Database
    ingest: Ingest
    identity: Identity
    issuer: str
    trust: TrustList
    clients: PeerClients
    requests: Requests
    clock: Clock
    log: Logger


@dataclass(frozen=True, slots=True)
class OfferView:
    """An offer and what it says."""

    offer: Offer
    text: OfferText


class Offers:
    """Both sides of offers (``peers.handlers_offers.OfferPort``)."""

    def __init__(self, parts: OfferParts) -> None:
        self._parts = parts
        self._log = parts.log
        self._budgets = TokenBuckets(
            parts.clock, burst=OFFERS_BURST, per_second=OFFERS_PER_SECOND, remembered=limits.PEERS_REMEMBERED
        )
        self._messenger = Messenger(self, "offers", directory=parts.trust, clock=parts.clock, log=parts.log)

    # The holder -----------------------------------------------------------------------------------------------------

    async def make(self, to: PeerId, studies: Sequence[StudyInstanceUID], reason: str, *, caller: Caller) -> OfferView:
        """Offer own studies of one patient to a trusted peer; it is told as soon as it can be reached.

        Raises:
            PeerNotTrusted. InvalidOffer: no studies, too many, of several patients, or not one's own.
        """
        parts, now = self._parts, self._parts.clock.now()
        parts.trust.require_trusted(to)
        if not 0 < len(reason.strip()) <= MAX_OFFER_REASON or not 1 <= len(set(studies)) <= MAX_OFFER_STUDIES:
            raise InvalidOffer
        async with parts.db.read() as rx:
            found = await find_studies(rx, StudyQuery(study_uids=tuple(dict.fromkeys(studies)), own=True))
        if len(found) != len(set(studies)) or len({study.patient for study in found}) != 1:
            raise InvalidOffer
        await parts.ingest.close_revisions([study.study_instance_uid for study in found], actor=caller.actor)
        text = OfferText(
            OfferId.new(), parts.identity.peer_id, to, now, now + OFFER_SECONDS, caller.name, caller.role.value,
            reason.strip(), found[0].patient, found[0].demographics, tuple(_offered(study) for study in found),
        )  # fmt: skip
        token = sign_jws(parts.identity, JwsType.OFFER, encode_offer(text))
        directive = _directive(text, caller)
        offer = Offer(
            text.offer_id, Direction.OUT, to, OfferState.QUEUED, token, _uids(text), directive.consent_id,
            made_by=caller.actor, created_at=now, expires_at=text.expires_at, untold=True,
        )  # fmt: skip
        async with parts.db.write() as tx:
            await directives.add(tx, directive)
            await feeds.reconsider(tx, text.patient)
            await rows.add(tx, offer)
            await audit.append(tx, _event(AuditType.STUDY_OFFERED, text, now, caller.actor, to))
            tx.after_commit(self._messenger.wake)
        return OfferView(offer, text)

    async def refused(self, peer: PeerId, offer_id: OfferId, reason: str) -> None:
        """The other side ends it: the recipient does not want it, or the holder took it back. Raises NoSuchOffer."""
        async with self._parts.db.write() as tx:
            offer = await rows.get(tx, offer_id)
            if offer is None or offer.peer != peer:
                raise NoSuchOffer
            if offer.direction is Direction.IN:
                await self._taken_back(tx, offer, reason)
            elif offer.state is not OfferState.REFUSED:
                await self._not_wanted(tx, offer, reason)

    async def _taken_back(self, tx: Write, offer: Offer, reason: str) -> None:
        """An offer to this node that its holder took back; one that is decided stays as it is."""
        if offer.state is not OfferState.OFFERED:
            return
        now, text = self._parts.clock.now(), self._read(offer.peer, offer.token)
        await rows.move(tx, offer, OfferEvent.WITHDRAW, reason=reason)
        event = _event(AuditType.OFFER_DECIDED, text, now, f"peer:{offer.peer.compact}", offer.peer)
        await audit.append(tx, replace(event, outcome=Outcome.REFUSED))

    async def _not_wanted(self, tx: Write, offer: Offer, reason: str) -> None:
        """An own offer that its recipient does not take; nothing may be released under it any more."""
        now, peer, text = self._parts.clock.now(), offer.peer, self._own_text(offer)
        await rows.move(tx, offer, OfferEvent.REFUSE, reason=reason)
        if offer.consent_id is not None:
            await directives.revoke(tx, offer.consent_id, now)
        await feeds.reconsider(tx, text.patient)
        event = _event(AuditType.OFFER_DECIDED, text, now, f"peer:{peer.compact}", peer)
        await audit.append(tx, replace(event, outcome=Outcome.REFUSED))

    # The recipient --------------------------------------------------------------------------------------------------

    async def offered(self, peer: PeerId, token: str) -> None:
        """Take an offer; where the policy says so it is accepted at once, unless it names a patient of this facility.

        Raises:
            BadSignature, MalformedJws, RequestMalformed, OfferRefused: what is not believed, is over, or too much.
            TooManyRequests: not now.
        """
        parts, now = self._parts, self._parts.clock.now()
        text = self._read(peer, token)
        if text.holder != peer or text.recipient != parts.identity.peer_id:
            raise OfferRefused
        if not text.at - MAX_SKEW_SECONDS <= now < text.expires_at:
            raise OfferRefused
        offer = Offer(
            text.offer_id, Direction.IN, peer, OfferState.OFFERED, token, _uids(text),
            created_at=now, expires_at=text.expires_at,
        )  # fmt: skip
        async with parts.db.write() as tx:
            known = await rows.get(tx, text.offer_id)
            if known is not None:
                if (known.peer, known.token) != (peer, token):
                    raise OfferRefused
                return
            if not self._budgets.spend(peer.compact):
                raise TooManyRequests
            if await rows.pending_of(tx, peer) >= MAX_PENDING:
                raise OfferRefused
            await rows.add(tx, offer)
            await audit.append(tx, _event(AuditType.OFFER_RECEIVED, text, now, f"peer:{peer.compact}", peer))
        # An own patient's record takes images only where a person here says so: the offering side chose the name.
        if parts.trust.policy_of(peer).auto_accept and not is_of(parts.issuer, text.patient):
            await self._accept(OfferView(offer, text), user="node", role="operator", by="node")

    async def accept(self, offer_id: OfferId, *, caller: Caller) -> RequestId:
        """Ask for what was offered; the request under which it comes.

        Raises:
            NoSuchOffer, OfferNotPending, PeerNotTrusted.
        """
        view = await self._pending(offer_id)
        return await self._accept(view, user=caller.name, role=caller.role.value, by=caller.actor)

    async def refuse(self, offer_id: OfferId, reason: str, *, caller: Caller) -> None:
        """Do not take it; the holder is told. Raises NoSuchOffer, OfferNotPending."""
        view, now = await self._pending(offer_id), self._parts.clock.now()
        async with self._parts.db.write() as tx:
            offer = await _fresh(tx, offer_id)
            words = reason[:MAX_OFFER_REASON]
            await rows.move(tx, offer, OfferEvent.REFUSE, by=caller.actor, reason=words, untold=True)
            event = _event(AuditType.OFFER_DECIDED, view.text, now, caller.actor, offer.peer)
            await audit.append(tx, replace(event, outcome=Outcome.REFUSED))
            tx.after_commit(self._messenger.wake)

    async def page(self) -> list[OfferView]:
        """Offers in both directions, newest first."""
        async with self._parts.db.read() as rx:
            return [OfferView(offer, self._text(offer)) for offer in await rows.page(rx)]

    async def _accept(self, view: OfferView, *, user: str, role: str, by: str) -> RequestId:
        text = view.text
        order = RequestOrder(
            peer=text.holder,
            targets=_uids(text),
            consent=None,  # the holder has it on file
            user=user,
            role=role,
            subject=Subject(text.patient, text.demographics),
            timeout=REQUEST_TIMEOUT,
        )

        async def also(tx: Write, request_id: RequestId) -> None:
            offer = await _fresh(tx, text.offer_id)
            await rows.move(tx, offer, OfferEvent.ACCEPT, by=by, request_id=request_id)
            event = _event(AuditType.OFFER_DECIDED, text, self._parts.clock.now(), by, text.holder)
            await audit.append(tx, event)

        return await self._parts.requests.ask(order, by=by, also=also)

    async def _pending(self, offer_id: OfferId) -> OfferView:
        async with self._parts.db.read() as rx:
            offer = await _fresh(rx, offer_id)
        return OfferView(offer, self._text(offer))

    # The messenger --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tell the other sides what they must know, and end what nobody accepted, until cancelled."""
        await self._messenger.run()

    def peer_seen(self, peer: PeerId) -> None:
        """The peer is there: it is told what waits for it."""
        self._messenger.peer_seen(peer)

    async def waiting(self) -> Mapping[PeerId, int]:
        """Who must be told something, and when each is tried next (``messenger.Outbox``)."""
        now = self._parts.clock.now()
        async with self._parts.db.read() as rx:
            found, is_over = await rows.waiting(rx), await rows.has_expired(rx, now)
        if is_over:
            async with self._parts.db.write() as tx:
                await rows.expire(tx, now)
        return found

    async def tell_one(self, peer: PeerId) -> bool:
        """Tell ``peer`` the first thing that waits for it; whether to go on with the next."""
        async with self._parts.db.read() as rx:
            offer = await rows.first_untold(rx, peer)
        if offer is None:
            return False
        try:
            async with asyncio.timeout(TELL_SECONDS):
                return await self._tell(offer)
        except TimeoutError:
            await self._postpone(offer, PeerUnreachable.code)
        except LeveretError:
            raise
        except Exception:
            await self._postpone(offer, LeveretError.code)  # another one may fare better
            raise
        return False

    async def _tell(self, offer: Offer) -> bool:
        client = self._parts.clients.get(offer.peer)
        try:
            if offer.direction is Direction.OUT and offer.state is not OfferState.WITHDRAWN:
                await client.call("POST", OFFERS, body=offer.token.encode("ascii"))
            else:
                path = REFUSAL.format(id=offer.offer_id)
                await client.call("POST", path, body=Refusal(offer.reason))
        except LeveretError as error:
            return await self._not_told(offer, error)
        async with self._parts.db.write() as tx:
            current = await rows.get(tx, offer.offer_id)  # the answer may have been overtaken by the decision
            if current is not None and current.direction is Direction.OUT and current.state is OfferState.QUEUED:
                await rows.move(tx, current, OfferEvent.DELIVER)
            elif current is None or current.state is not OfferState.WITHDRAWN or offer.state is OfferState.WITHDRAWN:
                await rows.told(tx, offer)  # one that was taken back while it was delivered is still to be told
        return True

    async def _postpone(self, offer: Offer, code: str) -> None:
        async with self._parts.db.write() as tx:
            await rows.postpone(tx, offer, code, self._parts.clock.now())

    async def _not_told(self, offer: Offer, error: LeveretError) -> bool:
        """What the other side refuses for good is over; anything else may pass."""
        now = self._parts.clock.now()
        is_final = isinstance(error, RemoteRefusal) and error.remote_code in {OfferRefused.code, NoSuchOffer.code}
        async with self._parts.db.write() as tx:
            current = await rows.get(tx, offer.offer_id)
            if is_final and current is not None and current.direction is Direction.OUT and current.state in _OPEN:
                await self._not_wanted(tx, current, OfferRefused.code)
            elif is_final:
                await rows.told(tx, offer)
            else:
                await rows.postpone(tx, offer, error.code, now)
        self._log.info("offer not delivered", peer=offer.peer.log, code=error.code)
        return is_final

    def _read(self, peer: PeerId, token: str) -> OfferText:
        key = public_key_of_certificate(self._parts.trust.certificate_of(peer))
        return decode_offer(verify_jws(token, JwsType.OFFER, key, max_bytes=MAX_OFFER_BYTES))

    def _own_text(self, offer: Offer) -> OfferText:
        key = self._parts.identity.public_key
        return decode_offer(verify_jws(offer.token, JwsType.OFFER, key, max_bytes=MAX_OFFER_BYTES))

    def _text(self, offer: Offer) -> OfferText:
        return self._own_text(offer) if offer.direction is Direction.OUT else self._read(offer.peer, offer.token)


async def _fresh(rx: Read, offer_id: OfferId) -> Offer:
    """An offer to this node that waits for a decision."""
    offer = await rows.get(rx, offer_id)
    if offer is None or offer.direction is not Direction.IN:
        raise NoSuchOffer
    if offer.state is not OfferState.OFFERED:
        raise OfferNotPending
    return offer


def _offered(study: StudySummary) -> OfferedStudy:
    return OfferedStudy(
        study.study_instance_uid, study.date, tuple(sorted(study.modalities)), study.description, study.instances
    )


def _uids(text: OfferText) -> tuple[StudyInstanceUID, ...]:
    return tuple(study.study for study in text.studies)


def _directive(text: OfferText, caller: Caller) -> Directive:
    return Directive(
        consent_id=ConsentId.new(),
        patient=text.patient,
        effect=Effect.PERMIT,
        recipient=text.recipient,
        scope=Scope(studies=frozenset(_uids(text))),
        purposes=frozenset({PurposeOfUse.TREAT}),
        starts_at=text.at,
        until=text.expires_at,
        created_at=text.at,
        recorded_by=caller.actor,
    )


def _event(kind: AuditType, text: OfferText, now: int, actor: str, peer: PeerId) -> AuditEvent:
    detail: dict[str, str | int] = {"offer": str(text.offer_id), "studies": len(text.studies), "user": text.user}
    study = text.studies[0].study if len(text.studies) == 1 else None
    return AuditEvent(kind, now, actor, Outcome.SUCCESS, peer, text.patient, study, purpose="TREAT", detail=detail)
