"""The holder's side of a request: verify, decide, remember, answer; and what the recipient says afterwards.

What is refused without a proved code is answered after the same time, in the same words and length, whether the patient
is unknown, the code wrong or the peer locked out: the answer tells nothing about anybody.
"""

import asyncio
import hashlib
from dataclasses import dataclass, replace

from node.clock import Clock
from node.config import ConsentSettings
from node.crypto.identity import Identity, public_key_of_certificate
from node.crypto.jws import JwsType, sign_jws, verify_jws
from node.errors.crypto_identity import BadSignature
from node.errors.sharing import (
    NoSuchRequest,
    ReceiptRefused,
    ReleaseExpired,
    RequestIdReused,
    RequestStale,
    SignerMismatch,
    TooManyRequests,
    TransferCancelled,
    WrongHolder,
)
from node.errors.trust import PeerNotTrusted
from node.log import Logger
from node.metrics import Metrics
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.consent import ConsentKind, RefusalCode
from node.model.decide import Decision, Permit, Refuse, Review
from node.model.evidence import Attestation, Emergency
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.model.release import DecisionNotice, Verdict
from node.model.request import CodeProof, RequestEvent, RequestState, SignedRequest, is_fresh
from node.model.transfer import Direction, Transfer, TransferEvent, TransferState
from node.peers import limits
from node.peers.buckets import TokenBuckets
from node.peers.messages import MAX_REQUEST_BYTES, decode_body, decode_request, encode_decision
from node.sharing.evidence import Proven, check_proof, to_keep
from node.sharing.ingest import Ingest
from node.sharing.receipts import read_receipt, take_receipt
from node.sharing.release import Terms, judge, patient_of, release
from node.sharing.serve import ObjectServer, why_ended
from node.sharing.trust import TrustList
from node.store import audit, brought, consents, requests, transfers
from node.store.engine import Database, Read, Write
from node.store.requests import ReceivedRequest

REFUSAL_GRID = 0.25  # seconds: ``not_released`` leaves at a multiple of this after the request came

_VERDICTS = {
    RequestState.PERMITTED: Verdict.PERMIT,
    RequestState.REFUSED: Verdict.REFUSE,
    RequestState.REVIEW: Verdict.REVIEW,
    RequestState.FAILED: Verdict.REFUSE,  # withdrawn by the requester itself
}
_OUTCOMES = {Verdict.PERMIT: Outcome.SUCCESS, Verdict.REFUSE: Outcome.REFUSED, Verdict.REVIEW: Outcome.SUCCESS}


@dataclass(frozen=True, slots=True)
class HolderParts:
    """What the holder's side works with."""

    db: Database
    ingest: Ingest
    identity: Identity
    trust: TrustList
    server: ObjectServer
    clock: Clock
    settings: ConsentSettings
    metrics: Metrics
    log: Logger


