"""The console's pages, each with the use cases it shows."""

from collections.abc import Iterable
from typing import Protocol

from node.api.console.login import LoginPages
from node.api.routing import Route
from node.api.web.pages import Pages
from node.app.exchange import Basis, Exchange


class Resource(Protocol):
    """Something with routes."""

    def routes(self) -> Iterable[Route]:
        """The routes."""


def console_pages(_basis: Basis, exchange: Exchange, pages: Pages) -> tuple[Resource, ...]:
    """Everything below ``/console/`` that clinicians and people of every role see."""
    return (LoginPages(pages, exchange.users, exchange.sessions),)
