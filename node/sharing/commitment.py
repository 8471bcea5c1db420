"""Storage commitment, push model (PS3.4 annex J): a system asks whether instances are kept, and is told later.

A request is written down before it is accepted. Its report is made when it is delivered, of what is durable and in the
index then; it goes to the system on an association of this node's, or, if it is entered so, on the one on which it
asked. What cannot be delivered is tried again with growing pauses, across restarts.
"""

import asyncio
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass

from node.clock import Clock
from node.dicom.identifier import (
    FAILED_SEQUENCE,
    FAILURE_REASON,
    REFERENCED_CLASS,
    REFERENCED_INSTANCE,
    REFERENCED_SEQUENCE,
    RETRIEVE_AE,
    TRANSACTION,
    CommitmentRequest,
    Value,
    encode_elements,
    read_commitment_request,
)
from node.dicom.received import Status
from node.dicom.services import COMMITMENT_INSTANCE, STORAGE_COMMITMENT
from node.dicom.upper_layer.command import CommandField, Request
from node.dicom.upper_layer.items import RoleSelection
from node.dicom.upper_layer.operation import Conversation, Operation
from node.dicom.upper_layer.pdu import ProposedContext
from node.dicom.upper_layer.requestor import Limits
from node.dicom.upper_layer.service import Outcome
from node.errors import LeveretError
from node.errors.dimse import AssociationLost, CommitmentNotTaken, InvalidIdentifier, UnknownPacs
from node.errors.identifiers import InvalidUid
from node.log import Logger
from node.model.audit import NODE_ACTOR, AuditEvent, AuditType
from node.model.audit import Outcome as Ending
from node.model.ids import SOPInstanceUID, Uid
from node.model.pacs import Pacs
from node.sharing.find import actor_of
from node.sharing.outward import Outward
from node.sharing.pacs import PacsDirectory
from node.sharing.reading import caught_up
from node.store import audit, commitments
from node.store.commitments import Commitment
from node.store.engine import Database
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery

REQUEST_ACTION = 1
ALL_KEPT, SOME_NOT_KEPT = 1, 2  # event types (PS3.4 section J.3.3)
MAX_WAITING = 1000  # reports not yet delivered to one system
AT_ONCE = 4  # reports that are delivered at the same time
PAUSES = (10, 60, 300, 900, 3600)  # seconds before the next attempt; the last one again and again
GIVE_UP_SECONDS = 3 * 86400
KEEP_SECONDS = 30 * 86400  # that a request is remembered once it was answered
_HEAD_START = 0.2  # seconds for the answer to the request to leave before its report
_CHUNK = 1000
_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_LIMITS = Limits(response=30.0)


@dataclass(frozen=True, slots=True)
class _Report:
    kept: Sequence[tuple[str, str]]
    failed: Sequence[tuple[str, str, int]]

    @property
    def event(self) -> int:
        return SOME_NOT_KEPT if self.failed else ALL_KEPT

    def encode(self, transaction: str, ae_title: str, syntax: str) -> bytes:
        elements: dict[int, Value] = {TRANSACTION: transaction, RETRIEVE_AE: ae_title}
        if self.failed:
            elements[FAILED_SEQUENCE] = [
                {REFERENCED_CLASS: sop_class, REFERENCED_INSTANCE: instance, FAILURE_REASON: reason}
                for sop_class, instance, reason in self.failed
            ]
        if self.kept:
            elements[REFERENCED_SEQUENCE] = [
                {REFERENCED_CLASS: sop_class, REFERENCED_INSTANCE: instance} for sop_class, instance in self.kept
            ]
        return encode_elements(elements, syntax)


