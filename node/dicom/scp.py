"""The Storage and Verification SCP: C-STORE and C-ECHO from modalities and PACS (PS3.4 annexes A and B).

It runs on the daemon's event loop and moves the bytes itself: pynetdicom's reactor, with its threads and polling, takes
in a quarter of what this does (docs/decisions, "An own Storage SCP"). An association is one task; this module listens
and decides who may associate.
"""

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from node.dicom.association import Association, MemoryBudget
from node.dicom.received import ReceivedInstance, Status, StoreSink, status_of
from node.dicom.ul import Rejection
from node.errors.setup import PortInUse
from node.log import Logger

__all__ = ["ReceivedInstance", "ScpSettings", "Status", "StorageScp", "StoreSink", "status_of"]

_BACKLOG = 128
_BEYOND_LIMIT = 20  # connections beyond the association limit that are told so; further ones are closed without a word
_OUT_OF_SOCKETS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_SECONDS = 0.2  # after the machine has run out of sockets
GRACE_SECONDS = 5.0  # for instances that are being stored when the node stops


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
        self._settings = settings
        self._allowed = frozenset(title.strip() for title in settings.allow_ae)
        self._sink = sink
        self._log = log
        self._budget = MemoryBudget()
        self._socket: socket.socket | None = None
        self._address = (settings.host, settings.port)
        self._accepting: asyncio.Task[None] | None = None
        self._running: dict[asyncio.Task[None], Association] = {}

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it really listens on."""
        return self._address

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            PortInUse: another program has the address, or this machine has not.
        """
        host, port = self._settings.host, self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as exc:
            raise PortInUse(f"{host}:{port}") from exc
        self._socket.setblocking(False)
        self._address = self._socket.getsockname()[:2]
        self._accepting = asyncio.create_task(self._accept(self._socket))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; let what is being stored be answered, then end all associations."""
        assert self._accepting is not None
        assert self._socket is not None
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._socket.close()
        for task, association in self._running.items():
            association.closing = True
            if not association.is_storing:
                task.cancel()
        if self._running:
            _, late = await asyncio.wait(list(self._running), timeout=GRACE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, remote = await loop.sock_accept(listener)
            except OSError as error:
                self._log.warning("accept failed", component="dicom", error=type(error).__name__)
                if error.errno in _OUT_OF_SOCKETS:
                    await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if len(self._running) >= self._settings.max_associations + _BEYOND_LIMIT:
                connection.close()
                continue
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._begin(connection, str(remote[0]))

    def _begin(self, connection: socket.socket, address: str) -> None:
        is_full = len(self._running) >= self._settings.max_associations
        association = Association(
            connection,
            address,
            self._sink,
            self._budget,
            admit=lambda calling_ae: Rejection.LOCAL_LIMIT if is_full else self._admit(address, calling_ae),
            network_timeout=self._settings.network_timeout,
            log=self._log,
        )
        task = asyncio.create_task(association.run())
        self._running[task] = association
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("association failed", component="dicom", error=type(error).__name__)

    def _admit(self, address: str, calling_ae: str) -> Rejection | None:
        """Anybody on this machine; from elsewhere, those that the operator listed."""
        return None if is_loopback(address) or calling_ae in self._allowed else Rejection.CALLING_AE_TITLE


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own, also where IPv6 wraps IPv4."""
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
