"""The listener: takes connections, bounds how many there are, watches them, and ends them all when it ends."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from node.dicom.upper_layer.association import Association
from node.dicom.upper_layer.door import BACKLOG, TlsDoor, TlsEndpoint
from node.dicom.upper_layer.intake import BUDGET_BYTES, SPOOL_FROM_BYTES, Budget
from node.dicom.upper_layer.limits import DEFAULT_MAX_PDU
from node.dicom.upper_layer.service import Service
from node.dicom.upper_layer.watch import Timing
from node.errors.setup import PortInUse
from node.log import Logger

# Connections without an association, with their own bound: whoever only connects takes no association's place. The
# oldest goes when one more comes, because a peer that means well associates at once.
MAX_UNASSOCIATED = 32
LOOK_SECONDS = 0.5  # between looks at every association
GRACE_SECONDS = 5.0  # for instances that are being stored when the listener ends


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Where to listen and what to bound. ``max_pdu``: 0 lets peers send PDUs of any length. ``tls``: another door."""

    host: str
    port: int
    max_associations: int = 20
    max_pdu: int = DEFAULT_MAX_PDU
    spool_from: int = SPOOL_FROM_BYTES
    budget: int = BUDGET_BYTES
    timing: Timing = field(default_factory=Timing)
    tls: TlsEndpoint | None = None


class Listener:
    """An async context manager that owns its associations; ``association.Host`` to them."""

    def __init__(self, settings: ListenerSettings, service: Service, log: Logger) -> None:
        self.service = service
        self.budget = Budget(settings.budget)
        self.timing = settings.timing
        self.spool_from = settings.spool_from
        self.max_pdu = settings.max_pdu
        self._settings = settings
        self._log = log
        self._associations: dict[Association, float] = {}  # since when, oldest first
        self._tasks = asyncio.TaskGroup()
        self._storing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._door: TlsDoor | None = None
        self._opening: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._one_left = asyncio.Event()
        self._is_ending = False

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it really listens on."""
        assert self._server is not None, "it does not listen"
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    @property
    def tls_address(self) -> tuple[str, int] | None:
        """Likewise for TLS; None if it does not listen for it."""
        return None if self._door is None else self._door.address

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            PortInUse: another program has the address, or it is not this machine's.
        """
        settings = self._settings
        if settings.tls is not None:
            self._door = TlsDoor(settings.tls, lambda: Association(self))
            self._door.bind()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Association(self), settings.host, settings.port, backlog=BACKLOG
            )
        except OSError as exc:
            if self._door is not None:
                self._door.close()
            raise PortInUse(f"{settings.host}:{settings.port}") from exc
        await self._tasks.__aenter__()
        self._watching = self._tasks.create_task(self._watch())
        if self._door is not None:
            self._opening = self._tasks.create_task(self._door.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; let what is complete be stored and answered, then end all associations."""
        assert self._watching is not None
        assert self._server is not None
        self._is_ending = True
        self._server.close()
        if self._opening is not None:
            self._opening.cancel()
        try:
            await self._finish()
        finally:
            for association in list(self._associations):
                association.drop("stopping")
            for task in (self._watching, *self._storing):
                task.cancel()
            await self._tasks.__aexit__(None, None, None)
            if self._door is not None:
                self._door.close()

    async def _finish(self) -> None:
        """Give what is complete, and the goodbyes, their time."""
        for association in list(self._associations):
            if not association.is_storing:
                association.end("stopping")
        if self._storing:
            await asyncio.wait(self._storing, timeout=GRACE_SECONDS)
        for association in list(self._associations):
            association.end("stopping")
        with contextlib.suppress(TimeoutError):  # some do not read what is sent to them
            async with asyncio.timeout(GRACE_SECONDS):
                while self._associations:
                    self._one_left.clear()
                    await self._one_left.wait()

    # association.Host

    def joined(self, association: Association) -> bool:
        """Count a connection; makes room among those that have not associated."""
        if self._is_ending:
            return False
        waiting = [one for one in self._associations if not one.is_established]
        if len(waiting) >= MAX_UNASSOCIATED:
            waiting[0].drop("too many connections")
        self._associations[association] = time.monotonic()
        return True

    def left(self, association: Association) -> None:
        """Forget a connection, and say what it was."""
        since = self._associations.pop(association, None)
        self._one_left.set()
        if since is None:
            return
        seconds = round(time.monotonic() - since, 3)
        if association.was_established:
            self._log.info(
                "association ended", component="dicom", reason=association.reason,
                count=association.stored, bytes=association.stored_bytes, seconds=seconds,
            )  # fmt: skip
        else:
            self._log.warning("association rejected", component="dicom", reason=association.reason)

    def has_room(self) -> bool:
        """Whether one more association may be established."""
        return sum(one.is_established for one in self._associations) < self._settings.max_associations

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Store an instance, or answer another request."""
        task = self._tasks.create_task(work)
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)
        return task

    def failed(self, error: Exception) -> None:
        """Say that there was a defect, not what it was about."""
        self._log.error("association failed", component="dicom", error=type(error).__name__)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.monotonic()
            for association in list(self._associations):
                if association.watch.timer_is_over(now, association):
                    association.timer_expired()
                elif association.is_established and (reason := association.watch.complaint(now, association)):
                    association.end(reason)
