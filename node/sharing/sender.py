"""One attempt to send instances to a PACS: associations as planned, the next instances made ready while one is awaited.

What becomes of an instance is told at once. A refusal of one instance stops nothing; what a PACS has no room for is
tried again at the end of the attempt's turn by whoever drives it.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from node.dicom.contexts import AssociationPlan, Way, choose, plan_associations
from node.dicom.outgoing import Copies, Outgoing
from node.dicom.reconcile import Identity
from node.dicom.upper_layer.command import MoveOriginator
from node.dicom.upper_layer.outgoing import Buffer
from node.dicom.upper_layer.requestor import Reply
from node.errors.base import LeveretError
from node.errors.delivery import PacsOutOfResources
from node.errors.dicom import DicomRefused
from node.errors.dimse import AssociationLost, NotAccepted
from node.errors.storage import ObjectDamaged, UnknownInstance
from node.model.delivery import InstanceOutcome, Sent, outcome_of_status
from node.model.ids import SOPInstanceUID
from node.model.instance import StoredInstance
from node.model.pacs import Pacs
from node.sharing.pacs import PacsDirectory
from node.store.objects import ObjectStore

AHEAD = 3  # instances made ready while one is on its way; each may hold 64 MiB decoded, so one at a time where it does
HEAVY_BYTES = 8 * 1024 * 1024  # of a stored instance: from there on only one is made ready ahead
LOSSES = 3  # associations lost at one instance before the others are tried without it
_NO_ROOM = 0xA700  # to A7FF: out of resources (PS3.4 table B.2-1)

Report = Callable[[InstanceOutcome], None]
# What goes wrong with one instance and says nothing about the others.
_OF_ONE = (DicomRefused, ObjectDamaged, UnknownInstance)


class Line(Protocol):
    """An association that instances can be sent on: one that this node asked for, or one that it accepted (C-GET)."""

    @property
    def accepted(self) -> Mapping[int, tuple[str, str]]:
        """Presentation contexts: id to abstract and transfer syntax."""

    async def store(
        self,
        context_id: int,
        pieces: AsyncIterable[Buffer],
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        originator: MoveOriginator | None = None,
    ) -> Reply:
        """C-STORE."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """An instance and what leaves of it, or why nothing does."""

    instance: StoredInstance
    way: Way | None = None
    outgoing: Outgoing | None = None
    trouble: LeveretError | None = None


class Sender:
    """Sends instances, each as it is or as a copy that one of the accepted contexts takes."""

    def __init__(self, store: ObjectStore, copies: Copies, directory: PacsDirectory) -> None:
        self._store = store
        self._copies = copies
        self._directory = directory

    async def send(
        self,
        pacs: Pacs,
        instances: Sequence[StoredInstance],
        identity: Callable[[StoredInstance], Identity | None],
        report: Report,
        losses: Counter[SOPInstanceUID],
        *,
        originator: MoveOriginator | None = None,
    ) -> None:
        """Send ``instances`` in their order; ``report`` hears what became of each. ``losses`` is kept between attempts.

        ``originator``: whose C-MOVE it is.

        Raises:
            PacsOutOfResources: what was not reported is to be tried later.
            AssociationLost, AssociationBusy, DicomUnreachable: likewise.
            AssociationRejected and other LeveretError: not to be tried again without a change.
        """
        turn = _Turn(self._store, self._copies, identity, report, losses, originator=originator)
        kinds = [(one.header.sop_class_uid, one.header.transfer_syntax_uid) for one in instances]
        for plan in plan_associations(kinds):
            left = deque(instances[index] for index in plan.instances)
            while left:
                await self._associate(pacs, plan, turn, left)
        if turn.without_room:
            raise PacsOutOfResources

    async def send_on(
        self,
        line: Line,
        instances: Sequence[StoredInstance],
        identity: Callable[[StoredInstance], Identity | None],
        report: Report,
    ) -> None:
        """Send ``instances`` on an association that is there; raises AssociationLost and whatever ``report`` raises."""
        turn = _Turn(self._store, self._copies, identity, report, Counter(), originator=None)
        await turn.send_all(line, deque(instances))

    async def _associate(self, pacs: Pacs, plan: AssociationPlan, turn: "_Turn", left: deque[StoredInstance]) -> None:
        try:
            async with self._directory.association(pacs, plan.contexts) as association:
                await turn.send_all(association, left)
        except _OF_ONE as error:  # its data set had begun and could not end, so that cost the association
            turn.not_sent(left.popleft(), error)
        except AssociationLost as error:
            if not left:
                return
            turn.losses[left[0].header.sop_instance_uid] += 1
            if turn.losses[left[0].header.sop_instance_uid] < LOSSES:
                raise
            turn.report(_outcome(left.popleft(), Sent.REFUSED, code=error.code))


class _Turn:
    """One pass over the instances."""

    def __init__(
        self,
        store: ObjectStore,
        copies: Copies,
        identity: Callable[[StoredInstance], Identity | None],
        report: Report,
        losses: Counter[SOPInstanceUID],
        *,
        originator: MoveOriginator | None,
    ) -> None:
        self._originator = originator
        self.report = report
        self.losses = losses
        self.without_room = 0
        self._store = store
        self._copies = copies
        self._identity = identity

    async def send_all(self, association: Line, left: deque[StoredInstance]) -> None:
        """Send what is left; each instance leaves ``left`` once it is known what became of it."""
        async with self._made_ready(association, left) as ready:
            async for one in ready:
                if one.trouble is not None:
                    self.not_sent(one.instance, one.trouble)
                else:
                    await self._send(association, one)
                left.popleft()

    def not_sent(self, instance: StoredInstance, error: LeveretError) -> None:
        """Report an instance of which nothing could be sent."""
        self.report(_outcome(instance, Sent.NOT_CONVERTIBLE, code=error.code))

    async def _send(self, association: Line, one: _Ready) -> None:
        assert one.way is not None, "there is no trouble"
        assert one.outgoing is not None, "there is no trouble"
        header = one.instance.header
        reply = await association.store(
            one.way.context_id,
            _padded(one.outgoing),
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            originator=self._originator,
        )
        if reply.status & 0xFF00 == _NO_ROOM:
            self.losses[header.sop_instance_uid] += 1
            if self.losses[header.sop_instance_uid] < LOSSES:
                self.without_room += 1
                return
        outcome = outcome_of_status(reply.status)
        self.report(
            InstanceOutcome(
                header.sop_instance_uid,
                outcome,
                one.instance.size,
                status=reply.status,
                syntax=str(one.way.syntax),
                converted=one.outgoing.converted,
            )
        )

    @asynccontextmanager
    async def _made_ready(self, association: Line, left: deque[StoredInstance]) -> AsyncIterator[AsyncIterator[_Ready]]:
        """The instances in their order, up to AHEAD of them made ready before they are asked for."""
        tasks: deque[asyncio.Task[_Ready]] = deque()
        coming = deque(left)

        async def ready() -> AsyncIterator[_Ready]:
            while coming or tasks:
                while coming and len(tasks) < (1 if coming[0].size > HEAVY_BYTES else AHEAD):
                    tasks.append(asyncio.create_task(self._make_ready(association, coming.popleft())))
                yield await tasks.popleft()

        try:
            yield ready()
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _make_ready(self, association: Line, instance: StoredInstance) -> _Ready:
        header = instance.header
        way = choose((header.sop_class_uid, header.transfer_syntax_uid), association.accepted)
        if way is None:
            return _Ready(instance, trouble=NotAccepted())
        try:
            reader = await self._store.reader(header.sop_instance_uid)
            identity = self._identity(instance)
            return _Ready(instance, way, await self._copies.prepare(reader, header, way.syntax, identity))
        except _OF_ONE as error:
            return _Ready(instance, trouble=error)


async def _padded(outgoing: Outgoing) -> AsyncIterator[bytes]:
    """The data set at an even length, as fragments must have (PS3.8 annex E): odd ones come from broken writers."""
    async for piece in outgoing.chunks():
        yield piece
    if outgoing.size % 2:
        yield b"\0"


def _outcome(instance: StoredInstance, outcome: Sent, *, code: str) -> InstanceOutcome:
    return InstanceOutcome(instance.header.sop_instance_uid, outcome, instance.size, code=code)
