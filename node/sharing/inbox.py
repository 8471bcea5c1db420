"""Requests that wait for a person at the holder: shown with what speaks against them, released or refused."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from node.errors.base import all_codes
from node.errors.sharing import NoSuchRequest, RequestNotPending, ReviewChanged
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.consent import ConsentKind, RefusalCode
from node.model.decide import Decision, Permit, Refuse, Review
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.model.instance import Demographics
from node.model.request import RequestEvent, RequestState, Subject
from node.peers.messages import decode_body
from node.sharing.evidence import recall
from node.sharing.holder import HolderParts
from node.sharing.release import Terms, demographics_of, judge, patient_of, release
from node.store import audit, requests
from node.store.engine import Read, Write
from node.store.requests import ReceivedRequest

MAX_REASON = 500  # characters of an operator's reason; it stays in this node's audit log


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """A request and what a person needs to decide it: what was said of the patient, and whom the code belongs to."""

    request_id: RequestId
    peer: PeerId
    user: str
    role: str
    purpose: str
    consent: ConsentKind  # what it rests on
    said: Subject = field(repr=False)
    patient: PatientKey | None  # whose studies they are; None if nothing can be released any more
    demographics: Demographics
    studies: tuple[StudyInstanceUID, ...]  # what a yes releases
    reasons: tuple[str, ...]
    received_at: int


class Inbox:
    """The operator's decisions."""

    def __init__(self, parts: HolderParts) -> None:
        self._parts = parts

    async def page(self) -> list[InboxEntry]:
        """What waits, oldest first. What is not to be released any more (a code revoked meanwhile) has no studies."""
        async with self._parts.db.read() as rx:
            return [await self._entry(rx, row) for row in await requests.in_review(rx)]

    async def release(self, request_id: RequestId, *, by: str) -> tuple[StudyInstanceUID, ...]:
        """Release it; the use of the code is consumed now. Returns the studies.

        Raises:
            NoSuchRequest, RequestNotPending. ReviewChanged: there are reasons that nobody has looked at yet.
            PeerNotTrusted: the peer was shut out meanwhile.
            The error of a refusal: the code is expired, revoked or used meanwhile, and the request refused with that.
        """
        async with self._parts.db.read() as rx:
            decision = await self._judge(rx, await _pending(rx, request_id))
        if not isinstance(decision, Refuse):
            await self._parts.ingest.close_revisions(_permit(decision).scope, actor=by)
        async with self._parts.db.write() as tx:
            row = await _pending(tx, request_id)
            decision = await self._judge(tx, row)
            if isinstance(decision, Refuse):
                await self._refuse(tx, row, decision.code, by, cause=decision.cause)
            else:
                self._parts.trust.require_trusted(row.peer)  # else it would lie ready for the day it is trusted again
                self._require_seen(row, decision)
                await self._release(tx, row, _permit(decision), by)
        if isinstance(decision, Refuse):
            raise all_codes()[decision.code.value]
        return tuple(sorted(_permit(decision).scope))

    async def refuse(self, request_id: RequestId, *, reason: str, by: str) -> None:
        """Refuse it; the reason stays here. Raises NoSuchRequest, RequestNotPending."""
        async with self._parts.db.write() as tx:
            row = await _pending(tx, request_id)
            await self._refuse(tx, row, RefusalCode.OPERATOR, by, reason[:MAX_REASON])

    async def peer_revoked(self, tx: Write, peer: PeerId, by: str) -> None:
        """Refuse what waits of a peer that is being revoked, lest it be released should it be trusted again."""
        for row in await requests.in_review_of(tx, peer):
            await self._refuse(tx, row, RefusalCode.OPERATOR, by, "the peer was revoked")

    async def reconsider(self, tx: Write, rows: Sequence[ReceivedRequest], *, by: str, why: str) -> int:
        """Refuse those of ``rows`` that no consent covers any more; how many. The others rest on what still stands."""
        refused = 0
        for row in rows:
            decision = await self._judge(tx, row)
            if isinstance(decision, Refuse):
                await self._refuse(tx, row, decision.code, by, why, cause=decision.cause)
                refused += 1
            else:
                permit = _permit(decision)
                await requests.rest_on(tx, row.request_id, permit.consent_id, permit.kind)
        return refused

    async def _judge(self, rx: Read, row: ReceivedRequest) -> Decision:
        policy = self._parts.trust.policy_of(row.peer)
        terms = Terms(self._parts.clock.now(), self._parts.settings.emergency_daily)
        return await judge(rx, decode_body(row.body), await recall(rx, row), policy, terms)

    @staticmethod
    def _require_seen(row: ReceivedRequest, decision: Permit | Review) -> None:
        reasons = decision.reasons if isinstance(decision, Review) else frozenset()
        if not {reason.value for reason in reasons} <= set(row.reasons):
            raise ReviewChanged

    async def _release(self, tx: Write, row: ReceivedRequest, permit: Permit, by: str) -> None:
        now, request = self._parts.clock.now(), decode_body(row.body)
        await requests.move_received(tx, row, RequestEvent.PERMIT, at=now, by=by)
        await requests.rest_on(tx, row.request_id, permit.consent_id, permit.kind)
        await audit.append(tx, self._event(row, by, Outcome.SUCCESS))
        await release(tx, self._parts.identity, request, permit, now=now, by=by)
        tx.after_commit(lambda: self._parts.metrics.requests.labels("permit").inc())

    async def _refuse(
        self,
        tx: Write,
        row: ReceivedRequest,
        code: RefusalCode,
        by: str,
        reason: str = "",
        *,
        cause: RefusalCode | None = None,
    ) -> None:
        """The requester hears ``code``; ``cause`` stays here, if it is another one."""
        now, why = self._parts.clock.now(), (cause or code).value
        await requests.move_received(tx, row, RequestEvent.REFUSE, at=now, by=by, code=code.value, cause=why)
        event = self._event(row, by, Outcome.REFUSED, reason=reason, code=why)
        await audit.append(tx, event)
        tx.after_commit(lambda: self._parts.metrics.requests.labels("refuse").inc())

    def _event(
        self, row: ReceivedRequest, by: str, outcome: Outcome, *, reason: str = "", code: str = ""
    ) -> AuditEvent:
        request = decode_body(row.body)
        detail = {"reasons": " ".join(row.reasons), "user": request.user, "reason": reason}
        return AuditEvent(
            AuditType.REQUEST_DECIDED,
            self._parts.clock.now(),
            by,
            outcome,
            row.peer,
            request=row.request_id,
            purpose=request.purpose.value,
            code=code,
            detail=detail,
        )

    async def _entry(self, rx: Read, row: ReceivedRequest) -> InboxEntry:
        request, decision = decode_body(row.body), await self._judge(rx, row)
        studies = () if isinstance(decision, Refuse) else tuple(sorted(_permit(decision).scope))
        return InboxEntry(
            row.request_id,
            row.peer,
            request.user,
            request.role,
            request.purpose.value,
            row.consent_kind or ConsentKind.SHARE_CODE,
            request.subject,
            await patient_of(rx, studies[0]) if studies else None,
            await demographics_of(rx, studies[0]) if studies else Demographics(),
            studies,
            row.reasons,
            row.received_at,
        )


def _permit(decision: Permit | Review) -> Permit:
    return decision.permit if isinstance(decision, Review) else decision


async def _pending(rx: Read, request_id: RequestId) -> ReceivedRequest:
    row = await requests.get_received(rx, request_id)
    if row is None:
        raise NoSuchRequest
    if row.state is not RequestState.REVIEW:
        raise RequestNotPending
    return row