class Holder:
    """Answers peers about requests (``peers.handlers_requests.RequestPort``)."""

    def __init__(self, parts: HolderParts) -> None:
        self._parts = parts
        self._budgets = TokenBuckets(
            parts.clock,
            burst=limits.REQUESTS_BURST,
            per_second=limits.REQUESTS_PER_SECOND,
            remembered=limits.PEERS_REMEMBERED,
        )

    async def receive(self, peer: PeerId, token: str) -> str:
        """Decide a request, or repeat the decision on one that came before.

        Raises:
            SignerMismatch: not signed by ``peer``, or made in another's name. WrongHolder: meant for another node.
            RequestStale: signed too long ago or in the future. RequestMalformed, RequestIdReused.
            TooManyRequests: not now; nothing of it is kept.
        """
        arrived = self._parts.clock.monotonic()
        signed = self._verify(peer, token)
        async with self._parts.db.read() as rx:
            earlier = await requests.get_received(rx, signed.request.request_id)
        if earlier is None:
            self._spend(peer)
        row = earlier or await self._decide(signed)
        if row.peer != peer or row.digest != signed.digest:
            raise RequestIdReused
        if row.code == RefusalCode.NOT_RELEASED:
            await self._wait_for_grid(arrived)
        return self._notice(row)

    async def decision(self, peer: PeerId, request_id: RequestId) -> str:
        """The decision as it stands; raises NoSuchRequest, also for another peer's."""
        async with self._parts.db.read() as rx:
            return self._notice(await _own_row(rx, peer, request_id))

    async def manifest(self, peer: PeerId, request_id: RequestId) -> str:
        """The manifest of a release that is still good.

        Raises:
            NoSuchRequest: not released to ``peer``. ReleaseExpired, ConsentRevoked, TransferCancelled: not any more.
        """
        async with self._parts.db.read() as rx:
            await _own_row(rx, peer, request_id)
            transfer = await transfers.get(rx, request_id)
            stored = await transfers.release_of(rx, request_id)
        if transfer is None or stored is None:
            raise NoSuchRequest
        if transfer.state in {TransferState.CANCELLED, TransferState.FAILED}:
            raise why_ended(transfer)
        if self._parts.clock.now() >= stored.expires_at:
            raise ReleaseExpired
        return stored.manifest

    async def take_receipt(self, peer: PeerId, request_id: RequestId, token: str) -> None:
        """Keep the recipient's receipt; raises NoSuchRequest, ReceiptRefused, SignerMismatch."""
        parts = self._parts
        receipt = read_receipt(token, public_key_of_certificate(parts.trust.certificate_of(peer)))
        if (receipt.request_id, receipt.holder, receipt.recipient) != (request_id, parts.identity.peer_id, peer):
            raise ReceiptRefused
        await self._require_own(peer, request_id)
        async with parts.db.write() as tx:
            if await take_receipt(tx, receipt, token, now=parts.clock.now()):
                tx.after_commit(lambda: self._ended(request_id, TransferState.COMPLETED))

    async def cancelled(self, peer: PeerId, request_id: RequestId) -> None:
        """The recipient gave the transfer up; an ended one stays as it is. Raises NoSuchRequest."""
        await self._require_own(peer, request_id)
        async with self._parts.db.write() as tx:
            row = await _own_row(tx, peer, request_id)
            await self._cancel(tx, row, by=f"peer:{peer.compact}")

    async def cancel(self, request_id: RequestId, *, by: str) -> None:
        """An operator of the holder stops an outgoing transfer; raises NoSuchRequest."""
        async with self._parts.db.write() as tx:
            row = await requests.get_received(tx, request_id)
            if row is None:
                raise NoSuchRequest
            await self._cancel(tx, row, by=by)

    async def peer_revoked(self, tx: Write, peer: PeerId, by: str) -> None:
        """End the releases to a peer that is being revoked, lest they go on should it be trusted again."""
        now = self._parts.clock.now()
        for transfer in await transfers.unfinished(tx, Direction.OUT):
            if transfer.peer == peer:
                await transfers.move(tx, transfer.request_id, TransferEvent.FAIL, at=now, code=PeerNotTrusted.code)
                await audit.append(tx, _revoked_event(transfer, by, now))
                tx.after_commit(self._parts.metrics.transfers.labels("out", TransferState.FAILED.value).inc)

    async def _cancel(self, tx: Write, row: ReceivedRequest, *, by: str) -> None:
        now = self._parts.clock.now()
        if row.state is RequestState.REVIEW:
            await requests.move_received(tx, row, RequestEvent.FAIL, at=now, by=by, code="transfer_cancelled")
        if await transfers.end_if_unfinished(
            tx, row.request_id, TransferEvent.CANCEL, code=TransferCancelled.code, at=now
        ):
            detail = {"state": TransferState.CANCELLED.value, "direction": "out"}
            event = AuditEvent(AuditType.TRANSFER_STATE, now, by, peer=row.peer, request=row.request_id, detail=detail)
            await audit.append(tx, event)
            tx.after_commit(lambda: self._ended(row.request_id, TransferState.CANCELLED))

    async def _require_own(self, peer: PeerId, request_id: RequestId) -> None:
        """Refuse a made-up id before the writer is taken, which there is one of; what is released stays on file."""
        async with self._parts.db.read() as rx:
            await _own_row(rx, peer, request_id)

    def _ended(self, request_id: RequestId, state: TransferState) -> None:
        self._parts.metrics.transfers.labels("out", state.value).inc()
        self._parts.server.stop(request_id, TransferCancelled.code)

    def _verify(self, peer: PeerId, token: str) -> SignedRequest:
        key = public_key_of_certificate(self._parts.trust.certificate_of(peer))
        try:
            payload = verify_jws(token, JwsType.REQUEST, key, max_bytes=MAX_REQUEST_BYTES)
        except BadSignature as exc:
            raise SignerMismatch from exc
        signed_at, body, proof = decode_request(payload)
        if not is_fresh(signed_at, self._parts.clock.now()):
            raise RequestStale
        request = decode_body(body)
        if request.requester != peer:
            raise SignerMismatch
        if request.holder != self._parts.identity.peer_id:
            raise WrongHolder
        return SignedRequest(request, body, hashlib.sha256(body).digest(), signed_at, proof)

    def _spend(self, peer: PeerId) -> None:
        """Count a new request before anything of it is looked at: whom it is about makes no difference."""
        if not self._budgets.spend(peer.compact):
            self._parts.metrics.requests.labels("over_budget").inc()
            raise TooManyRequests

    async def _decide(self, signed: SignedRequest) -> ReceivedRequest:
        await self._close_revisions(signed)
        request, now = signed.request, self._parts.clock.now()
        async with self._parts.db.write() as tx:
            self._parts.trust.require_trusted(request.requester)  # it may have been shut out while this one waited
            earlier = await requests.get_received(tx, request.request_id)
            if earlier is not None:
                return earlier
            if await requests.is_taken(tx, request.request_id):
                raise RequestIdReused
            proven = await self._proven(tx, signed)
            policy = self._parts.trust.policy_of(request.requester)
            decision = await judge(tx, request, proven, policy, self._terms())
            row = _row(signed, proven, decision, now)
            await requests.add_received(tx, row)
            patient = await _patient(tx, proven, decision)
            await self._keep(tx, signed, proven, decision, patient)
            await self._log_decision(tx, signed, row, proven, patient)
            if isinstance(decision, Permit):
                await release(tx, self._parts.identity, request, decision, now=now, by="node")
            verdict = _VERDICTS[row.state]
            tx.after_commit(lambda: self._parts.metrics.requests.labels(verdict.value).inc())
        if row.state is RequestState.PERMITTED and row.consent_kind is ConsentKind.EMERGENCY:
            self._parts.log.warning("released by break-glass", peer=row.peer.log, request=str(row.request_id))
        self._parts.log.info(
            "request decided", peer=row.peer.log, request=str(row.request_id), state=row.state.value, code=row.code
        )
        return row

    async def _close_revisions(self, signed: SignedRequest) -> None:
        """What will be released must have a closed revision; a request that proves nothing closes nothing."""
        async with self._parts.db.read() as rx:
            proven = await self._proven(rx, signed)
            policy = self._parts.trust.policy_of(signed.request.requester)
            decision = await judge(rx, signed.request, proven, policy, self._terms())
        if isinstance(decision, Permit):
            await self._parts.ingest.close_revisions(decision.scope)

    async def _proven(self, rx: Read, signed: SignedRequest) -> Proven:
        """The proof's worth; a peer that failed too often today proves nothing until tomorrow."""
        peer, now = signed.request.requester, self._parts.clock.now()
        proven = await check_proof(rx, signed)
        if not isinstance(signed.proof, CodeProof):
            return proven
        locked_out = await consents.peer_failures(rx, peer, now) >= self._parts.settings.peer_failures
        return Proven() if locked_out else proven

    def _terms(self) -> Terms:
        return Terms(self._parts.clock.now(), self._parts.settings.emergency_daily, is_new=True)

    async def _keep(
        self, tx: Write, signed: SignedRequest, proven: Proven, decision: Decision, patient: PatientKey | None
    ) -> None:
        """Keep what the request brought if anything rests on it: a person in the inbox, or a release."""
        if proven.consent is None or isinstance(decision, Refuse):
            return
        kept = to_keep(signed, proven.consent, self._parts.clock.now())
        if kept is not None:
            await brought.keep(tx, replace(kept, patient=patient))

    async def _log_decision(
        self, tx: Write, signed: SignedRequest, row: ReceivedRequest, proven: Proven, patient: PatientKey | None
    ) -> None:
        request, now = signed.request, row.decided_at
        actor = f"peer:{request.requester.compact}"
        if isinstance(signed.proof, CodeProof) and proven.consent is None:
            await consents.count_peer_failure(tx, request.requester, now)
            event = AuditEvent(
                AuditType.SHARE_CODE_FAILED, now, actor, Outcome.REFUSED, request.requester, request=row.request_id
            )
            await audit.append(tx, event)
        if proven.failed_at is not None:
            limit = self._parts.settings.code_failures
            if await consents.count_failure(tx, proven.failed_at, at=now, limit=limit):
                detail = {"code_id": str(proven.failed_at)}
                event = AuditEvent(AuditType.SHARE_CODE_LOCKED, now, actor, peer=request.requester, detail=detail)
                await audit.append(tx, event)
        await audit.append(tx, _decided_event(signed, row, patient))

    def _notice(self, row: ReceivedRequest) -> str:
        verdict = _VERDICTS[row.state]
        identity = self._parts.identity
        notice = DecisionNotice(row.request_id, identity.peer_id, row.peer, row.decided_at, verdict, row.code)
        return sign_jws(identity, JwsType.DECISION, encode_decision(notice))

    async def _wait_for_grid(self, arrived: float) -> None:
        elapsed = self._parts.clock.monotonic() - arrived
        await asyncio.sleep(REFUSAL_GRID - elapsed % REFUSAL_GRID)


