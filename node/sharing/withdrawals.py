"""What this node withdraws of its own, and how everybody it was released to is told.

A notice is signed and written down in the transaction that hides or corrects, so that one cannot be without the other.
The messenger (``messenger.py``) tells each destination in order, and gives nothing up: a facility that was away for a
week is told when it is back.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from node.clock import Clock
from node.crypto.identity import Identity, public_key_of_certificate
from node.crypto.jws import JwsType, sign_jws, verify_jws
from node.errors.base import LeveretError
from node.errors.lifecycle import NotOwnStudy, StudyChanged, WithdrawalRefused
from node.errors.peers import PeerProtocolViolation, RemoteBusy, RemoteRefusal
from node.errors.storage import UnknownStudy
from node.log import Logger
from node.model.audit import NODE_ACTOR, AuditEvent, AuditType, Outcome
from node.model.ids import PeerId, RequestId, StudyInstanceUID
from node.model.lifecycle import HiddenReason, RevisionCause
from node.model.transfer import Direction, TransferEvent
from node.model.trust import TrustState
from node.model.withdrawal import (
    MAX_INSTANCES,
    MAX_RELEASES,
    Acknowledgement,
    Buried,
    CorrectedIdentity,
    Notice,
    NoticeId,
    NoticeState,
    WithdrawalId,
    WithdrawalKind,
)
from node.peers.client import PeerClients
from node.peers.handlers_withdrawals import WITHDRAWALS
from node.peers.withdrawal_messages import MAX_ACK_BYTES, decode_ack, encode_notice
from node.sharing import taking_back
from node.sharing.messenger import Messenger
from node.sharing.serve import ObjectServer
from node.sharing.trust import TrustList
from node.store import audit, corrections, hiding, tombstones, transfers
from node.store import withdrawals as rows
from node.store.engine import Database, Read, Write
from node.store.objects import ObjectStore
from node.store.tombstones import Tombstone
from node.store.withdrawals import QueuedNotice, ReceivedNotice, Withdrawal

REVOKED_WORDS = "The patient revoked the consent under which this study was released."

Releases = Mapping[PeerId, Sequence[RequestId]]  # recipients, and the requests by which each got a study


@dataclass(frozen=True, slots=True)
class WithdrawalParts:
    """What withdrawals work with."""

    db: Database
    store: ObjectStore
    identity: Identity
    trust: TrustList
    clients: PeerClients
    server: ObjectServer
    clock: Clock
    log: Logger


@dataclass(frozen=True, slots=True)
class Matter:
    """What is told about one study; ``instances`` empty: it is about the whole of it."""

    study: StudyInstanceUID
    kind: WithdrawalKind
    reason: HiddenReason | None
    words: str
    instances: tuple[Buried, ...] = ()
    identity: CorrectedIdentity | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A withdrawal and whom it was told."""

    withdrawal: Withdrawal
    notices: tuple[QueuedNotice, ...]


