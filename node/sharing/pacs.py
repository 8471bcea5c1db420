"""The facility's DICOM systems: entered by an operator, recognised when they call, called by this node.

Who calls is recognised by its AE title and its address. Names are resolved beforehand, now and then, so that nobody
waits for a name server while an association is decided.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace

from node.clock import Clock
from node.crypto.dicom_tls import KeyPair, client_context
from node.dicom.upper_layer.items import RoleSelection
from node.dicom.upper_layer.pdu import ProposedContext
from node.dicom.upper_layer.requestor import Association, Limits
from node.errors.dimse import PacsExists, UnknownPacs
from node.log import Logger
from node.model.audit import AuditEvent, AuditType
from node.model.pacs import IpAddress, Pacs, parse_address, parse_network
from node.store import audit
from node.store import pacs as rows
from node.store.engine import Database

RESOLVE_SECONDS = 60.0  # between looks at the names of systems
_RESOLVE_TIMEOUT = 5.0


class PacsDirectory:
    """What is known of them, kept in memory. ``ae_title``: this node's; ``pair``: what it shows in TLS."""

    def __init__(self, *, db: Database, ae_title: str, pair: KeyPair, clock: Clock, log: Logger) -> None:
        self.ae_title = ae_title
        self._db = db
        self._pair = pair
        self._clock = clock
        self._log = log
        self._pacs: dict[str, Pacs] = {}
        self._addresses: dict[str, frozenset[IpAddress]] = {}  # by host

    async def load(self) -> None:
        """Read what is entered; call once, before anything else."""
        async with self._db.read() as rx:
            self._pacs = {pacs.name: pacs for pacs in await rows.every(rx)}
        await self._resolve()

    async def run(self) -> None:
        """Keep the addresses of names up to date; ends by cancellation."""
        while True:
            await asyncio.sleep(RESOLVE_SECONDS)
            await self._resolve()

    def all(self) -> Sequence[Pacs]:
        """All systems by name."""
        return [self._pacs[name] for name in sorted(self._pacs)]

    def get(self, name: str) -> Pacs:
        """One system; raises UnknownPacs."""
        try:
            return self._pacs[name]
        except KeyError:
            raise UnknownPacs from None

    def titled(self, ae_title: str) -> Pacs | None:
        """The system with this AE title."""
        return next((pacs for pacs in self._pacs.values() if pacs.ae_title == ae_title), None)

    def caller(self, ae_title: str, address: str) -> Pacs | None:
        """The system that calls with this title from this address; None if none is entered so."""
        pacs, ip = self.titled(ae_title), parse_address(address)
        if pacs is None or ip is None:
            return None
        if ip in self._addresses.get(pacs.host, ()):
            return pacs
        return pacs if any(ip in parse_network(network) for network in pacs.calls_from) else None

    async def add(self, pacs: Pacs, actor: str) -> Pacs:
        """Enter a system.

        Raises:
            PacsExists: its name or AE title is taken.
            DicomTlsUnusable: its authority is none.
        """
        if pacs.tls:
            client_context(self._pair, pacs.ca)
        pacs = replace(pacs, added_at=self._clock.now())
        async with self._db.write() as tx:
            if not await rows.add(tx, pacs):
                raise PacsExists
            await audit.append(tx, self._changed(actor, pacs.name, "added"))
        self._pacs[pacs.name] = pacs
        await self._resolve()
        return pacs

    async def remove(self, name: str, actor: str) -> None:
        """Remove a system; raises UnknownPacs."""
        async with self._db.write() as tx:
            if not await rows.remove(tx, name):
                raise UnknownPacs
            await audit.append(tx, self._changed(actor, name, "removed"))
        self._pacs.pop(name, None)

    def association(
        self,
        pacs: Pacs,
        contexts: Sequence[ProposedContext],
        *,
        roles: Sequence[RoleSelection] = (),
        limits: Limits | None = None,
    ) -> Association:
        """An association with ``pacs``, to be entered; raises DicomTlsUnusable if its authority is none any more."""
        return Association(
            pacs.host,
            pacs.port,
            calling=self.ae_title,
            called=pacs.ae_title,
            contexts=contexts,
            roles=roles,
            tls=client_context(self._pair, pacs.ca) if pacs.tls else None,
            limits=limits,
        )

    def _changed(self, actor: str, name: str, what: str) -> AuditEvent:
        return AuditEvent(AuditType.PACS_CHANGED, self._clock.now(), actor, detail={"pacs": name, "change": what})

    async def _resolve(self) -> None:
        for host in {pacs.host for pacs in self._pacs.values()}:
            literal = parse_address(host)
            if literal is not None:
                self._addresses[host] = frozenset((literal,))
                continue
            try:
                async with asyncio.timeout(_RESOLVE_TIMEOUT):
                    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):  # TimeoutError is one; what was known stays
                self._log.warning("host name of a PACS not resolved", component="pacs", address=host)
                continue
            addresses = (parse_address(str(info[4][0])) for info in found)
            self._addresses[host] = frozenset(ip for ip in addresses if ip is not None)
