"""The portal's pages about images, with what they need."""

from collections.abc import Callable

from node.api.console.amendments import AmendmentPages
from node.api.console.uploads import UploadReviewPages
from node.api.dicomweb.frames import FrameStore
from node.api.dicomweb.reads import Reads
from node.api.portal.downloads import DownloadPages
from node.api.portal.images import ImagePages
from node.api.portal.layout import LanguageResource
from node.api.portal.messages import MessagePages
from node.api.portal.reports import ReportPages
from node.api.portal.share import SharePages
from node.api.portal.studies import StudiesPages
from node.api.portal.uploads import UploadPages
from node.api.web.pages import Pages
from node.app.console import Resource
from node.app.exchange import Basis, Exchange
from node.dicom.outgoing import Copies
from node.errors.trust import UnknownPeer
from node.model.ids import PeerId
from node.sharing.portal.amendments import Amendments
from node.sharing.portal.gallery import Gallery
from node.sharing.portal.giving import Giving, GivingParts
from node.sharing.portal.handles import Handles
from node.sharing.portal.media import MediaSets
from node.sharing.portal.reviewing import UploadDesk
from node.sharing.portal.uploads import UploadParts, Uploads
from node.sharing.trust import TrustList


def portal_pages(basis: Basis, exchange: Exchange, pages: Pages, reads: Reads) -> tuple[Resource, ...]:
    """The resources."""
    storage, store = basis.storage, basis.storage.store
    gallery = Gallery(store, exchange.portal.records, Handles(storage.db))
    frames = FrameStore(store, storage.renderers)
    copies = Copies(storage.pool, storage.renderers)
    media = MediaSets(store, storage.pool, copies, basis.clock)
    facility, name = basis.settings.node.name, facility_names(basis.network.trust)
    giving = Giving(
        GivingParts(
            storage.db,
            exchange.portal.records,
            gallery,
            exchange.consents,
            exchange.codes,
            exchange.links.keeping,
            basis.network.trust,
            basis.clock,
        )
    )
    records, me = exchange.portal.records, basis.identity.peer_id
    uploads = Uploads(UploadParts(storage.db, store, storage.pool, records, me, basis.clock))
    desk = UploadDesk(
        db=storage.db,
        store=store,
        uploads=uploads,
        links=exchange.delivery.links,
        retention=exchange.retention,
        me=me,
        clock=basis.clock,
    )
    amendments = Amendments(db=storage.db, records=records, clock=basis.clock)
    return (
        LanguageResource(pages),
        StudiesPages(pages, gallery, exchange.locator, reads, me=me, facility=facility, facility_of=name),
        ImagePages(pages, gallery, frames, storage.renderers, reads),
        ReportPages(pages, gallery, storage.pool, frames, reads),
        SharePages(pages, giving, exchange.links.keeping, exchange.portal.accounts.verified, facility_of=name),
        UploadPages(pages, uploads, desk),
        UploadReviewPages(pages, desk, issuer=basis.issuer),
        MessagePages(pages, amendments, gallery),
        AmendmentPages(pages, amendments),
        DownloadPages(pages.languages, gallery, media, reads, facility=facility, clock=basis.clock),
    )


def facility_names(trust: TrustList) -> Callable[[PeerId], str]:
    """What patients are told of a peer: its facility's name, or nothing of one that nobody knows any more."""

    def name(peer: PeerId) -> str:
        try:
            return trust.get(peer).name
        except UnknownPeer:
            return ""

    return name
