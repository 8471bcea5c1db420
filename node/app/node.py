"""One node: everything built, started and stopped in order."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from node.api.reach import Reach
from node.api.routing import Route
from node.api.server import ApiServer
from node.api.web.assets import Assets
from node.api.web.pages import Pages
from node.app.background import Background
from node.app.dimse import build_dimse, open_pacs
from node.app.exchange import Basis, Exchange, build_exchange
from node.app.local import Web, api_routes
from node.app.network import build_network
from node.app.recovery import recover_if_restored
from node.app.storage import Storage, is_full, open_storage
from node.clock import Clock, SystemClock
from node.config import Settings
from node.crypto.keystore import KeyStore
from node.crypto.web_tls import WebTls
from node.errors.storage import DiskFull
from node.log import Logger
from node.metrics import Metrics
from node.model.audit import AuditEvent, AuditType
from node.model.trust import Address
from node.sharing.health_links.keeping import link_actor
from node.sharing.idempotency import Idempotency


class Node:
    """A running node while its context is open. The caller holds the directory's lock.

    Order: storage, then what speaks to peers, then the use cases, then the listeners (peers, DICOM, local API), then
    whatever works by itself; stopped in reverse, so that whoever is told "stored" was told the truth.
    """

    def __init__(
        self, directory: Path, settings: Settings, keys: KeyStore, *, log: Logger, clock: Clock | None = None
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._keys = keys
        self._log = log
        self._clock = clock or SystemClock()
        self._stack = AsyncExitStack()
        self._background: Background | None = None
        self._listeners: dict[str, str] = {}
        self._routes: list[Route] = []

    @property
    def addresses(self) -> dict[str, str]:
        """Where the node really listens: ``peer``, ``api``, ``dicom``, perhaps ``dicom-tls``, to ``host:port``."""
        return dict(self._listeners)

    @property
    def routes(self) -> Sequence[Route]:
        """The table of the local API, once it runs; docs/reference.md is made from it."""
        return self._routes

    @property
    def failed(self) -> asyncio.Future[None]:
        """Done, with the error, when a part of the node has ended that never should; only while it runs."""
        assert self._background is not None, "the node has not started"
        return self._background.failed

    async def __aenter__(self) -> Self:
        """Start.

        Raises:
            PortInUse, ApiNeedsTls, InvalidAddress, IndexUnreadable, NewerDataDirectory and others: why it cannot.
        """
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop."""
        await self._stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        settings, identity, clock, log = self._settings, self._keys.identity, self._clock, self._log
        metrics = Metrics()
        storage = await open_storage(
            stack, self._directory, keys=self._keys, settings=settings.store, clock=clock, log=log
        )
        await recover_if_restored(storage.db, identity, clock=clock, log=log)
        await self._keep_log(stack, storage)
        network = await build_network(
            stack, settings=settings, identity=identity, db=storage.db, clock=clock, metrics=metrics, log=log
        )
        pacs = await open_pacs(storage.db, identity, settings.dicom, clock=clock, log=log)
        basis = Basis(
            settings, identity, storage, network, clock, metrics, log, pacs, Reach(settings.api), self._directory
        )
        exchange = build_exchange(basis)
        await exchange.vault.backups.clear()  # a snapshot of a backup that was cut short
        await network.listen(stack, settings=settings, identity=identity, clock=clock, log=log)
        dimse = build_dimse(basis, exchange)
        scp = await stack.enter_async_context(dimse.scp)
        background = self._background = await stack.enter_async_context(Background(log))
        api = await stack.enter_async_context(self._api(basis, exchange))
        exchange.links.keeping.on_ended(lambda link_id: api.cut_off(link_actor(link_id)))
        exchange.portal.accounts.on_ended(api.cut_off)
        self._listeners = {
            "peer": str(network.server.address),
            "api": str(api.address),
            "dicom": str(Address(*scp.address)),
        }
        if scp.tls_address is not None:
            self._listeners["dicom-tls"] = str(Address(*scp.tls_address))
        exchange.run(background)
        background.start("pacs", pacs.run())
        background.start("storage-commitment", dimse.commitment.run())
        background.start("trust", network.trust.run())
        background.start("pairing", network.pairing.run())
        background.start("presence", network.presence.run())

    async def _keep_log(self, stack: AsyncExitStack, storage: Storage) -> None:
        """Sign the audit log's heads from before the first event until after the last."""
        keeper = await stack.enter_async_context(Background(self._log))
        keeper.start("audit", storage.audit.run())
        await storage.audit.record(AuditEvent(AuditType.NODE_STARTED, self._clock.now()))

        async def record_stop() -> None:
            await storage.audit.record(AuditEvent(AuditType.NODE_STOPPED, self._clock.now()))

        stack.push_async_callback(record_stop)

    def _api(self, basis: Basis, exchange: Exchange) -> ApiServer:
        assets = Assets()
        pages = Pages(assets, node_name=self._settings.node.name)
        settings = self._settings.api
        web = Web(pages, assets)
        self._routes = api_routes(basis, exchange, web, lambda: self._listeners, self._problems)
        return ApiServer(
            self._routes,
            reach=basis.reach,
            tls=WebTls(basis.identity, certificate=settings.tls_certificate, key=settings.tls_key),
            directory=self._directory,
            users=exchange.users,
            tokens=exchange.tokens,
            idempotency=Idempotency(basis.storage.db, basis.clock),
            sessions=exchange.sessions,
            links=exchange.links.keeping,
            pages=pages,
            audit=basis.storage.audit,
            clock=basis.clock,
            metrics=basis.metrics,
            log=basis.log,
        )

    async def _problems(self) -> list[str]:
        """Error codes of what keeps the node from taking images."""
        full = await asyncio.to_thread(is_full, self._directory, self._settings.store.reserve)
        return [DiskFull.code] if full else []
