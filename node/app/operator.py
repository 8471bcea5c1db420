"""The operator's and the auditor's console, put together."""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path

from node.api.console.handles import Handles
from node.api.console.operator import words
from node.api.console.operator.audit import AuditPages
from node.api.console.operator.consents import ConsentsPages
from node.api.console.operator.desk import Desk
from node.api.console.operator.emergencies import EmergenciesPages
from node.api.console.operator.inbox import InboxPages
from node.api.console.operator.offers import OffersPages
from node.api.console.operator.overview import OverviewPages
from node.api.console.operator.pacs import PacsPages
from node.api.console.operator.pairing import PairingPages
from node.api.console.operator.peers import PeersPages
from node.api.console.operator.quarantine import QuarantinePages
from node.api.console.operator.restored import RestoredPages
from node.api.console.operator.settings import SettingsPages
from node.api.console.operator.share_codes import ShareCodesPages
from node.api.console.operator.storage import StoragePages
from node.api.console.operator.transfers import DeliveriesPages, TransfersPages
from node.api.console.operator.users import UsersPages
from node.api.console.operator.withdrawals import WithdrawalsPages
from node.api.routing import Route
from node.api.web.pages import Pages
from node.app.exchange import Basis, Exchange
from node.sharing.history import History
from node.sharing.overview import Overview

EXAMPLE = "node.example.toml"

Problems = Callable[[], Awaitable[list[str]]]


def operator_routes(basis: Basis, exchange: Exchange, pages: Pages, problems: Problems) -> list[Route]:
    """The routes of its pages."""
    pages.environment.filters.update(words.FILTERS)
    storage, network, name = basis.storage, basis.network, basis.settings.node.name
    desk = Desk(pages, network.trust, basis.clock, basis.issuer)
    overview = Overview(
        db=storage.db,
        store=storage.store,
        trust=network.trust,
        presence=network.presence,
        reader=exchange.reader,
        restored=exchange.vault.restored,
        clock=basis.clock,
    )
    resources = (
        OverviewPages(desk, overview, problems, name=name),
        RestoredPages(desk, exchange.vault.restored),
        PeersPages(desk, network.trust, overview, network.nearby, name=name),
        PairingPages(desk, network.pairing, overview, name=name),
        InboxPages(desk, exchange.inbox),
        OffersPages(desk, exchange.offers),
        QuarantinePages(desk, exchange.lifecycle.quarantine),
        EmergenciesPages(desk, exchange.emergencies),
        TransfersPages(desk, exchange.requests, overview),
        DeliveriesPages(desk, exchange.delivery.deliveries),
        ConsentsPages(desk, exchange.consents, trust=network.trust, store=storage.store, patients=Handles(basis.clock)),
        ShareCodesPages(desk, exchange.codes),
        WithdrawalsPages(
            desk,
            exchange.lifecycle.withdrawals,
            history=History(storage.db, storage.store, basis.clock),
            store=storage.store,
            audit=storage.audit,
        ),
        StoragePages(desk, overview, retention=exchange.retention, scrub=exchange.scrub, settings=basis.settings.store),
        PacsPages(desk, basis.pacs),
        UsersPages(desk, exchange.users, exchange.tokens),
        SettingsPages(desk, basis.settings, basis.directory, _example()),
        AuditPages(desk, storage.audit, exchange.witnesses),
    )
    return [route for resource in resources for route in resource.routes()]


def _example() -> str:
    """The text of node.example.toml: packed beside the modules, or in the checkout above them; empty if neither."""
    packed = files("node") / EXAMPLE
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    above = Path(__file__).parents[2] / EXAMPLE
    return above.read_text(encoding="utf-8") if above.is_file() else ""
