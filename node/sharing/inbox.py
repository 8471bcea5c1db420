"""Requests that wait for a person at the holder: shown with what speaks against them, released or refused.

What is released is what a person has seen, never more: the reasons that speak against it now must be among those that
were looked at, and the studies those that were chosen, or those with which the request was put up for review. Where
something was added meanwhile, nothing is released, and the request is put up afresh as it stands now.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from node.errors.access import InvalidInput
from node.errors.base import LeveretError, all_codes
from node.errors.sharing import NoSuchRequest, RequestNotPending, ReviewChanged
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.consent import ConsentKind, RefusalCode
from node.model.decide import Decision, Permit, Refuse, Review
from node.model.evidence import Attestation, Emergency
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.model.instance import Demographics, StudySummary
from node.model.request import RequestEvent, RequestState, Subject
from node.peers.messages import decode_body
from node.sharing.evidence import Proven, recall
from node.sharing.holder import HolderParts
from node.sharing.release import Terms, judge, release
from node.store import audit, requests
from node.store.engine import Read, Write
from node.store.requests import ReceivedRequest
from node.store.study_queries import StudyQuery, find_studies

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
    reasons: tuple[str, ...]  # why a person must look: those that hold now, and those it came with
    received_at: int
    held: tuple[StudySummary, ...] = field(default=(), repr=False)  # the same studies, as the index has them
    word: str = field(default="", repr=False)  # the clinician's reason of break-glass; who saw the form signed
    asked: int = 0  # how many studies were asked for


class Inbox:
    """The operator's decisions."""

    def __init__(self, parts: HolderParts) -> None:
        self._parts = parts

    async def page(self) -> list[InboxEntry]:
        """What waits, oldest first. What is not to be released any more (a code revoked meanwhile) has no studies."""
        async with self._parts.db.read() as rx:
            return [await self._entry(rx, row) for row in await requests.in_review(rx)]

    async def one(self, request_id: RequestId) -> InboxEntry:
        """One that waits; raises NoSuchRequest, RequestNotPending."""
        async with self._parts.db.read() as rx:
            return await self._entry(rx, await _pending(rx, request_id))

    async def waiting(self) -> int:
        """How many wait."""
        async with self._parts.db.read() as rx:
            return await requests.count_in_review(rx)

    async def release(
        self,
        request_id: RequestId,
        *,
        by: str,
        studies: Collection[StudyInstanceUID] | None = None,
        reasons: Collection[str] | None = None,
    ) -> tuple[StudyInstanceUID, ...]:
        """Release it, or ``studies`` of it alone; the use of the code is consumed now. Returns the studies.

        ``reasons`` are those that the person looked at. Where they or the studies are left out, those count with which
        the request was put up for review.

        Raises:
            NoSuchRequest, RequestNotPending. InvalidInput: no study was chosen.
            ReviewChanged: there are reasons or studies that nobody has looked at yet, or a chosen one is gone; the
                request is up for review with them now.
            PeerNotTrusted: the peer was shut out meanwhile.
            The error of a refusal: the code is expired, revoked or used meanwhile, and the request refused with that.
        """
        chosen = None if studies is None else frozenset(studies)
        if chosen is not None and not chosen:
            raise InvalidInput("studies")
        async with self._parts.db.read() as rx:
            decision = await self._judge(rx, await _pending(rx, request_id))
        if not isinstance(decision, Refuse):
            await self._parts.ingest.close_revisions(
                _permit(decision).scope & (chosen or _permit(decision).scope), actor=by
            )
        async with self._parts.db.write() as tx:
            row = await _pending(tx, request_id)
            decision = await self._judge(tx, row)
            if isinstance(decision, Refuse):
                await self._refuse(tx, row, decision.code, by, cause=decision.cause)
                raised: LeveretError | None = all_codes()[decision.code.value]()
            else:
                self._parts.trust.require_trusted(row.peer)  # else it would lie ready for the day it is trusted again
                permit, raised = _permit(decision), None
                if _is_seen(row, decision, chosen, reasons):
                    permit = replace(permit, scope=chosen or permit.scope)
                    await self._release(tx, row, permit, by)
                else:
                    shown = tuple(sorted({*row.reasons, *_reasons(decision)}))
                    await requests.put_up_again(tx, request_id, reasons=shown, scope=sorted(permit.scope))
                    raised = ReviewChanged()
        if raised is not None:
            raise raised
        return tuple(sorted(permit.scope))

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

    async def _release(self, tx: Write, row: ReceivedRequest, permit: Permit, by: str) -> None:
        now, request = self._parts.clock.now(), decode_body(row.body)
        await requests.move_received(tx, row, RequestEvent.PERMIT, at=now, by=by)
        await requests.rest_on(tx, row.request_id, permit.consent_id, permit.kind)
        await audit.append(tx, self._event(row, by, Outcome.SUCCESS, released=len(permit.scope)))
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
        self, row: ReceivedRequest, by: str, outcome: Outcome, *, reason: str = "", code: str = "", released: int = 0
    ) -> AuditEvent:
        request = decode_body(row.body)
        detail: dict[str, str | int] = {
            "reasons": " ".join(row.reasons),
            "user": request.user,
            "reason": reason,
            "asked": len(request.targets),
            "released": released,
        }
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
        held = tuple(await find_studies(rx, StudyQuery(study_uids=studies))) if studies else ()
        return InboxEntry(
            row.request_id,
            row.peer,
            request.user,
            request.role,
            request.purpose.value,
            row.consent_kind or ConsentKind.SHARE_CODE,
            request.subject,
            held[0].patient if held else None,
            held[0].demographics if held else Demographics(),
            studies,
            tuple(sorted({*row.reasons, *_reasons(decision)})),
            row.received_at,
            held,
            _word(await recall(rx, row)),
            len(request.targets),
        )


def _is_seen(
    row: ReceivedRequest,
    decision: Permit | Review,
    chosen: Collection[StudyInstanceUID] | None,
    reasons: Collection[str] | None,
) -> bool:
    """Whether a person has looked at all that the decision rests on, and may have what was chosen."""
    scope = _permit(decision).scope
    fits = scope <= set(row.scope) if chosen is None else set(chosen) <= scope
    return fits and set(_reasons(decision)) <= set(row.reasons if reasons is None else reasons)


def _reasons(decision: Decision) -> tuple[str, ...]:
    return tuple(reason.value for reason in decision.reasons) if isinstance(decision, Review) else ()


def _word(proven: Proven) -> str:
    """What the other facility says for its consent, where it rests on its word."""
    match proven.consent:
        case Emergency(reason=reason):
            return reason
        case Attestation(staff=staff):
            return staff
    return ""


def _permit(decision: Permit | Review) -> Permit:
    return decision.permit if isinstance(decision, Review) else decision


async def _pending(rx: Read, request_id: RequestId) -> ReceivedRequest:
    row = await requests.get_received(rx, request_id)
    if row is None:
        raise NoSuchRequest
    if row.state is not RequestState.REVIEW:
        raise RequestNotPending
    return row
