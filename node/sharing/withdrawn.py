"""The recipient's side of a withdrawal: verify, decide, hide or correct, sign for it.

All of it is one transaction, tombstones included: what is on its way when the notice comes, or comes again later, stays
hidden. The same notice again gets the same signed word.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from node.clock import Clock
from node.crypto.identity import Identity, public_key_of_certificate
from node.crypto.jws import JwsType, sign_jws, verify_jws
from node.errors.base import LeveretError
from node.errors.crypto_identity import BadSignature
from node.errors.lifecycle import StudyChanged, WithdrawalRefused
from node.errors.sharing import RequestIdReused, RequestStale, SignerMismatch, TooManyRequests, WrongHolder
from node.log import Logger
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.ids import PeerId, RequestId
from node.model.lifecycle import HiddenReason, RevisionCause
from node.model.request import MAX_SKEW_SECONDS
from node.model.transfer import Direction, TransferEvent
from node.model.withdrawal import (
    Acknowledgement,
    Notice,
    NoticeOutcome,
    WithdrawalKind,
    may_withdraw,
)
from node.peers import limits
from node.peers.buckets import TokenBuckets
from node.peers.messages import decode_body
from node.peers.withdrawal_messages import MAX_WITHDRAWAL_BYTES, decode_notice, encode_ack
from node.sharing.asking import is_of
from node.sharing.trust import TrustList
from node.sharing.withdrawals import digest_of
from node.store import audit, corrections, hiding, links, requests, tombstones, transfers
from node.store import withdrawals as rows
from node.store.engine import Database, Read, Write
from node.store.objects import ObjectStore
from node.store.tombstones import Tombstone
from node.store.withdrawals import ReceivedNotice

NOTICES_BURST = 2000.0  # a large merge tells as much at once
NOTICES_PER_SECOND = 1.0

_CAUSES = {
    WithdrawalKind.RETRACTION: RevisionCause.RETRACTION,
    WithdrawalKind.REJECTION: RevisionCause.REJECTION,
    WithdrawalKind.REPLACEMENT: RevisionCause.REPLACEMENT,
}


@dataclass(frozen=True, slots=True)
class WithdrawnParts:
    """What obeying works with. ``cancel`` ends a transfer of this node: (request, by whom).

    ``issuer`` is this facility's Issuer of Patient ID: what no other one may file studies under.
    """

    db: Database
    store: ObjectStore
    identity: Identity
    issuer: str
    trust: TrustList
    cancel: Callable[[RequestId, str], Awaitable[None]]
    clock: Clock
    log: Logger


class WithdrawalDesk:
    """Obeys withdrawals (``peers.handlers_withdrawals.WithdrawalPort``)."""

    def __init__(self, parts: WithdrawnParts) -> None:
        self._parts = parts
        self._budgets = TokenBuckets(
            parts.clock, burst=NOTICES_BURST, per_second=NOTICES_PER_SECOND, remembered=limits.PEERS_REMEMBERED
        )

    async def receive(self, peer: PeerId, token: str) -> str:
        """Obey a notice; the signed word that it is done.

        Raises:
            SignerMismatch: not signed by ``peer``, or in another's name. WrongHolder: meant for another node.
            RequestMalformed, RequestStale (signed in the future), RequestIdReused, TooManyRequests.
            WithdrawalRefused: ``peer`` released no such study here; alike whether it is held or not. Or it corrects to
                a patient of this facility for whom nothing was asked.
        """
        parts = self._parts
        notice = self._verify(peer, token)
        if not self._budgets.spend(peer.compact):
            raise TooManyRequests
        await parts.store.indexed()
        ended: list[RequestId] = []
        async with parts.db.write() as tx:
            earlier = await rows.received(tx, notice.notice_id)
            if earlier is not None:
                if (earlier.peer, earlier.token) != (peer, token):
                    raise RequestIdReused
                return earlier.ack
            obeyed = may_withdraw(peer, await rows.what_is_known(tx, notice)) and await self._may_file(tx, notice)
            answer = await self._obey(tx, notice, token, ended) if obeyed else await self._refuse(tx, notice)
        for request_id in ended:
            with contextlib.suppress(LeveretError):
                await parts.cancel(request_id, f"peer:{peer.compact}")
        parts.log.info("withdrawal received", peer=peer.log, state=notice.kind.value, code="" if obeyed else answer)
        if not obeyed:
            raise WithdrawalRefused
        return answer

    def _verify(self, peer: PeerId, token: str) -> Notice:
        key = public_key_of_certificate(self._parts.trust.certificate_of(peer))
        try:
            payload = verify_jws(token, JwsType.WITHDRAWAL, key, max_bytes=MAX_WITHDRAWAL_BYTES)
        except BadSignature as exc:
            raise SignerMismatch from exc
        notice = decode_notice(payload)
        if notice.holder != peer:
            raise SignerMismatch
        if notice.recipient != self._parts.identity.peer_id:
            raise WrongHolder
        if notice.at > self._parts.clock.now() + MAX_SKEW_SECONDS:
            raise RequestStale
        return notice

    async def _may_file(self, rx: Read, notice: Notice) -> bool:
        """Whether a study may be whose the notice says: nobody else's word puts images into an own patient's record."""
        if notice.identity is None or not is_of(self._parts.issuer, notice.identity.patient):
            return True
        for release in notice.releases:
            sent = await requests.get_sent(rx, release)
            asked_for = None if sent is None or sent.peer != notice.holder else decode_body(sent.body).subject.patient
            if asked_for == notice.identity.patient:
                return True
        return False

    async def _refuse(self, tx: Write, notice: Notice) -> str:
        await audit.append(tx, _event(notice, self._parts.clock.now(), code=WithdrawalRefused.code))
        return WithdrawalRefused.code

    async def _obey(self, tx: Write, notice: Notice, token: str, ended: list[RequestId]) -> str:
        now, was_linked = self._parts.clock.now(), False
        if notice.kind is WithdrawalKind.CONSENT_REVOKED:
            count = await _held(tx, notice)  # it stays; who looks at it must know
        elif notice.kind is WithdrawalKind.CORRECTION:
            was_linked = await links.remove(tx, notice.study)  # it was made for somebody else
            count = await self._correct(tx, notice, now)
        else:
            count = await _hide(tx, notice, now)
        if notice.kind is not WithdrawalKind.CONSENT_REVOKED:
            ended.extend(await self._end_transfers(tx, notice, now))
        outcome = NoticeOutcome.DONE if count else NoticeOutcome.NOT_HELD
        ack = await asyncio.to_thread(self._sign, notice, token, outcome)
        await rows.add_received(
            tx,
            ReceivedNotice(
                notice.notice_id, notice.holder, notice.study, notice.kind, notice.reason, notice.words, count,
                outcome, token, ack, now,
            ),
        )  # fmt: skip
        await audit.append(tx, _event(notice, now, count=count, outcome=outcome.value, was_linked=was_linked))
        return ack

    async def _correct(self, tx: Write, notice: Notice, now: int) -> int:
        new = notice.identity
        assert new is not None, "decode_notice() checked it"
        manifest = await corrections.apply(
            tx, notice.study, new.patient, new.demographics, now=now, at_least=max(1, notice.revision),
            former=new.formerly,
        )  # fmt: skip
        tx.after_commit(lambda: self._parts.store.corrected(notice.study, new.patient))
        return 0 if manifest is None else len(manifest.entries)

    async def _end_transfers(self, tx: Write, notice: Notice, now: int) -> list[RequestId]:
        """What is under way was released as something that it is not any more."""
        ended = []
        for transfer in await transfers.unfinished(tx, Direction.IN):
            if transfer.peer != notice.holder or notice.study not in transfer.studies:
                continue
            state = await transfers.move(tx, transfer.request_id, TransferEvent.FAIL, at=now, code=StudyChanged.code)
            detail = {"state": state.value, "direction": Direction.IN.value}
            event = AuditEvent(
                AuditType.TRANSFER_STATE, now, f"peer:{notice.holder.compact}", Outcome.FAILURE, notice.holder,
                request=transfer.request_id, code=StudyChanged.code, detail=detail,
            )  # fmt: skip
            await audit.append(tx, event)
            ended.append(transfer.request_id)
        return ended

    def _sign(self, notice: Notice, token: str, outcome: NoticeOutcome) -> str:
        own = self._parts.identity
        ack = Acknowledgement(
            notice.notice_id, notice.holder, own.peer_id, self._parts.clock.now(), digest_of(token), outcome
        )
        return sign_jws(own, JwsType.WITHDRAWAL_ACK, encode_ack(ack))


async def _held(tx: Write, notice: Notice) -> int:
    """How many instances of the study are here."""
    value = await tx.fetch_value("SELECT instances FROM study WHERE uid = ?", (str(notice.study),))
    return int(value or 0)


async def _hide(tx: Write, notice: Notice, now: int) -> int:
    """Hide what the notice names and bury it; how many instances could be seen until now."""
    reason, cause = notice.reason or HiddenReason.RETRACTED, _CAUSES[notice.kind]
    study, origin = notice.study, notice.holder
    if notice.kind is WithdrawalKind.REPLACEMENT:
        count = 0
        for one in notice.instances:
            count += len(
                await hiding.hide(
                    tx, study, [one.instance], reason, cause=cause, now=now, words=notice.words, digest=one.digest,
                    at_least=notice.revision,
                )
            )  # fmt: skip
    else:
        chosen = [one.instance for one in notice.instances] or None
        count = len(
            await hiding.hide(
                tx, study, chosen, reason, cause=cause, now=now, words=notice.words, at_least=notice.revision
            )
        )
    stones = [Tombstone(study, reason, one.instance, one.digest, origin) for one in notice.instances]
    await tombstones.add(tx, stones or [Tombstone(study, reason, origin=origin)], at=now)
    return count


def _event(
    notice: Notice, now: int, *, code: str = "", count: int = 0, outcome: str = "", was_linked: bool = False
) -> AuditEvent:
    detail: dict[str, str | int] = {
        "notice": str(notice.notice_id),
        "kind": notice.kind.value,
        "reason": notice.reason.value if notice.reason else "",
        "words": notice.words,
        "instances": count,
        "outcome": outcome,
        "unlinked": int(was_linked),
    }
    return AuditEvent(
        AuditType.WITHDRAWAL_RECEIVED,
        now,
        f"peer:{notice.holder.compact}",
        Outcome.REFUSED if code else Outcome.SUCCESS,
        notice.holder,
        study=notice.study,
        code=code,
        detail=detail,
    )