class StorageCommitment:
    """The service, and what delivers its reports."""

    def __init__(
        self,
        *,
        db: Database,
        store: ObjectStore,
        outward: Outward,
        directory: PacsDirectory,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._db = db
        self._store = store
        self._outward = outward
        self._directory = directory
        self._clock = clock
        self._log = log
        self._wake = asyncio.Event()
        self._asked_on: dict[int, tuple[Conversation, int]] = {}  # by request: where it was asked, in which context

    async def answer(self, operation: Operation, dataset: bytes) -> Outcome:
        """Answer an N-ACTION."""
        if operation.request.sop_instance_uid != COMMITMENT_INSTANCE:
            return Outcome(Status.NO_SUCH_OBJECT)
        if operation.request.type_id != REQUEST_ACTION:
            return Outcome(Status.NO_SUCH_ACTION)
        try:
            wanted = read_commitment_request(dataset, operation.context.transfer_syntax)
            Uid.parse(wanted.transaction)
        except (InvalidIdentifier, InvalidUid) as error:
            return Outcome(Status.INVALID_ARGUMENT, error.code)
        return await self._accept(operation, wanted)

    async def _accept(self, operation: Operation, wanted: CommitmentRequest) -> Outcome:
        if not wanted.instances:
            return Outcome(Status.INVALID_ARGUMENT, "no instances")
        title, now = operation.caller.ae_title, self._clock.now()
        async with self._db.write() as tx:
            if await commitments.waiting(tx, title) >= MAX_WAITING:
                return Outcome(Status.RESOURCE_LIMITATION, "too many reports wait for being taken")
            number = await commitments.add(tx, title, wanted.transaction, wanted.instances, now)
            if number is None:
                return Outcome(Status.DUPLICATE_TRANSACTION)
            detail: dict[str, str | int] = {"instances": len(wanted.instances), "address": operation.caller.address}
            event = AuditEvent(AuditType.COMMITMENT_REQUESTED, now, actor_of(operation), detail=detail)
            await audit.append(tx, event)
        self._asked_on[number] = (operation.conversation, operation.context_id)
        asyncio.get_running_loop().call_later(_HEAD_START, self._wake.set)
        return Outcome(Status.SUCCESS)

    async def run(self) -> None:
        """Deliver reports when they are due; ends by cancellation."""
        while True:
            self._wake.clear()
            try:
                pause = await self._deliver_due()
            except LeveretError as error:  # a full disk must not stop the node; there is a next time
                self._log.warning("commitment reports wait", component="dicom", code=error.code)
                pause = float(PAUSES[0])
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _deliver_due(self) -> float | None:
        """Deliver what is due; seconds until more is, None if nothing waits."""
        now = self._clock.now()
        async with self._db.write() as tx:
            await commitments.forget(tx, now - KEEP_SECONDS)
            found = await commitments.due(tx, now, AT_ONCE)
        if found:
            await asyncio.gather(*(self._deliver(one) for one in found))
            return 0.0
        async with self._db.read() as rx:
            at = await commitments.next_due(rx)
        return None if at is None else max(0.0, float(at - self._clock.now()))

    async def _deliver(self, commitment: Commitment) -> None:
        report, code = await self._look(commitment), ""
        try:
            await self._tell(commitment, report)
        except LeveretError as error:
            code = error.code
        self._asked_on.pop(commitment.number, None)
        now = self._clock.now()
        next_at = self._next_attempt(commitment, code, now)
        detail: dict[str, str | int] = {
            "to": commitment.ae_title,
            "kept": len(report.kept),
            "failed": len(report.failed),
        }
        ending = Ending.FAILURE if code else Ending.SUCCESS
        event = AuditEvent(AuditType.COMMITMENT_REPORTED, now, NODE_ACTOR, ending, code=code, detail=detail)
        async with self._db.write() as tx:
            if code:
                await commitments.postpone(tx, commitment.number, next_at)
            else:
                await commitments.delivered(tx, commitment.number, now)
            if next_at is None:
                await audit.append(tx, event)
        if code:
            self._log.warning("commitment report not delivered", component="dicom", code=code)

    def _next_attempt(self, commitment: Commitment, code: str, now: int) -> int | None:
        is_old = now - commitment.requested_at > GIVE_UP_SECONDS
        if not code or code == UnknownPacs.code or is_old:
            return None
        return now + PAUSES[min(commitment.attempts, len(PAUSES) - 1)]

    async def _look(self, commitment: Commitment) -> _Report:
        """What is kept of what was asked: durable, in the index, of the same SOP class, and not to be hidden."""
        await caught_up(self._store)
        known: dict[str, str] = {}
        for at in range(0, len(commitment.items), _CHUNK):
            uids = tuple(_uids(commitment.items[at : at + _CHUNK]))
            if uids:
                held = await self._outward.instances(InstanceQuery(instance_uids=uids), len(uids))
                known |= {one.header.sop_instance_uid: one.header.sop_class_uid for one in held}
        kept = [(sop_class, uid) for sop_class, uid in commitment.items if known.get(uid) == sop_class]
        failed = [
            (sop_class, uid, int(Status.CLASS_CONFLICT if uid in known else Status.NO_SUCH_OBJECT))
            for sop_class, uid in commitment.items
            if known.get(uid) != sop_class
        ]
        return _Report(kept, failed)

    async def _tell(self, commitment: Commitment, report: _Report) -> None:
        pacs = self._directory.titled(commitment.ae_title)
        if pacs is None:
            raise UnknownPacs
        asked_on = self._asked_on.get(commitment.number)
        if pacs.same_association and asked_on is not None:
            try:
                await self._tell_there(commitment, report, *asked_on)
            except (AssociationLost, CommitmentNotTaken):
                pass  # it has gone, or takes no reports there after all
            else:
                return
        await self._call(commitment, report, pacs)

    async def _tell_there(
        self, commitment: Commitment, report: _Report, conversation: Conversation, context_id: int
    ) -> None:
        syntax = conversation.contexts[context_id].transfer_syntax
        dataset = report.encode(commitment.transaction, self._directory.ae_title, syntax)
        request = Request(
            CommandField.N_EVENT_REPORT_RQ, 1, has_dataset=True, sop_class_uid=STORAGE_COMMITMENT,
            sop_instance_uid=COMMITMENT_INSTANCE, type_id=report.event,
        )  # fmt: skip
        _check((await conversation.ask(context_id, request, _once(dataset), _LIMITS.response)).status)

    async def _call(self, commitment: Commitment, report: _Report, pacs: Pacs) -> None:
        contexts = [ProposedContext(1, STORAGE_COMMITMENT, _SYNTAXES)]
        roles = [RoleSelection(STORAGE_COMMITMENT, scu=False, scp=True)]
        async with self._directory.association(pacs, contexts, roles=roles, limits=_LIMITS) as association:
            context_id = association.context_of(STORAGE_COMMITMENT)
            syntax = association.accepted[context_id][1]
            reply = await association.n_event_report(
                context_id,
                sop_class_uid=STORAGE_COMMITMENT,
                sop_instance_uid=COMMITMENT_INSTANCE,
                event_type=report.event,
                dataset=report.encode(commitment.transaction, self._directory.ae_title, syntax),
            )
        _check(reply.status)


def _check(status: int) -> None:
    if status != Status.SUCCESS:
        raise CommitmentNotTaken(f"status {status:04X}")


def _uids(items: Sequence[tuple[str, str]]) -> list[SOPInstanceUID]:
    found = []
    for _, text in items:
        try:
            found.append(SOPInstanceUID.parse(text))
        except InvalidUid:
            continue  # nothing of that name can be held
    return found


async def _once(dataset: bytes) -> AsyncIterable[bytes]:
    yield dataset
