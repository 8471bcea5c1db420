"""What an association serves, and what it needs of its listener."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from node.dicom.received import Arriving, ReceivedInstance
from node.dicom.upper_layer.codes import Rejection
from node.dicom.upper_layer.command import Counts
from node.dicom.upper_layer.intake import Budget
from node.dicom.upper_layer.pdu import AssociateRq
from node.dicom.upper_layer.watch import Timing

if TYPE_CHECKING:  # they know what is here
    from node.dicom.upper_layer.association import Association
    from node.dicom.upper_layer.operation import Operation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request is answered; ``comment`` is a stable word, ``dataset`` goes with the answer."""

    status: int
    comment: str = ""
    dataset: bytes | None = field(default=None, repr=False)
    counts: Counts | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """What an admitted caller may ask for besides storage and verification: SOP classes of services.

    ``retrieves``: whether instances may be sent to it on its own association (C-GET).
    """

    services: frozenset[str] = frozenset()
    retrieves: bool = False


class Service(Protocol):
    """What an association serves."""

    def admit(self, request: AssociateRq, address: str) -> Rejection | Admission:
        """Whether the caller may associate and what for, or why not."""

    def begin(self, received: ReceivedInstance) -> Arriving | None:
        """The beginning of an instance is there; what this returns is told of the rest. Never raises."""

    async def store(self, received: ReceivedInstance) -> Outcome:
        """Keep an instance; its memory is used again when this returns. Never raises."""

    async def store_stream(self, received: ReceivedInstance, rest: AsyncIterator[bytes]) -> Outcome:
        """Keep an instance that begins with ``received.dataset``, likewise."""

    @property
    def streams(self) -> bool:
        """Whether ``store_stream`` may be called."""

    async def operate(self, operation: "Operation", dataset: bytes) -> Outcome:
        """Answer a request of another service; ``dataset`` came with it. Never raises; cancelled if its caller goes."""


class Host(Protocol):
    """What an association needs of its listener."""

    service: Service
    budget: Budget
    timing: Timing
    spool_from: int
    max_pdu: int

    def joined(self, association: "Association") -> bool:
        """A connection is there; whether it may stay."""

    def left(self, association: "Association") -> None:
        """It is gone."""

    def has_room(self) -> bool:
        """Whether one more association may be established."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task of the listener's."""

    def failed(self, error: Exception) -> None:
        """A defect of this node ends one association."""
