"""C-MOVE and C-GET (PS3.4 sections C.4.2 and C.4.3): what is named leaves for a system that is entered, or who asks.

Only own studies and linked ones are found (``outward``). Everything is on record before the first byte leaves.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from node.clock import Clock
from node.dicom.identifier import FAILED_INSTANCES, encode_elements, read_identifier
from node.dicom.received import Status
from node.dicom.reconcile import Identity
from node.dicom.services import PATIENT_ROOT
from node.dicom.upper_layer.command import CommandField, Counts, MoveOriginator, Request
from node.dicom.upper_layer.operation import Operation
from node.dicom.upper_layer.outgoing import Buffer
from node.dicom.upper_layer.requestor import Reply
from node.dicom.upper_layer.service import Outcome
from node.errors import LeveretError
from node.errors.dimse import IdentifierMismatch
from node.log import Logger
from node.model.audit import AuditEvent, AuditType
from node.model.delivery import InstanceOutcome, Sent
from node.model.ids import SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID, Uid
from node.model.instance import StoredInstance
from node.model.trust import Peer
from node.sharing.audit import AuditLog
from node.sharing.find import UNIQUE_KEYS, actor_of, check_hierarchy, status_of_query
from node.sharing.local_identity import local_identity, source_of
from node.sharing.outward import Outgoing, Outward
from node.sharing.pacs import PacsDirectory
from node.sharing.reading import caught_up
from node.sharing.sender import Report, Sender
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery, StudyQuery

MAX_INSTANCES = 50_000  # of one retrieval: counts of sub-operations have 16 bits
MAX_FAILED_LISTED = 1000  # UIDs that fit into one value of explicit encodings (PS3.5 section 7.1.2)
_NO_MATCHING = frozenset("*?\\")
_TAKEN = {Sent.SENT, Sent.WARNING}

_U = TypeVar("_U", bound=Uid)
Identify = Callable[[StoredInstance], Identity | None]


class _Cancelled(Exception):
    """The caller sent a C-CANCEL."""


@dataclass(slots=True)
class _Tally:
    """What became of the sub-operations so far."""

    left: dict[SOPInstanceUID, None]
    counts: Counter[Sent] = field(default_factory=Counter)
    failed: list[SOPInstanceUID] = field(default_factory=list)

    def add(self, outcome: InstanceOutcome) -> None:
        self.left.pop(outcome.instance, None)
        self.counts[outcome.outcome] += 1
        if outcome.outcome not in _TAKEN:
            self.failed.append(outcome.instance)

    def give_up(self) -> None:
        """What is left will not be tried."""
        self.failed += self.left
        self.left = {}

    def told(self) -> Counts:
        return Counts(len(self.left), self.counts[Sent.SENT], len(self.failed), self.counts[Sent.WARNING])


@dataclass(frozen=True, slots=True)
class RetrieveParts:
    """What retrieval works with. ``peers``: who received studies came from."""

    outward: Outward
    store: ObjectStore
    sender: Sender
    directory: PacsDirectory
    audit: AuditLog
    peers: Callable[[], Iterable[Peer]]
    clock: Clock
    log: Logger


class Retrieve:
    """The two services."""

    def __init__(self, parts: RetrieveParts) -> None:
        self._parts = parts

    async def move(self, operation: Operation, dataset: bytes) -> Outcome:
        """Answer a C-MOVE."""
        parts = self._parts
        pacs = parts.directory.titled(operation.request.destination)
        if pacs is None:
            return Outcome(Status.UNKNOWN_DESTINATION, "move destination unknown")
        originator = MoveOriginator(operation.caller.ae_title, operation.request.message_id)

        async def send_all(outgoing: Outgoing, report: Report) -> None:
            identity = self._identities(outgoing)
            await parts.sender.send(pacs, outgoing.instances, identity, report, Counter(), originator=originator)

        async def tell(tally: _Tally, task: "asyncio.Task[None]", changed: asyncio.Event) -> None:
            while not task.done():
                waiting = asyncio.create_task(changed.wait())
                await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if changed.is_set() and tally.left:
                    changed.clear()
                    await operation.pending(Status.PENDING, counts=tally.told())

        return await self._retrieve(operation, dataset, pacs.name, send_all, tell)

    async def get(self, operation: Operation, dataset: bytes) -> Outcome:
        """Answer a C-GET."""
        parts = self._parts

        async def send_all(outgoing: Outgoing, report: Report) -> None:
            tally = _Tally(dict.fromkeys(one.header.sop_instance_uid for one in outgoing.instances))

            def count(outcome: InstanceOutcome) -> None:
                tally.add(outcome)
                report(outcome)

            line = _CallerLine(operation, tally)
            await parts.sender.send_on(line, outgoing.instances, self._identities(outgoing), count)

        async def tell(_tally: _Tally, task: "asyncio.Task[None]", _changed: asyncio.Event) -> None:
            await asyncio.wait((task,))  # pending answers go out between the instances

        return await self._retrieve(operation, dataset, operation.caller.ae_title, send_all, tell)

    async def _retrieve(
        self,
        operation: Operation,
        dataset: bytes,
        destination: str,
        send: Callable[[Outgoing, Report], Coroutine[Any, Any, None]],
        tell: Callable[[_Tally, "asyncio.Task[None]", asyncio.Event], Awaitable[None]],
    ) -> Outcome:
        try:
            outgoing = await self._wanted(operation, dataset)
        except LeveretError as error:
            return Outcome(status_of_query(error), error.fact or error.code)
        if len(outgoing.instances) > MAX_INSTANCES:
            return Outcome(Status.TOO_MANY_MATCHES, "too many instances at once")
        await self._record(operation, outgoing, destination)
        tally = _Tally(dict.fromkeys(one.header.sop_instance_uid for one in outgoing.instances))
        changed = asyncio.Event()

        def report(outcome: InstanceOutcome) -> None:
            tally.add(outcome)
            changed.set()
            if operation.is_cancelled:
                raise _Cancelled

        task = asyncio.create_task(send(outgoing, report)) if tally.left else None
        try:
            if task is not None:
                await tell(tally, task, changed)
                task.result()
        except _Cancelled:
            return _final(operation, tally, Status.CANCELLED)
        except LeveretError as error:
            self._parts.log.warning("retrieval interrupted", component="dicom", code=error.code)
        finally:
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait((task,))
        tally.give_up()
        return _final(operation, tally, _status(tally))

    async def _wanted(self, operation: Operation, dataset: bytes) -> Outgoing:
        context = operation.context
        identifier = read_identifier(dataset, context.transfer_syntax)
        is_patient_root = context.abstract_syntax in PATIENT_ROOT
        check_hierarchy(identifier, is_patient_root=is_patient_root, is_relational=context.relational)
        query = _query(identifier.level, identifier.keys)
        await caught_up(self._parts.store)
        outgoing = await self._parts.outward.outgoing(query, MAX_INSTANCES + 1)
        if query.studies.patient_id and len(outgoing.patients()) > 1:
            raise IdentifierMismatch("several issuers know this patient ID: name one")
        return outgoing

    def _identities(self, outgoing: Outgoing) -> Identify:
        made = {
            uid: local_identity(
                link,
                outgoing.records[uid],
                source=source_of(outgoing.studies[uid], self._parts.peers()),
                accession="",
                at=self._parts.clock.now(),
            )
            for uid, link in outgoing.links.items()
        }

        def identity(instance: StoredInstance) -> Identity | None:
            of_study = made.get(instance.header.study_instance_uid)
            return None if of_study is None else of_study(instance)

        return identity

    async def _record(self, operation: Operation, outgoing: Outgoing, destination: str) -> None:
        counts = Counter(one.header.study_instance_uid for one in outgoing.instances)
        service = CommandField(operation.request.command).name.removesuffix("_RQ").replace("_", "-").lower()
        for uid, study in outgoing.studies.items():
            link = outgoing.links.get(uid)
            event = AuditEvent(
                AuditType.STUDY_RETRIEVED,
                self._parts.clock.now(),
                actor_of(operation),
                patient=study.patient if link is None else link.patient,
                study=uid,
                detail={
                    "service": service,
                    "to": destination,
                    "instances": counts[uid],
                    "address": operation.caller.address,
                },
            )
            await self._parts.audit.record(event)


class _CallerLine:
    """``sender.Line`` on the caller's own association: C-GET."""

    def __init__(self, operation: Operation, tally: _Tally) -> None:
        self._operation = operation
        self._tally = tally
        self._told = tally.told()
        self._message_id = 0

    @property
    def accepted(self) -> Mapping[int, tuple[str, str]]:
        """Those in which instances may be sent."""
        contexts = self._operation.conversation.contexts
        return {number: (one.abstract_syntax, one.transfer_syntax) for number, one in contexts.items() if one.sends}

    async def store(
        self,
        context_id: int,
        pieces: AsyncIterable[Buffer],
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        originator: MoveOriginator | None = None,
    ) -> Reply:
        """One sub-operation, and before it how many there were."""
        if self._operation.is_cancelled:
            raise _Cancelled
        counts = self._tally.told()
        if counts != self._told:
            self._told = counts
            await self._operation.pending(Status.PENDING, counts=counts)
        self._message_id = self._message_id % 0xFFFF + 1
        request = Request(
            CommandField.C_STORE_RQ, self._message_id, has_dataset=True, sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid, originator=originator,
        )  # fmt: skip
        response = await self._operation.conversation.ask(context_id, request, pieces)
        return Reply(response.status, response.comment)


