"""What ends when a patient changes their mind: releases that are under way, and requests that wait for a person.

All of it happens in the transaction that writes the revocation or the denial down, so there is no moment at which a
consent is revoked and something under it goes on; streams hear of it right after the commit, and end within a second.
Copies that arrived stay where they are: nobody can call them back. :class:`Effects` says who has them, and each of
these facilities is told by a signed notice.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from node.errors.sharing import ConsentRevoked
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.consent import ConsentId, ConsentKind
from node.model.directive import Directive, Effect, traits_of
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.model.instance import StudySummary
from node.model.transfer import Direction, Transfer, TransferEvent, TransferState
from node.model.withdrawal import WithdrawalKind
from node.peers.messages import decode_body
from node.sharing import taking_back
from node.sharing.holder import HolderParts
from node.sharing.inbox import Inbox
from node.sharing.release import concerns
from node.sharing.withdrawals import Releases
from node.store import audit, copies, requests, transfers, withdrawals
from node.store.copies import Copy
from node.store.engine import Read, Write
from node.store.requests import ReceivedRequest
from node.store.study_queries import StudyQuery, find_studies

WORDS = frozenset({ConsentKind.ATTESTED, ConsentKind.EMERGENCY})  # kinds that rest on another facility's word


Inform = Callable[[Write, StudyInstanceUID, Releases], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Effects:
    """What a change of consents did at once, and which facilities keep a copy all the same."""

    stopped: int = 0  # transfers
    refused: int = 0  # requests that waited
    copies: tuple[PeerId, ...] = ()

    def __add__(self, other: "Effects") -> "Effects":
        """Both."""
        both = tuple(sorted({*self.copies, *other.copies}, key=str))
        return Effects(self.stopped + other.stopped, self.refused + other.refused, both)


class Endings:
    """Ends what must not go on."""

    def __init__(self, parts: HolderParts, inbox: Inbox, inform: Inform) -> None:
        """``inform`` queues the notice of a revoked consent for those that have a copy."""
        self._parts = parts
        self._inbox = inbox
        self._inform = inform

    async def revoked(self, tx: Write, consent_id: ConsentId, by: str, *, anew: bool = True) -> Effects:
        """A consent, of whatever kind, is revoked by this transaction; not ``anew``: it was already, nobody is told."""
        stopped = 0
        for request_id in await requests.released_under(tx, consent_id):
            stopped += await self._stop(tx, request_id, by)
        await taking_back.revoked(tx, consent_id, by=by, now=self._parts.clock.now())
        waiting = await requests.in_review_under(tx, consent_id)
        refused = await self._inbox.reconsider(tx, waiting, by=by, why="the consent was revoked")
        kept = await copies.under(tx, consent_id)
        if anew:
            await self._tell(tx, kept)
        return Effects(stopped, refused, _peers(kept))

    async def denied(self, tx: Write, directive: Directive, by: str) -> Effects:
        """A denial is in force from this transaction on; looked at again, after a restart, it tells nobody twice."""
        if directive.effect is not Effect.DENY or directive.refusal(self._parts.clock.now()) is not None:
            return Effects()
        stopped = 0
        for transfer in await transfers.unfinished(tx, Direction.OUT):
            if await self._is_denied(tx, directive, transfer):
                stopped += await self._stop(tx, transfer.request_id, by)
        await taking_back.denied(tx, directive, by=by, now=self._parts.clock.now())
        waiting = await self._waiting(tx, directive.patient, directive.recipient)
        refused = await self._inbox.reconsider(tx, waiting, by=by, why="the patient forbids it")
        kept = await self._denied_copies(tx, directive)
        await self._tell(tx, [copy for copy in kept if not await _is_told(tx, copy, directive.starts_at)])
        return Effects(stopped, refused, _peers(kept))

    async def opted_out(self, tx: Write, patient: PatientKey, by: str) -> Effects:
        """From this transaction on the patient wants nothing shared without being asked."""
        stopped = 0
        for transfer in await transfers.unfinished(tx, Direction.OUT):
            row = await requests.get_received(tx, transfer.request_id)
            if row is None or row.consent_kind not in WORDS:
                continue
            if any(study.patient == patient for study in await _studies(tx, transfer.studies)):
                stopped += await self._stop(tx, transfer.request_id, by)
        waiting = await self._waiting(tx, patient, None)
        refused = await self._inbox.reconsider(tx, waiting, by=by, why="the patient opted out")
        return Effects(stopped, refused, _peers(await copies.of_patient(tx, patient)))

    async def _tell(self, tx: Write, kept: Sequence[Copy]) -> None:
        """Every facility that keeps a copy hears, signed, that the patient does not want it shared any more."""
        by_study: dict[StudyInstanceUID, dict[PeerId, list[RequestId]]] = {}
        for copy in kept:
            by_study.setdefault(copy.study, {}).setdefault(copy.peer, []).append(copy.request_id)
        for study, releases in by_study.items():
            await self._inform(tx, study, releases)

    async def _waiting(self, rx: Read, patient: PatientKey, peer: PeerId | None) -> list[ReceivedRequest]:
        """Requests in review for studies of the patient; of one peer, or of all."""
        rows = await (requests.in_review(rx) if peer is None else requests.in_review_of(rx, peer))
        return [row for row in rows if await concerns(rx, decode_body(row.body), patient)]

    async def _is_denied(self, rx: Read, directive: Directive, transfer: Transfer) -> bool:
        row = await requests.get_received(rx, transfer.request_id)
        if row is None or not directive.is_about(transfer.peer, decode_body(row.body).purpose):
            return False
        found = await _studies(rx, transfer.studies)
        return any(directive.denies(one.patient, one.study_instance_uid, traits_of(one)) for one in found)

    async def _denied_copies(self, rx: Read, directive: Directive) -> list[Copy]:
        kept = await copies.of_patient(rx, directive.patient)
        denied = {
            one.study_instance_uid
            for one in await _studies(rx, {copy.study for copy in kept})
            if directive.denies(one.patient, one.study_instance_uid, traits_of(one))
        }
        return [copy for copy in kept if copy.study in denied and directive.recipient in {None, copy.peer}]

    async def _stop(self, tx: Write, request_id: RequestId, by: str) -> int:
        """End a transfer that is not at an end, as of a consent that does not stand any more; 1 if it was not."""
        parts, now, code = self._parts, self._parts.clock.now(), ConsentRevoked.code
        transfer = await transfers.get(tx, request_id)
        if not await transfers.end_if_unfinished(tx, request_id, TransferEvent.FAIL, code=code, at=now):
            return 0
        assert transfer is not None
        detail = {"state": TransferState.FAILED.value, "direction": Direction.OUT.value}
        event = AuditEvent(
            AuditType.TRANSFER_STATE, now, by, Outcome.FAILURE, transfer.peer, request=request_id, code=code,
            detail=detail,
        )  # fmt: skip
        await audit.append(tx, event)
        tx.after_commit(parts.metrics.transfers.labels(Direction.OUT.value, TransferState.FAILED.value).inc)
        tx.after_commit(partial(parts.server.stop, request_id, code))
        return 1


def _peers(kept: Iterable[Copy]) -> tuple[PeerId, ...]:
    return tuple(sorted({copy.peer for copy in kept}, key=str))


async def _is_told(rx: Read, copy: Copy, since: int) -> bool:
    return await withdrawals.is_told(rx, copy.study, copy.peer, WithdrawalKind.CONSENT_REVOKED, since=since)


async def _studies(rx: Read, uids: Iterable[StudyInstanceUID]) -> list[StudySummary]:
    wanted = tuple(uids)
    return await find_studies(rx, StudyQuery(study_uids=wanted)) if wanted else []
