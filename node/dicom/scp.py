"""The Storage and Verification SCP: C-STORE and C-ECHO from modalities and PACS (PS3.4 annexes A and B).

The protocol is ``upper_layer``'s. This module decides who may associate, hands instances to the sink, and makes its
answer a status.
"""

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from node.dicom.received import ReceivedInstance, Status, StoreSink, StreamSink, status_of
from node.dicom.upper_layer.association import Outcome
from node.dicom.upper_layer.codes import Rejection
from node.dicom.upper_layer.pdu import AssociateRq
from node.dicom.upper_layer.server import Listener, ListenerSettings
from node.dicom.upper_layer.watch import Timing
from node.errors import LeveretError
from node.log import Logger

__all__ = ["ReceivedInstance", "ScpSettings", "Status", "StorageScp", "StoreSink", "StreamSink", "status_of"]

_ARTIM_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ScpSettings:
    """How to listen.

    ``allow_ae``: calling AE titles served from beyond loopback. ``network_timeout``: seconds without progress after
    which an association is aborted. Any called AE title is answered: being strict about it only costs operators time.
    """

    host: str
    port: int
    ae_title: str = "LEVERET"
    allow_ae: Iterable[str] = ()
    max_associations: int = 20
    network_timeout: float = 60.0


class StorageScp:
    """A listener; an async context manager that owns its associations."""

    def __init__(self, settings: ScpSettings, sink: StoreSink, log: Logger) -> None:
        timing = Timing(artim=min(_ARTIM_SECONDS, settings.network_timeout), idle=settings.network_timeout)
        listener = ListenerSettings(
            host=settings.host, port=settings.port, max_associations=settings.max_associations, timing=timing
        )
        self._listener = Listener(listener, _StorageService(settings.allow_ae, sink, log), log)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it really listens on."""
        return self._listener.address

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            PortInUse: another program has the address, or this machine has not.
        """
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; let what is being stored be answered, then end all associations."""
        await self._listener.__aexit__(kind, error, trace)


class _StorageService:
    """``upper_layer.association.Service`` before a sink."""

    def __init__(self, allow_ae: Iterable[str], sink: StoreSink, log: Logger) -> None:
        self._allowed = frozenset(title.strip() for title in allow_ae)
        self._sink = sink
        self._stream_sink = sink if isinstance(sink, StreamSink) else None
        self._log = log

    @property
    def streams(self) -> bool:
        """Whether the sink takes streams."""
        return self._stream_sink is not None

    def admit(self, request: AssociateRq, address: str) -> Rejection | None:
        """Anybody on this machine; from elsewhere, those that the operator listed."""
        if is_loopback(address) or request.titles.calling in self._allowed:
            return None
        return Rejection.CALLING_AE_NOT_RECOGNISED

    async def store(self, received: ReceivedInstance) -> Outcome:
        """Success when the sink says that it is durable."""
        return await self._outcome(self._sink.store(received))

    async def store_stream(self, received: ReceivedInstance, rest: AsyncIterator[bytes]) -> Outcome:
        """Likewise."""
        assert self._stream_sink is not None
        return await self._outcome(self._stream_sink.store_stream(received, rest))

    async def _outcome(self, work: Awaitable[None]) -> Outcome:
        try:
            await work
        except LeveretError as error:
            self._log.warning("instance refused", component="dicom", code=error.code)
            return Outcome(status_of(error), error.code)
        except Exception as error:  # noqa: BLE001 - a defect costs this instance, not the association
            # No traceback: it may show what the instance holds.
            self._log.error("instance failed", component="dicom", error=type(error).__name__)
            return Outcome(Status.PROCESSING_FAILURE, LeveretError.code)
        return Outcome(Status.SUCCESS)


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own, also where IPv6 wraps IPv4."""
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
