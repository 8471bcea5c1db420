"""The console's pages, each with the use cases it shows."""

from collections.abc import Iterable
from typing import Protocol

from node.api.console.ask import AskPages, AskParts
from node.api.console.find import FindPages
from node.api.console.handles import Handles, PatientRef
from node.api.console.login import LoginPages
from node.api.console.meter import MeterPages
from node.api.console.offers import OfferPageParts, OfferPages
from node.api.console.patients import PatientPages, PatientParts
from node.api.console.portal_invite import InviteParts, PortalInvitePages
from node.api.console.priors import prior_title
from node.api.console.requests import RequestPages, RequestParts
from node.api.console.sheets import Sheet
from node.api.console.studies import StudyPages, StudyParts
from node.api.dicomweb.reads import Reads
from node.api.routing import Route
from node.api.web.pages import Pages
from node.app.exchange import Basis, Exchange
from node.model.ids import StudyInstanceUID
from node.sharing.finding import PatientFinder


class Resource(Protocol):
    """Something with routes."""

    def routes(self) -> Iterable[Route]:
        """The routes."""


def console_pages(basis: Basis, exchange: Exchange, pages: Pages, reads: Reads) -> tuple[Resource, ...]:
    """What clinicians see below ``/console/``, and what everybody does: signing in, help."""
    pages.environment.filters["prior_title"] = prior_title
    clock, storage, trust = basis.clock, basis.storage, basis.network.trust
    patients, searches = Handles[PatientRef](clock), Handles[str](clock)
    studies, sheets = Handles[StudyInstanceUID](clock), Handles[Sheet](clock)
    delivery, requests, store = exchange.delivery, exchange.requests, storage.store
    finder = PatientFinder(store, storage.audit, clock)
    return (
        LoginPages(pages, exchange.users, exchange.sessions),
        FindPages(pages, finder, requests, trust, patients=patients, searches=searches, issuer=basis.issuer),
        PatientPages(PatientParts(pages, exchange.locator, requests, trust, patients, studies, sheets, clock)),
        StudyPages(
            StudyParts(
                pages, store, delivery.links, delivery.deliveries, basis.pacs, trust, reads, patients, studies,
                basis.issuer,
            )
        ),
        AskPages(AskParts(pages, requests, delivery.deliveries, basis.pacs, trust, store, sheets)),
        RequestPages(
            RequestParts(pages, requests, delivery.deliveries, trust, store, patients, studies, exchange.meter)
        ),
        OfferPages(OfferPageParts(pages, exchange.offers, trust, store, studies)),
        MeterPages(pages, exchange.meter, clock),
        PortalInvitePages(
            InviteParts(
                pages, pages.languages, exchange.portal.enrolment, exchange.portal.accounts, exchange.portal.proxies,
                exchange.portal.records, patients, studies,
            )
        ),
    )  # fmt: skip
