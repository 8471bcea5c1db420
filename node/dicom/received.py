"""What the Storage SCP hands to the node, and how the node's answer becomes a status."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol, runtime_checkable

from node.errors import LeveretError, Retryable
from node.errors.dicom import DicomRefused, InstanceMismatch
from node.model.ids import TransferSyntaxUID


class Status(IntEnum):
    """Statuses that this node answers (PS3.4 sections B.2.3, C.4 and J.3, PS3.7 annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT = 0x0112
    INVALID_ARGUMENT = 0x0115
    INVALID_OBJECT_INSTANCE = 0x0117
    CLASS_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORIZED = 0x0124
    DUPLICATE_TRANSACTION = 0x0131
    UNRECOGNIZED_OPERATION = 0x0211
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    MISMATCH = 0xA900
    TOO_MANY_MATCHES = 0xA701  # unable to calculate their number
    NO_SUB_OPERATIONS = 0xA702
    UNKNOWN_DESTINATION = 0xA801
    SOME_FAILED = 0xB000  # one or more sub-operations
    CANNOT_UNDERSTAND = 0xC000
    CANCELLED = 0xFE00
    PENDING = 0xFF00
    PENDING_KEYS_NOT_SUPPORTED = 0xFF01


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One C-STORE request: the data set's bytes exactly as received, and what the message says about it.

    ``dataset`` is to be read before the sink answers; its memory is used again afterwards.
    """

    dataset: memoryview = field(repr=False)
    transfer_syntax: TransferSyntaxUID
    sop_class_uid: str = field(repr=False)  # Affected SOP Class UID (0000,0002)
    sop_instance_uid: str = field(repr=False)  # Affected SOP Instance UID (0000,1000)
    calling_ae: str
    address: str  # the caller's IP address
    arriving: "Arriving | None" = field(default=None, repr=False)  # what the sink made of its beginning


class Arriving(Protocol):
    """What a sink does with an instance before it is complete; it is dropped if that never happens."""

    def more(self, dataset: memoryview) -> None:
        """``dataset`` is what has arrived so far; its memory stays as it is for as long as it is held."""


class StoreSink(Protocol):
    """Where received instances go."""

    async def store(self, received: ReceivedInstance) -> None:
        """Keep it; return only when it is durable, because success is told at once.

        Raises:
            LeveretError: why not. :func:`status_of` says what the sender is told.
        """


@runtime_checkable
class EarlySink(StoreSink, Protocol):
    """One that makes use of the time in which an instance arrives."""

    def begin(self, received: ReceivedInstance) -> Arriving | None:
        """Look at the beginning of an instance; what this returns comes back with the whole."""


@runtime_checkable
class StreamSink(StoreSink, Protocol):
    """One that also takes instances that are too large for memory."""

    async def store_stream(self, received: ReceivedInstance, rest: AsyncIterator[bytes]) -> None:
        """Keep an instance whose data set begins with ``received.dataset`` and goes on with ``rest``.

        ``rest`` raises Truncated if the sender breaks off. Raises as :meth:`store`.
        """


def status_of(error: LeveretError) -> Status:
    """What a sender is told: whether to send again later, or not at all."""
    match error:
        case Retryable():
            return Status.OUT_OF_RESOURCES
        case InstanceMismatch():
            return Status.MISMATCH
        case DicomRefused():
            return Status.CANNOT_UNDERSTAND
    return Status.PROCESSING_FAILURE
