"""The listener for modalities and PACS: C-STORE and C-ECHO (PS3.4 annexes A and B), and the door to other services.

The protocol is ``upper_layer``'s. This module decides who may associate and for what, hands instances to the sink and
other requests to the services, and makes their answers statuses.
"""

from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from node.dicom.received import Arriving, EarlySink, ReceivedInstance, Status, StoreSink, StreamSink, status_of
from node.dicom.upper_layer.codes import Rejection
from node.dicom.upper_layer.door import TlsEndpoint
from node.dicom.upper_layer.operation import Caller, Operation
from node.dicom.upper_layer.pdu import AssociateRq
from node.dicom.upper_layer.server import Listener, ListenerSettings
from node.dicom.upper_layer.service import Admission, Outcome
from node.dicom.upper_layer.watch import Timing
from node.errors import LeveretError
from node.log import Logger
from node.model.pacs import AllowedCaller, parse_address

__all__ = ["ReceivedInstance", "ScpSettings", "Status", "StorageScp", "StoreSink", "StreamSink", "status_of"]

_ARTIM_SECONDS = 30.0
ANY_SCP = "ANY-SCP"  # what dcmtk and pynetdicom call whoever they call, unless told otherwise


@dataclass(frozen=True, slots=True)
class ScpSettings:
    """How to listen.

    ``allow_ae``: calling AE titles served from beyond loopback, ``TITLE`` or ``TITLE@ADDRESS``. ``any_called_ae``:
    whether callers may call this node what they like. ``network_timeout``: seconds without progress after which an
    association is aborted. ``tls``: a second address, for TLS.
    """

    host: str
    port: int
    ae_title: str = "LEVERET"
    any_called_ae: bool = False
    allow_ae: Iterable[str] = ()
    max_associations: int = 20
    network_timeout: float = 60.0
    tls: TlsEndpoint | None = None


class Services(Protocol):
    """What is served besides storage and verification, and to whom."""

    def admission(self, caller: Caller) -> Admission | None:
        """What a caller may ask for; None if it is not known."""

    async def operate(self, operation: Operation, dataset: bytes) -> Outcome:
        """Answer a request; raises LeveretError."""


class StorageScp:
    """A listener; an async context manager that owns its associations.

    Raises, on making it, InvalidPacs: an entry of ``allow_ae`` cannot be read.
    """

    def __init__(self, settings: ScpSettings, sink: StoreSink, log: Logger, services: Services | None = None) -> None:
        timing = Timing(artim=min(_ARTIM_SECONDS, settings.network_timeout), idle=settings.network_timeout)
        listener = ListenerSettings(
            host=settings.host,
            port=settings.port,
            max_associations=settings.max_associations,
            timing=timing,
            tls=settings.tls,
        )
        self._listener = Listener(listener, _Service(settings, sink, services, log), log)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it really listens on."""
        return self._listener.address

    @property
    def tls_address(self) -> tuple[str, int] | None:
        """Likewise for TLS; None if it does not."""
        return self._listener.tls_address

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


class _Service:
    """``upper_layer.service.Service`` before a sink and the other services."""

    def __init__(self, settings: ScpSettings, sink: StoreSink, services: Services | None, log: Logger) -> None:
        self._title = settings.ae_title
        self._any_called = settings.any_called_ae
        self._allowed: Sequence[AllowedCaller] = [AllowedCaller.parse(text) for text in settings.allow_ae]
        self._sink = sink
        self._stream_sink = sink if isinstance(sink, StreamSink) else None
        self._early_sink = sink if isinstance(sink, EarlySink) else None
        self._services = services
        self._log = log

    @property
    def streams(self) -> bool:
        """Whether the sink takes streams."""
        return self._stream_sink is not None

    def admit(self, request: AssociateRq, address: str) -> Rejection | Admission:
        """Who calls this node by its name: known systems, anybody on this machine, and those that are listed."""
        calling, called = request.titles.calling, request.titles.called
        is_local = is_loopback(address)
        if not (self._any_called or called == self._title or (is_local and called == ANY_SCP)):
            return Rejection.CALLED_AE_NOT_RECOGNISED
        admission = self._services.admission(Caller(calling, address)) if self._services else None
        if admission is not None:
            return admission
        if is_local or any(one.is_it(calling, address) for one in self._allowed):
            return Admission()
        return Rejection.CALLING_AE_NOT_RECOGNISED

    async def operate(self, operation: Operation, dataset: bytes) -> Outcome:
        """Ask the services; a caller that is not known any more is told so."""
        services = self._services
        admission = services.admission(operation.caller) if services else None
        if services is None or admission is None or operation.context.abstract_syntax not in admission.services:
            return Outcome(Status.NOT_AUTHORIZED, "not authorized")
        try:
            return await services.operate(operation, dataset)
        except LeveretError as error:
            self._log.warning("request refused", component="dicom", code=error.code)
            return Outcome(Status.CANNOT_UNDERSTAND, error.code)

    def begin(self, received: ReceivedInstance) -> Arriving | None:
        """Let the sink look at the beginning, if it wants to."""
        return self._early_sink.begin(received) if self._early_sink else None

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
    ip = parse_address(address)
    return ip is not None and ip.is_loopback