class Withdrawals:
    """Withdraws, and tells."""

    def __init__(self, parts: WithdrawalParts) -> None:
        self._parts = parts
        self._log = parts.log
        self._messenger = Messenger(self, "withdrawals", directory=parts.trust, clock=parts.clock, log=parts.log)

    async def withdraw(self, study: StudyInstanceUID, words: str, *, by: str) -> Told:
        """Retract an own study: nobody here sees it any more, and nobody it was released to.

        Raises:
            UnknownStudy: nothing of it can be seen. NotOwnStudy: it is another facility's.
        """
        parts, now = self._parts, self._parts.clock.now()
        await parts.store.indexed()
        async with parts.db.write() as tx:
            await require_own(tx, study)
            matter = Matter(study, WithdrawalKind.RETRACTION, HiddenReason.RETRACTED, words)
            hidden = await hiding.hide(
                tx, study, None, HiddenReason.RETRACTED, cause=RevisionCause.RETRACTION, now=now, words=words
            )
            await tombstones.add(tx, [Tombstone(study, HiddenReason.RETRACTED)], at=now)
            told = await self.tell(tx, matter, count=len(hidden), by=by)
        self._log.info("study withdrawn", count=len(hidden), peers=len(told.notices))
        return told

    async def tell(self, tx: Write, matter: Matter, *, count: int, by: str) -> Told:
        """Write down, in the caller's transaction, that ``matter`` must be told, and stop what is on its way."""
        parts, now = self._parts, self._parts.clock.now()
        withdrawal = Withdrawal(
            WithdrawalId.new(), matter.study, matter.kind, matter.reason, matter.words, count, now, by
        )
        await rows.add(tx, withdrawal)
        revision = await tx.fetch_value("SELECT revision FROM study WHERE uid = ?", (str(matter.study),))
        for peer, releases in (await rows.recipients(tx, matter.study)).items():
            for some in _portions(matter.instances):
                notice = Notice(
                    NoticeId.new(), parts.identity.peer_id, peer, now, matter.kind, matter.study, releases,
                    revision or 0, matter.reason, matter.words, some, matter.identity,
                )  # fmt: skip
                token = sign_jws(parts.identity, JwsType.WITHDRAWAL, encode_notice(notice))
                await rows.add_notice(tx, withdrawal.withdrawal_id, notice, token)
        await self._stop_releases(tx, matter.study, by)
        await taking_back.withdrawn(tx, matter.study, by=by, now=now)
        notices = await rows.notices_of(tx, withdrawal.withdrawal_id)
        await audit.append(tx, _withdrawn_event(withdrawal, len({n.peer for n in notices})))
        tx.after_commit(self._messenger.wake)
        return Told(withdrawal, tuple(notices))

    async def inform(self, tx: Write, study: StudyInstanceUID, releases: Releases) -> None:
        """Write down, in the caller's transaction, that these recipients must hear of a revoked consent.

        They keep what they have: a copy cannot be called back. What is under way to others goes on.
        """
        parts, now, kind = self._parts, self._parts.clock.now(), WithdrawalKind.CONSENT_REVOKED
        withdrawal = Withdrawal(WithdrawalId.new(), study, kind, None, REVOKED_WORDS, 0, now, NODE_ACTOR)
        await rows.add(tx, withdrawal)
        revision = await tx.fetch_value("SELECT revision FROM study WHERE uid = ?", (str(study),))
        for peer, some in releases.items():
            notice = Notice(
                NoticeId.new(), parts.identity.peer_id, peer, now, kind, study, tuple(some[:MAX_RELEASES]),
                revision or 0, None, REVOKED_WORDS,
            )  # fmt: skip
            token = sign_jws(parts.identity, JwsType.WITHDRAWAL, encode_notice(notice))
            await rows.add_notice(tx, withdrawal.withdrawal_id, notice, token)
        tx.after_commit(self._messenger.wake)

    async def page(self, *, study: StudyInstanceUID | None = None, limit: int = 1000) -> list[Told]:
        """What this node withdrew, last first."""
        async with self._parts.db.read() as rx:
            found = await rows.page(rx, limit=limit, study=study)
            return [Told(one, tuple(await rows.notices_of(rx, one.withdrawal_id))) for one in found]

    async def received(self, *, limit: int = 1000) -> list[ReceivedNotice]:
        """What others withdrew, last first."""
        async with self._parts.db.read() as rx:
            return await rows.received_page(rx, limit=limit)

    async def unsettled(self) -> tuple[int, int]:
        """How many notices wait to be delivered, and how many recipients refused one."""
        async with self._parts.db.read() as rx:
            return await rows.unsettled(rx)

    # The messenger

    async def run(self) -> None:
        """Tell whoever must be told until cancelled."""
        await self._messenger.run()

    def peer_seen(self, peer: PeerId) -> None:
        """The peer is there: it is told what waits for it."""
        self._messenger.peer_seen(peer)

    def trust_changed(self, peer: PeerId, state: TrustState) -> None:
        """A peer that is trusted again is told at once (``peers.ports.TrustListener``)."""
        self._messenger.trust_changed(peer, state)

    async def waiting(self) -> Mapping[PeerId, int]:
        """Who must be told something, and when each is tried next (``messenger.Outbox``)."""
        async with self._parts.db.read() as rx:
            return await rows.waiting(rx)

    async def tell_one(self, peer: PeerId) -> bool:
        """Tell ``peer`` the first thing in its queue; whether to go on with the next."""
        parts = self._parts
        async with parts.db.read() as rx:
            notice = await rows.first_queued(rx, peer)
        if notice is None:
            return False
        try:
            answer = await parts.clients.get(peer).call(
                "POST", WITHDRAWALS, body=notice.token.encode("ascii"), max_bytes=MAX_ACK_BYTES
            )
            ack = self._read_ack(notice, answer)
        except LeveretError as error:
            code = error.remote_code if isinstance(error, RemoteRefusal | RemoteBusy) else error.code
            return await self._not_told(notice, code)
        now = parts.clock.now()
        async with parts.db.write() as tx:
            told = answer.decode("ascii")
            await rows.settle(tx, notice, NoticeState.ACKNOWLEDGED, at=now, ack=told, outcome=ack.outcome)
            await audit.append(tx, _sent_event(notice, now, outcome=ack.outcome.value))
        self._log.info("withdrawal acknowledged", peer=peer.log)
        return True

    async def _not_told(self, notice: QueuedNotice, code: str) -> bool:
        """A refusal for good ends the matter; anything else may pass."""
        now = self._parts.clock.now()
        final = code == WithdrawalRefused.code
        async with self._parts.db.write() as tx:
            if final:
                await rows.settle(tx, notice, NoticeState.REFUSED, at=now, code=code)
                await audit.append(tx, _sent_event(notice, now, code=code))
            else:
                await rows.postpone(tx, notice, code=code, now=now)
        self._log.info("withdrawal not delivered", peer=notice.peer.log, code=code)
        return final

    def _read_ack(self, notice: QueuedNotice, answer: bytes) -> Acknowledgement:
        """The recipient's word on exactly this notice."""
        key = public_key_of_certificate(self._parts.trust.certificate_of(notice.peer))
        try:
            text = answer.decode("ascii")
            ack = decode_ack(verify_jws(text, JwsType.WITHDRAWAL_ACK, key, max_bytes=MAX_ACK_BYTES))
        except (LeveretError, UnicodeDecodeError) as exc:
            raise PeerProtocolViolation("the acknowledgement cannot be believed") from exc
        said = (ack.notice_id, ack.holder, ack.recipient, ack.notice_digest)
        if said != (notice.notice_id, self._parts.identity.peer_id, notice.peer, digest_of(notice.token)):
            raise PeerProtocolViolation("the acknowledgement is about something else")
        return ack

    async def _stop_releases(self, tx: Write, study: StudyInstanceUID, by: str) -> None:
        """What is on its way is not what it was released as any more: it ends, at both sides."""
        now = self._parts.clock.now()
        for transfer in await transfers.unfinished(tx, Direction.OUT):
            if study not in transfer.studies:
                continue
            state = await transfers.move(tx, transfer.request_id, TransferEvent.FAIL, at=now, code=StudyChanged.code)
            detail = {"state": state.value, "direction": Direction.OUT.value}
            event = AuditEvent(
                AuditType.TRANSFER_STATE, now, by, Outcome.FAILURE, transfer.peer, request=transfer.request_id,
                code=StudyChanged.code, detail=detail,
            )  # fmt: skip
            await audit.append(tx, event)
            tx.after_commit(partial(self._parts.server.stop, transfer.request_id, StudyChanged.code))