def _query(level: str, keys: Mapping[int, str]) -> InstanceQuery:
    """The instances that an identifier names by unique keys; others do not count (PS3.4 section C.4.2.2.1).

    Raises:
        IdentifierMismatch: the unique key of the level is not there, or is no value but a pattern.
        InvalidUid: a UID is none.
    """
    if not keys.get(UNIQUE_KEYS[level]):
        raise IdentifierMismatch("unique key of the level")
    patient = keys.get(UNIQUE_KEYS["PATIENT"], "")
    if _NO_MATCHING & set(patient):
        raise IdentifierMismatch("patient ID")
    studies = StudyQuery(
        study_uids=_uids(StudyInstanceUID, keys.get(UNIQUE_KEYS["STUDY"], "")),
        patient_id=patient,
        issuer=keys.get(0x00100021) or None,
    )
    return InstanceQuery(
        studies=studies,
        series_uids=_uids(SeriesInstanceUID, keys.get(UNIQUE_KEYS["SERIES"], "")),
        instance_uids=_uids(SOPInstanceUID, keys.get(UNIQUE_KEYS["IMAGE"], "")),
    )


def _uids(kind: type[_U], text: str) -> tuple[_U, ...]:
    return tuple(kind.parse(part) for part in text.split("\\") if part)


def _status(tally: _Tally) -> int:
    if tally.failed and not (tally.counts[Sent.SENT] or tally.counts[Sent.WARNING]):
        return Status.NO_SUB_OPERATIONS
    return Status.SOME_FAILED if tally.failed or tally.counts[Sent.WARNING] else Status.SUCCESS


def _final(operation: Operation, tally: _Tally, status: int) -> Outcome:
    dataset = None
    if tally.failed:
        listed = "\\".join(tally.failed[:MAX_FAILED_LISTED])
        dataset = encode_elements({FAILED_INSTANCES: listed}, operation.context.transfer_syntax)
    return Outcome(status, dataset=dataset, counts=tally.told())
