"""The steps of a delivery, each a few reads, perhaps a talk with the PACS, and one transaction.

Under whom a foreign study is sent is read again at each attempt: a link that was taken back stops it, and one to
another patient begins it anew.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial

from node.clock import Clock
from node.dicom.reconcile import Identity
from node.errors.delivery import DeliveryIncomplete, NoSuchDelivery, OwnStudy, StudyNotLinked
from node.errors.sharing import NoSuchRequest
from node.errors.storage import UnknownStudy
from node.metrics import Metrics
from node.model.audit import NODE_ACTOR, AuditEvent, AuditType, Outcome
from node.model.delivery import (
    ENDED,
    TAKEN,
    Delivery,
    DeliveryEvent,
    DeliveryId,
    DeliveryState,
    InstanceOutcome,
    StudyLink,
)
from node.model.ids import SOPInstanceUID, StudyInstanceUID
from node.model.instance import Demographics, StoredInstance, StudySummary
from node.model.request import RequestState
from node.model.transfer import TransferState
from node.peers.messages import decode_body
from node.sharing.links import Links, local_record
from node.sharing.local_identity import local_identity, source_of
from node.sharing.pacs import PacsDirectory
from node.sharing.reading import caught_up
from node.sharing.sender import Sender
from node.sharing.trust import TrustList
from node.store import audit, deliveries, links, requests, transfers
from node.store.engine import Database, Read, Write
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery, StudyQuery, find_studies

PROGRESS_SECONDS = 0.5  # how often outcomes are written down


class Next(Enum):
    """What has to be done next."""

    WAIT = auto()  # for the study, or for its link
    SEND = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """A delivery and what is next; ``study`` is there to be sent."""

    delivery: Delivery
    what: Next
    study: StudySummary | None = None
    link: StudyLink | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A step that is to send, and how often the association was lost at which instance."""

    step: Step
    losses: Counter[SOPInstanceUID]


@dataclass(frozen=True, slots=True)
class DeliveringParts:
    """What the steps work with."""

    db: Database
    store: ObjectStore
    links: Links
    directory: PacsDirectory
    sender: Sender
    trust: TrustList
    clock: Clock
    metrics: Metrics