async def _own_row(rx: Read, peer: PeerId, request_id: RequestId) -> ReceivedRequest:
    row = await requests.get_received(rx, request_id)
    if row is None or row.peer != peer:
        raise NoSuchRequest
    return row


async def _patient(rx: Read, proven: Proven, decision: Decision) -> PatientKey | None:
    """Whom the request turned out to be about: as the consent says, else as the studies do that it may have."""
    if proven.consent is not None and not isinstance(proven.consent, Attestation | Emergency):
        return proven.consent.patient
    if isinstance(decision, Refuse):
        return None
    permit = decision.permit if isinstance(decision, Review) else decision
    return await patient_of(rx, min(permit.scope))


def _row(signed: SignedRequest, proven: Proven, decision: Decision, now: int) -> ReceivedRequest:
    state, code, cause = RequestState.PERMITTED, "", ""
    reasons: tuple[str, ...] = ()
    scope: tuple[StudyInstanceUID, ...] = ()
    rests_on = None if proven.consent is None else (proven.consent.consent_id, proven.consent.kind)
    match decision:
        case Refuse():
            state, code, cause = RequestState.REFUSED, decision.code.value, decision.cause.value
        case Review():
            state, reasons = RequestState.REVIEW, tuple(sorted(reason.value for reason in decision.reasons))
            rests_on = decision.permit.consent_id, decision.permit.kind
            scope = tuple(sorted(decision.permit.scope))
        case Permit():
            rests_on = decision.consent_id, decision.kind
    return ReceivedRequest(
        request_id=signed.request.request_id,
        peer=signed.request.requester,
        digest=signed.digest,
        body=signed.body,
        consent_id=rests_on[0] if rests_on else None,
        consent_kind=rests_on[1] if rests_on else None,
        state=state,
        code=code,
        cause=cause,
        reasons=reasons,
        received_at=now,
        decided_at=now,
        decided_by="node",
        scope=scope,
    )


def _revoked_event(transfer: Transfer, by: str, now: int) -> AuditEvent:
    return AuditEvent(
        AuditType.TRANSFER_STATE,
        now,
        by,
        peer=transfer.peer,
        request=transfer.request_id,
        code=PeerNotTrusted.code,
        detail={"state": TransferState.FAILED.value, "direction": Direction.OUT.value},
    )


def _decided_event(signed: SignedRequest, row: ReceivedRequest, patient: PatientKey | None) -> AuditEvent:
    request = signed.request
    verdict = _VERDICTS[row.state]
    return AuditEvent(
        AuditType.REQUEST_DECIDED,
        row.decided_at,
        f"peer:{request.requester.compact}",
        _OUTCOMES[verdict],
        request.requester,
        patient,
        request=row.request_id,
        purpose=request.purpose.value,
        code=row.cause,
        detail={
            "verdict": verdict.value,
            "user": request.user,
            "role": request.role,
            "reasons": " ".join(row.reasons),
            "consent": row.consent_kind.value if row.consent_kind else "",
        },
    )