async def require_own(rx: Read, study: StudyInstanceUID) -> None:
    """Raises UnknownStudy, NotOwnStudy unless ``study`` can be seen and is one's own."""
    found = await corrections.own_study(rx, study)
    if found is None:
        raise UnknownStudy
    if not found[1]:
        raise NotOwnStudy


def digest_of(token: str) -> bytes:
    """What an acknowledgement names: SHA-256 of the notice's JWS, exactly as signed."""
    return hashlib.sha256(token.encode("ascii")).digest()


def _portions(instances: Sequence[Buried]) -> Iterator[tuple[Buried, ...]]:
    if not instances:
        yield ()
    for first in range(0, len(instances), MAX_INSTANCES):
        yield tuple(instances[first : first + MAX_INSTANCES])


def _withdrawn_event(w: Withdrawal, recipients: int) -> AuditEvent:
    detail: dict[str, str | int] = {
        "withdrawal": str(w.withdrawal_id),
        "kind": w.kind.value,
        "reason": w.reason.value if w.reason else "",
        "words": w.words,
        "instances": w.instances,
        "recipients": recipients,
    }
    return AuditEvent(AuditType.STUDY_WITHDRAWN, w.made_at, w.made_by, study=w.study, detail=detail)


def _sent_event(notice: QueuedNotice, now: int, *, code: str = "", outcome: str = "") -> AuditEvent:
    detail = {"withdrawal": str(notice.withdrawal_id), "notice": str(notice.notice_id), "outcome": outcome}
    told = AuditEvent(AuditType.WITHDRAWAL_SENT, now, NODE_ACTOR, peer=notice.peer, study=notice.study, detail=detail)
    return replace(told, outcome=Outcome.REFUSED, code=code) if code else told
