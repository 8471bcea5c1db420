"""Sending studies to a PACS, as a person orders and watches it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from node.clock import Clock
from node.errors.delivery import InvalidDelivery, NoSuchDelivery, PatientNotNamed, StudyNotLinked
from node.errors.storage import UnknownStudy
from node.model.audit import AuditEvent, AuditType
from node.model.delivery import Delivery, DeliveryId, DeliveryState, InstanceOutcome, Sent
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.sharing.delivery_engine import DeliveryEngine
from node.sharing.pacs import PacsDirectory
from node.store import audit, deliveries, links
from node.store.engine import Database, Write
from node.store.study_queries import StudyQuery, find_studies

MAX_ACCESSION = 16  # SH (PS3.5 section 6.2)
FOLLOW_SECONDS = 5.0  # a follower looks at least that often


@dataclass(frozen=True, slots=True)
class DeliveryWish:
    """To which PACS; ``accession`` is the local accession number, if the study gets one."""

    pacs: str
    accession: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOrder(DeliveryWish):
    """What is to be sent."""

    study: StudyInstanceUID


class Deliveries:
    """Orders deliveries and shows them."""

    def __init__(self, *, db: Database, directory: PacsDirectory, engine: DeliveryEngine, clock: Clock) -> None:
        self._db = db
        self._directory = directory
        self._engine = engine
        self._clock = clock

    async def order(self, order: DeliveryOrder, *, by: str) -> DeliveryId:
        """Write the order down and begin; a foreign study must be linked to a local patient.

        Raises:
            UnknownPacs, UnknownStudy: there is none. StudyNotLinked: link it first. InvalidDelivery: the accession.
        """
        self._directory.get(order.pacs)
        async with self._db.write() as tx:
            found = await find_studies(tx, StudyQuery(study_uids=(order.study,)))
            if not found:
                raise UnknownStudy
            link = await links.get(tx, order.study)
            if found[0].origin is not None and link is None:
                raise StudyNotLinked
            if order.accession and found[0].origin is None:
                raise InvalidDelivery("an accession number for an own study")
            patient = link.patient if link is not None else None
            about = patient or found[0].patient
            made = self._made(order.study, order, DeliveryState.QUEUED, patient, by=by)
            return await self._add(tx, made, about=about, origin=found[0].origin)

    async def expect(
        self, tx: Write, request_id: RequestId, wish: DeliveryWish, patient: PatientKey | None, *, by: str
    ) -> DeliveryId:
        """Deliver what a request will bring, once it is here and linked; part of the transaction of the request.

        Raises:
            UnknownPacs, PatientNotNamed, InvalidDelivery: it cannot be.
        """
        self.check(wish.pacs, patient)
        made = self._made(None, wish, DeliveryState.EXPECTED, patient, by=by, request=request_id)
        return await self._add(tx, made, about=patient, origin=None)

    def check(self, pacs: str, patient: PatientKey | None) -> None:
        """Whether a request can have its studies delivered; raises UnknownPacs, PatientNotNamed."""
        self._directory.get(pacs)
        if patient is None:
            raise PatientNotNamed

    def _made(
        self,
        study: StudyInstanceUID | None,
        wish: DeliveryWish,
        state: DeliveryState,
        patient: PatientKey | None,
        *,
        by: str,
        request: RequestId | None = None,
    ) -> Delivery:
        accession, now = wish.accession, self._clock.now()
        if len(accession) > MAX_ACCESSION or "\\" in accession or not accession.isprintable():
            raise InvalidDelivery
        return Delivery(
            DeliveryId.new(), study, wish.pacs, request, patient, accession, state, "",
            attempts=0, instances_total=0, bytes_total=0, counts={}, bytes_done=0,
            ordered_by=by, created_at=now, updated_at=now,
        )  # fmt: skip

    async def _add(self, tx: Write, made: Delivery, *, about: PatientKey | None, origin: PeerId | None) -> DeliveryId:
        await deliveries.add(tx, made)
        event = AuditEvent(
            AuditType.DELIVERY_ORDERED,
            made.created_at,
            made.ordered_by,
            peer=origin,
            patient=about,
            study=made.study,
            request=made.request_id,
            detail={"pacs": made.pacs, "delivery": str(made.delivery_id)},
        )
        await audit.append(tx, event)
        tx.after_commit(lambda: self._engine.begin(made.delivery_id))
        return made.delivery_id

    async def of_request(self, request_id: RequestId) -> list[Delivery]:
        """What a request brings is delivered by these, oldest first."""
        async with self._db.read() as rx:
            return await deliveries.of_request(rx, request_id)

    async def page(self, *, limit: int = 1000, offset: int = 0) -> list[Delivery]:
        """Deliveries, newest first."""
        async with self._db.read() as rx:
            return await deliveries.page(rx, limit=limit, offset=offset)

    async def view(self, delivery_id: DeliveryId) -> Delivery:
        """One; raises NoSuchDelivery."""
        async with self._db.read() as rx:
            found = await deliveries.get(rx, delivery_id)
        if found is None:
            raise NoSuchDelivery
        return found

    async def outcomes(
        self, delivery_id: DeliveryId, *, kinds: Sequence[Sent] = (), limit: int = 10_000, offset: int = 0
    ) -> list[InstanceOutcome]:
        """What became of its instances; raises NoSuchDelivery."""
        await self.view(delivery_id)
        async with self._db.read() as rx:
            return await deliveries.outcomes(rx, delivery_id, kinds=kinds, limit=limit, offset=offset)

    async def follow(self, delivery_id: DeliveryId) -> AsyncIterator[Delivery]:
        """The delivery now and after each change, until it is settled; raises NoSuchDelivery."""
        last: Delivery | None = None
        while True:
            changed = self._engine.changed()
            view = await self.view(delivery_id)
            if view != last:
                yield view
            if view.settled:
                return
            last = view
            await asyncio.wait((changed,), timeout=FOLLOW_SECONDS)

    async def cancel(self, delivery_id: DeliveryId, *, by: str) -> Delivery:
        """Give it up; what the PACS has it keeps. An ended one stays as it is. Raises NoSuchDelivery."""
        await self.view(delivery_id)
        await self._engine.cancel(delivery_id, by=by)
        return await self.view(delivery_id)
