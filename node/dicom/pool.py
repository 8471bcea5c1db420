"""Worker processes that parse DICOM, so that a hostile data set costs one of them and never the daemon."""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from node.dicom.part10 import Buffer
from node.log import Logger
from node.model.ids import TransferSyntaxUID
from node.model.instance import InstanceHeader


class ByteSource(Protocol):
    """A data set that is read piece by piece, such as a stored object."""

    @property
    def size(self) -> int:
        """Bytes of the data set."""

    async def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer only at the end."""


@dataclass(frozen=True, slots=True)
class ValueLocation:
    """Where an element's value lies in the data set."""

    offset: int
    length: int
    vr: str


class ParserPool:
    """Parses in worker processes; an async context manager that owns them."""

    def __init__(self, workers: int = 2, *, log: Logger | None = None) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def parse_header(self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID) -> InstanceHeader:
        """What the index needs of a data set (all of it, without group 0002).

        Raises:
            DicomRefused: a subclass says why; see ``node.errors.dicom``.
            ParserStopped: the pool is closing; retryable.
        """
        raise NotImplementedError

    async def to_json(self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID, bulk_data_uri: str) -> bytes:
        """One instance of ``application/dicom+json`` metadata: a JSON object in UTF-8 (PS3.18 annex F).

        Pixel data and large binary values become BulkDataURI: ``{bulk_data_uri}/{path}`` with the element's path,
        for example ``7FE00010`` or ``00420011``; :meth:`locate` understands the path.
        """
        raise NotImplementedError

    async def locate(self, dataset: Buffer | ByteSource, transfer_syntax: TransferSyntaxUID, path: str) -> ValueLocation:
        """Where the value that a BulkDataURI names lies in the data set.

        Raises:
            NoSuchElement: there is none, or it has no one place (encapsulated pixel data, a deflated data set).
        """
        raise NotImplementedError