class Delivering:
    """The steps."""

    def __init__(self, parts: DeliveringParts) -> None:
        self._parts = parts
        self._db = parts.db
        self.on_progress: Callable[[], None] = lambda: None  # called after each count of what was sent
        self.on_begun: Callable[[DeliveryId], None] = lambda _delivery: None  # called for one that another one led to

    async def unfinished(self) -> list[DeliveryId]:
        """Deliveries with something left to do. What the last process was sending is SUSPENDED now."""
        async with self._db.write() as tx:
            found = await deliveries.unfinished(tx)
            for delivery_id in found:
                if (await _row(tx, delivery_id)).state is DeliveryState.SENDING:
                    await deliveries.move(tx, delivery_id, DeliveryEvent.INTERRUPT, at=self._parts.clock.now())
        return found

    async def next_step(self, delivery_id: DeliveryId) -> Step:
        """What is to be done, written down where that changes how the delivery stands.

        Raises:
            UnknownStudy: the study is gone. Other LeveretError: the request that should bring it has failed.
        """
        delivery = await self._read(delivery_id)
        if delivery.state in ENDED:
            return Step(delivery, Next.NOTHING)
        if delivery.state is DeliveryState.EXPECTED and not await self._arrived(delivery):
            return Step(await self._read(delivery_id), Next.WAIT)
        await caught_up(self._parts.store)
        async with self._db.write() as tx:
            delivery = await _row(tx, delivery_id)
            assert delivery.study is not None, "it has arrived"
            found = await find_studies(tx, StudyQuery(study_uids=(delivery.study,)))
            if not found:
                raise UnknownStudy
            link = await links.get(tx, delivery.study)
            if found[0].origin is not None and link is None:
                await self._move(tx, delivery, DeliveryEvent.WAIT_FOR_LINK, StudyNotLinked.code)
                return Step(await _row(tx, delivery_id), Next.WAIT)
            await self._move(tx, delivery, DeliveryEvent.ARRIVE)
            return Step(await _row(tx, delivery_id), Next.SEND, found[0], link)

    async def attempt(self, attempt: Attempt) -> None:
        """Send what has no outcome yet, and end the delivery when everything has one.

        Raises: as ``Sender.send``; UnknownPacs.
        """
        step, parts = attempt.step, self._parts
        assert step.study is not None, "the step says that it is there"
        pacs = parts.directory.get(step.delivery.pacs)
        missing, identity = await self._begin(step)
        async with self._ledger(step.delivery.delivery_id) as report:
            await parts.sender.send(pacs, missing, identity, report, attempt.losses)
        await self._complete(step.delivery.delivery_id)

    async def interrupted(self, delivery_id: DeliveryId, code: str) -> Delivery:
        """It stands still because of ``code``, and goes on later."""
        async with self._db.write() as tx:
            delivery = await _row(tx, delivery_id)
            if delivery.state in {DeliveryState.QUEUED, DeliveryState.SENDING, DeliveryState.SUSPENDED}:
                await deliveries.set_attempts(tx, delivery_id, delivery.attempts + 1)
                await self._move(tx, delivery, DeliveryEvent.INTERRUPT, code)
            return await _row(tx, delivery_id)

    async def end(self, delivery_id: DeliveryId, event: DeliveryEvent, code: str, *, by: str = NODE_ACTOR) -> None:
        """End it because of ``code``, unless it has ended."""
        async with self._db.write() as tx:
            delivery = await _row(tx, delivery_id)
            if delivery.state not in ENDED:
                await self._move(tx, delivery, event, code)
                await self._record_end(tx, await _row(tx, delivery_id), by)

    # What it waits for

    async def _arrived(self, delivery: Delivery) -> bool:
        """Whether the request has brought the study; links it where the request's own words justify that."""
        assert delivery.request_id is not None, "what is expected comes by a request"
        async with self._db.read() as rx:
            row = await requests.get_sent(rx, delivery.request_id)
            transfer = await transfers.get(rx, delivery.request_id)
        if row is None or transfer is None:
            raise NoSuchRequest
        failed = transfer.state in {TransferState.FAILED, TransferState.CANCELLED}
        if failed or row.state in {RequestState.REFUSED, RequestState.FAILED}:
            code = transfer.code or row.code
            await self.end(delivery.delivery_id, DeliveryEvent.FAIL, code)
            return False
        if transfer.state is not TransferState.COMPLETED:
            return False
        await self._name_studies(delivery, transfer.studies)
        subject = decode_body(row.body).subject
        for study in transfer.studies:
            with contextlib.suppress(OwnStudy):  # what was held as an own study before the request stays that
                await self._parts.links.link_confirmed(
                    study, subject, by=delivery.ordered_by, request=delivery.request_id
                )
        return True

    async def _name_studies(self, delivery: Delivery, studies: Sequence[StudyInstanceUID]) -> None:
        """Now that it is known which studies came: the delivery is of the first, and each further one gets its own."""
        async with self._db.write() as tx:
            if (await _row(tx, delivery.delivery_id)).study is not None or not studies:
                return
            await deliveries.set_study(tx, delivery.delivery_id, studies[0])
            for study in studies[1:]:
                another = replace(delivery, delivery_id=DeliveryId.new(), study=study)
                await deliveries.add(tx, another)
                tx.after_commit(partial(self.on_begun, another.delivery_id))

    # One attempt

    async def _begin(self, step: Step) -> tuple[list[StoredInstance], Callable[[StoredInstance], Identity | None]]:
        """The instances still to be sent, in their order, and whom they are sent as."""
        delivery, link = step.delivery, step.link
        assert step.study is not None, "the step says that it is there"
        patient = link.patient if link else None
        instances = await self._parts.store.instances(
            InstanceQuery(studies=StudyQuery(study_uids=(step.study.study_instance_uid,)))
        )
        async with self._db.write() as tx:
            if delivery.patient != patient:  # what went under another patient does not count
                await deliveries.forget_outcomes(tx, delivery.delivery_id)
            settled = await deliveries.settled_instances(tx, delivery.delivery_id)
            size = sum(instance.size for instance in instances)
            await deliveries.begin(tx, delivery.delivery_id, patient=patient, instances=len(instances), size=size)
            await self._move(tx, delivery, DeliveryEvent.START)
            record = await local_record(tx, link.patient, link.said) if link else Demographics()
        missing = [one for one in instances if one.header.sop_instance_uid not in settled]
        return missing, self._identities(step, record)

    def _identities(self, step: Step, record: Demographics) -> Callable[[StoredInstance], Identity | None]:
        if step.link is None:
            return lambda _instance: None
        source = source_of(step.study, self._parts.trust.peers())
        delivery = step.delivery
        return local_identity(step.link, record, source=source, accession=delivery.accession, at=delivery.created_at)

    @asynccontextmanager
    async def _ledger(self, delivery_id: DeliveryId) -> AsyncIterator[Callable[[InstanceOutcome], None]]:
        """Outcomes told while the block runs are written down now and then, and at its end, however it ends."""
        told: list[InstanceOutcome] = []

        def report(outcome: InstanceOutcome) -> None:
            self._parts.metrics.delivered.labels(outcome.outcome.value).inc()
            told.append(outcome)

        async def keep() -> None:
            while True:
                await asyncio.sleep(PROGRESS_SECONDS)
                await self._keep(delivery_id, told)

        keeper = asyncio.create_task(keep(), name="delivery-progress")
        try:
            yield report
        finally:
            keeper.cancel()
            await asyncio.wait((keeper,))
            await self._keep(delivery_id, told)
        if not keeper.cancelled():
            keeper.result()

    async def _keep(self, delivery_id: DeliveryId, told: list[InstanceOutcome]) -> None:
        if not told:
            return
        some = list(told)
        async with self._db.write() as tx:
            await deliveries.keep_outcomes(tx, delivery_id, some, at=self._parts.clock.now())
            await deliveries.set_attempts(tx, delivery_id, 0)
        del told[: len(some)]
        self.on_progress()

    async def _complete(self, delivery_id: DeliveryId) -> None:
        async with self._db.write() as tx:
            delivery = await _row(tx, delivery_id)
            taken = sum(count for outcome, count in delivery.counts.items() if outcome in TAKEN)
            if taken == delivery.instances_done:
                await self._move(tx, delivery, DeliveryEvent.COMPLETE)
            else:
                await self._move(tx, delivery, DeliveryEvent.END_INCOMPLETE, DeliveryIncomplete.code)
            await self._record_end(tx, await _row(tx, delivery_id), NODE_ACTOR)

    async def _record_end(self, tx: Write, delivery: Delivery, by: str) -> None:
        event = AuditEvent(
            AuditType.STUDY_DELIVERED,
            self._parts.clock.now(),
            by,
            Outcome.SUCCESS if delivery.state is DeliveryState.COMPLETED else Outcome.FAILURE,
            patient=delivery.patient,
            study=delivery.study,
            request=delivery.request_id,
            code=delivery.code,
            detail={
                "pacs": delivery.pacs,
                "delivery": str(delivery.delivery_id),
                "state": delivery.state.value,
                **{outcome.value: count for outcome, count in delivery.counts.items()},
            },
        )
        await audit.append(tx, event)
        tx.after_commit(self._parts.metrics.deliveries.labels(delivery.state.value).inc)

    async def _move(self, tx: Write, delivery: Delivery, event: DeliveryEvent, code: str = "") -> None:
        """Move it by the table; an event that says what is so already changes nothing."""
        standing = {
            DeliveryEvent.ARRIVE: {DeliveryState.QUEUED, DeliveryState.SENDING, DeliveryState.SUSPENDED},
            DeliveryEvent.WAIT_FOR_LINK: {DeliveryState.UNLINKED},
        }
        if delivery.state not in standing.get(event, ()):
            await deliveries.move(tx, delivery.delivery_id, event, at=self._parts.clock.now(), code=code)

    async def _read(self, delivery_id: DeliveryId) -> Delivery:
        async with self._db.read() as rx:
            return await _row(rx, delivery_id)


async def _row(rx: Read, delivery_id: DeliveryId) -> Delivery:
    found = await deliveries.get(rx, delivery_id)
    if found is None:
        raise NoSuchDelivery
    return found
