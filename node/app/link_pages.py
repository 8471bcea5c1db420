"""What is served of SMART Health Links, with what it needs."""

from node.api.dicomweb.reads import Reads
from node.api.links.page import LinkPage
from node.api.links.protocol import LinkProtocol
from node.api.rest.health_links import HealthLinksResource
from node.api.web.pages import Pages
from node.app.console import Resource
from node.app.exchange import Basis, Exchange
from node.dicom.outgoing import Copies
from node.sharing.portal.media import MediaSets


def link_pages(basis: Basis, exchange: Exchange, pages: Pages, reads: Reads) -> tuple[Resource, ...]:
    """The resources."""
    storage, links, clock = basis.storage, exchange.links, basis.clock
    media = MediaSets(storage.store, storage.pool, Copies(storage.pool, storage.renderers), clock)
    return (
        HealthLinksResource(links.keeping, issuer=basis.issuer, clock=clock),
        LinkProtocol(links.opening),
        LinkPage(pages, links.keeping, media, reads, facility=basis.settings.node.name, clock=clock),
    )
