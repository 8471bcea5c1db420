"""The operator's and the auditor's console, put together."""

from collections.abc import Awaitable, Callable

from node.api.console.operator import words
from node.api.console.operator.desk import Desk
from node.api.console.operator.inbox import InboxPages
from node.api.console.operator.overview import OverviewPages
from node.api.console.operator.pairing import PairingPages
from node.api.console.operator.peers import PeersPages
from node.api.routing import Route
from node.api.web.pages import Pages
from node.app.exchange import Basis, Exchange
from node.sharing.overview import Overview

Problems = Callable[[], Awaitable[list[str]]]


def operator_routes(basis: Basis, exchange: Exchange, pages: Pages, problems: Problems) -> list[Route]:
    """The routes of its pages."""
    pages.environment.filters.update(words.FILTERS)
    storage, network, name = basis.storage, basis.network, basis.settings.node.name
    desk = Desk(pages, network.trust, basis.clock, basis.issuer)
    overview = Overview(
        db=storage.db, store=storage.store, trust=network.trust, presence=network.presence, clock=basis.clock
    )
    resources = (
        OverviewPages(desk, overview, problems, name=name),
        PeersPages(desk, network.trust, overview, network.nearby, name=name),
        PairingPages(desk, network.pairing, overview, name=name),
        InboxPages(desk, exchange.inbox),
    )
    return [route for resource in resources for route in resource.routes()]
