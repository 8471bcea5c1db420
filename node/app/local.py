"""The table of routes of the local API."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from node.api.dicomweb.bulkdata import BulkData
from node.api.dicomweb.frames import Frames, FrameStore
from node.api.dicomweb.qido import Qido
from node.api.dicomweb.reads import Reads
from node.api.dicomweb.rendered import Rendered
from node.api.dicomweb.retrieval import Finder
from node.api.dicomweb.stow import Stow
from node.api.dicomweb.wado import Wado
from node.api.rest.announcements import AnnouncementsResource
from node.api.rest.audit import AuditResource
from node.api.rest.backups import BackupsResource
from node.api.rest.consents import ConsentsResource
from node.api.rest.corrections import CorrectionsResource
from node.api.rest.deliveries import DeliveriesResource
from node.api.rest.health import Health
from node.api.rest.inbox import InboxResource
from node.api.rest.links import LinksResource
from node.api.rest.offers import OffersResource
from node.api.rest.openapi import OpenApi
from node.api.rest.pacs import PacsResource
from node.api.rest.patients import PatientsResource
from node.api.rest.peers import PeersResource
from node.api.rest.portal import PortalResource
from node.api.rest.quarantine import QuarantineResource
from node.api.rest.requests import RequestsResource
from node.api.rest.retention import RetentionResource
from node.api.rest.sensitive import SensitiveResource
from node.api.rest.session import SessionResource
from node.api.rest.share_codes import ShareCodesResource
from node.api.rest.status import StatusResource
from node.api.rest.studies import StudiesResource
from node.api.rest.transfers import TransfersResource
from node.api.rest.users import UsersResource
from node.api.rest.withdrawals import WithdrawalsResource
from node.api.routing import Route
from node.api.viewer.resource import Viewer
from node.api.web.assets import Assets
from node.api.web.pages import Pages
from node.app.console import Resource, console_pages
from node.app.exchange import Basis, Exchange
from node.app.link_pages import link_pages
from node.app.operator import operator_routes
from node.app.portal import account_pages
from node.app.portal_pages import portal_pages
from node.dicom.outgoing import Copies
from node.sharing.arrivals import Arrivals
from node.sharing.export import Source
from node.sharing.history import History

Problems = Callable[[], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Web:
    """What pages are made of."""

    pages: Pages
    assets: Assets


def api_routes(
    basis: Basis, exchange: Exchange, web: Web, addresses: Callable[[], Mapping[str, str]], problems: Problems
) -> list[Route]:
    """Every route of the node."""
    storage, network, clock = basis.storage, basis.network, basis.clock
    reads = Reads(storage.audit, clock)
    finder = Finder(storage.store, reads, exchange.visibility)
    openapi = OpenApi()
    resources: tuple[Resource, ...] = (
        Health(basis.metrics, problems),
        openapi,
        web.assets,
        *console_pages(basis, exchange, web.pages, reads),
        *account_pages(exchange.portal, exchange.sessions, web.pages),
        *portal_pages(basis, exchange, web.pages, reads),
        _status(basis, exchange, addresses, problems),
        SessionResource(exchange.users, exchange.sessions),
        UsersResource(exchange.users, exchange.tokens),
        PeersResource(trust=network.trust, pairing=network.pairing, presence=network.presence, nearby=network.nearby),
        AnnouncementsResource(exchange.announcer, exchange.reader, network.trust),
        PatientsResource(exchange.locator, issuer=basis.issuer, clock=clock),
        StudiesResource(
            store=storage.store,
            ingest=exchange.ingest,
            imports=exchange.imports,
            audit=storage.audit,
            clock=clock,
        ),
        ConsentsResource(
            exchange.consents,
            exchange.emergencies,
            trust=network.trust,
            me=basis.identity.peer_id,
            issuer=basis.issuer,
        ),
        ShareCodesResource(exchange.codes, issuer=basis.issuer, clock=clock),
        WithdrawalsResource(exchange.lifecycle.withdrawals, History(storage.db, storage.store, clock)),
        BackupsResource(exchange.vault.backups, exchange.vault.restored, exchange.vault.rotation),
        SensitiveResource(exchange.vault.sensitivity),
        QuarantineResource(exchange.lifecycle.quarantine),
        RetentionResource(exchange.retention, exchange.scrub),
        CorrectionsResource(exchange.lifecycle.corrections, issuer=basis.issuer),
        RequestsResource(
            exchange.requests,
            deliveries=exchange.delivery.deliveries,
            store=storage.store,
            trust=network.trust,
            issuer=basis.issuer,
        ),
        LinksResource(exchange.delivery.links, issuer=basis.issuer),
        *link_pages(basis, exchange, web.pages, reads),
        _portal(basis, exchange),
        DeliveriesResource(exchange.delivery.deliveries),
        InboxResource(exchange.inbox),
        PacsResource(basis.pacs),
        TransfersResource(exchange.requests),
        OffersResource(exchange.offers, basis.network.trust),
        AuditResource(
            storage.audit, exchange.witnesses, Source(basis.identity.peer_id, basis.settings.node.name), basis.clock
        ),
        Qido(storage.store, reads, exchange.visibility),
        Wado(storage.store, storage.pool, Copies(storage.pool, storage.renderers), finder),
        *_pixels(basis, finder),
        Stow(exchange.ingest, storage.store),
        _viewer(basis, exchange, web),
    )
    routes = [route for resource in resources for route in resource.routes()]
    routes += operator_routes(basis, exchange, web.pages, problems)
    openapi.describe(routes)
    return routes


def _portal(basis: Basis, exchange: Exchange) -> PortalResource:
    portal = exchange.portal
    return PortalResource(
        enrolment=portal.enrolment,
        accounts=portal.accounts,
        proxies=portal.proxies,
        records=portal.records,
        issuer=basis.issuer,
        clock=basis.clock,
    )


def _pixels(basis: Basis, finder: Finder) -> tuple[Frames, BulkData, Rendered]:
    """What shows parts of instances; all three remember the same frames."""
    store, pool, renderers = basis.storage.store, basis.storage.pool, basis.storage.renderers
    frames = FrameStore(store, renderers)
    return (
        Frames(frames, finder),
        BulkData(store, pool, frames, finder),
        Rendered(renderers, frames, finder),
    )


def _viewer(basis: Basis, exchange: Exchange, web: Web) -> Viewer:
    arrivals = Arrivals(basis.storage.db, basis.storage.store, exchange.visibility)
    return Viewer(web.pages, web.assets, arrivals, node_name=basis.settings.node.name)


def _status(
    basis: Basis, exchange: Exchange, addresses: Callable[[], Mapping[str, str]], problems: Problems
) -> StatusResource:
    return StatusResource(
        name=basis.settings.node.name,
        identity=basis.identity,
        store=basis.storage.store,
        trust=basis.network.trust,
        presence=basis.network.presence,
        requests=exchange.requests,
        deliveries=exchange.delivery.deliveries,
        inbox=exchange.inbox,
        withdrawals=exchange.lifecycle.withdrawals,
        emergencies=exchange.emergencies,
        scrub=exchange.scrub,
        restored=exchange.vault.restored,
        backups=exchange.vault.backups,
        reader=exchange.reader,
        reach=basis.reach,
        addresses=addresses,
        problems=problems,
    )
