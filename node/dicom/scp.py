"""The Storage and Verification SCP: C-STORE and C-ECHO from modalities and PACS (PS3.4 annexes A and B)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Protocol, Self

from node.log import Logger
from node.model.ids import TransferSyntaxUID


class Status(IntEnum):
    """Statuses of C-STORE that this node answers (PS3.4 section B.2.3, PS3.7 annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    OUT_OF_RESOURCES = 0xA700
    MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One C-STORE request: the data set's bytes exactly as received, and what the message says about it."""

    dataset: memoryview = field(repr=False)
    transfer_syntax: TransferSyntaxUID
    sop_class_uid: str = field(repr=False)  # Affected SOP Class UID (0000,0002)
    sop_instance_uid: str = field(repr=False)  # Affected SOP Instance UID (0000,1000)
    calling_ae: str
    address: str  # the caller's IP address


class StoreSink(Protocol):
    """Where received instances go."""

    async def store(self, received: ReceivedInstance) -> None:
        """Keep it; return only when it is durable, because success is told at once.

        Raises:
            LeveretError: why not. Retryable becomes A700, InstanceMismatch A900, DicomRefused C000, others 0110.
        """


@dataclass(frozen=True, slots=True)
class ScpSettings:
    """How to listen. ``allow_ae``: calling AE titles served from beyond loopback."""

    host: str
    port: int
    ae_title: str = "LEVERET"
    allow_ae: Iterable[str] = ()
    max_associations: int = 20
    network_timeout: float = 60.0  # seconds without a byte after which an association is aborted


class StorageScp:
    """A listener; an async context manager that owns its associations."""

    def __init__(self, settings: ScpSettings, sink: StoreSink, log: Logger) -> None:
        raise NotImplementedError

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it really listens on."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            PortInUse: another program has the address.
        """
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and end all associations."""
        raise NotImplementedError
