"""The use cases, each with what it needs and nothing more."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node.api.reach import Reach
from node.app.background import Background
from node.app.delivery import Delivery, build_delivery
from node.app.links import Links, build_links
from node.app.network import Network
from node.app.portal import Portal, build_portal
from node.app.storage import Storage
from node.app.vault import Vault, build_vault
from node.clock import Clock
from node.config import Settings
from node.crypto.identity import Identity
from node.errors.vault import RestoredFromBackup
from node.log import Logger
from node.metrics import Metrics
from node.model.access import Role
from node.model.ids import RequestId
from node.peers import handlers_feed, handlers_offers, handlers_requests, handlers_withdrawals, handlers_witness
from node.sharing.announce import Announcer
from node.sharing.answers import FeedDesk
from node.sharing.asking import Asking
from node.sharing.consents import Consents
from node.sharing.corrections import Corrections
from node.sharing.emergencies import Emergencies
from node.sharing.endings import Endings
from node.sharing.feeds import FeedReader
from node.sharing.hashing import PasswordHashing
from node.sharing.holder import Holder, HolderParts
from node.sharing.imports import Imports
from node.sharing.inbound import Inbound, InboundParts
from node.sharing.inbox import Inbox
from node.sharing.ingest import Ingest, issuer_of
from node.sharing.locate import Locator
from node.sharing.meter import Meter
from node.sharing.offers import OfferParts, Offers
from node.sharing.on_file import DirectivesOnFile
from node.sharing.pacs import PacsDirectory
from node.sharing.pull import PullParts
from node.sharing.quarantine import Quarantine
from node.sharing.rejections import Rejections
from node.sharing.requests import Requests
from node.sharing.retention import Retention
from node.sharing.scrub import Scrub
from node.sharing.serve import ObjectServer, ServerParts
from node.sharing.sessions import Sessions
from node.sharing.share_codes import ShareCodes
from node.sharing.tokens import Tokens
from node.sharing.transfer import TransferEngine
from node.sharing.upkeep import UpkeepParts
from node.sharing.users import Users
from node.sharing.visibility import Visibility
from node.sharing.withdrawals import WithdrawalParts, Withdrawals
from node.sharing.withdrawn import WithdrawalDesk, WithdrawnParts
from node.sharing.witness import WitnessDesk, Witnesses, WitnessParts


@dataclass(frozen=True, slots=True)
class Basis:
    """What all use cases of one node share."""

    settings: Settings
    identity: Identity
    storage: Storage
    network: Network
    clock: Clock
    metrics: Metrics
    log: Logger
    pacs: PacsDirectory
    reach: Reach  # `reach.url` is the address in letters, links and e-mails, once the API listens
    directory: Path  # the data directory

    @property
    def issuer(self) -> str:
        """This facility's Issuer of Patient ID."""
        return issuer_of(self.settings.node.issuer, self.identity.peer_id)


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What becomes of images that turn out to be wrong."""

    withdrawals: Withdrawals
    corrections: Corrections
    rejections: Rejections
    quarantine: Quarantine


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one node can do."""

    users: Users
    tokens: Tokens
    sessions: Sessions
    ingest: Ingest
    imports: Imports
    announcer: Announcer
    reader: FeedReader
    locator: Locator
    codes: ShareCodes
    consents: Consents
    emergencies: Emergencies
    objects: ObjectServer
    inbox: Inbox
    requests: Requests
    engine: TransferEngine
    lifecycle: Lifecycle
    witnesses: Witnesses
    offers: Offers
    meter: Meter
    delivery: Delivery
    retention: Retention
    scrub: Scrub
    vault: Vault
    links: Links
    portal: Portal
    visibility: Visibility

    def run(self, background: Background) -> None:
        """Start what runs by itself."""
        background.start("ingest", self.ingest.run())
        background.start("announcer", self.announcer.run())
        background.start("feed-reader", self.reader.run())
        background.start("object-server", self.objects.run())
        background.start("transfer-engine", self.engine.run())
        background.start("consents", self.consents.run())
        background.start("withdrawals", self.lifecycle.withdrawals.run())
        background.start("witnesses", self.witnesses.run())
        background.start("offers", self.offers.run())
        background.start("rejections", self.lifecycle.rejections.run())
        background.start("deliveries", self.delivery.engine.run())
        background.start("retention", self.retention.run())
        background.start("scrub", self.scrub.run())
        background.start("portal-alerts", self.portal.alerts.run())
        background.start("health-links", self.links.keeping.run())


def build_exchange(basis: Basis) -> Exchange:
    """Build the use cases and register their peer routes."""
    ingest = _ingest(basis)
    sessions, tokens = Sessions(basis.storage.db, basis.clock), Tokens(basis.storage.db, basis.clock)
    announcer, reader, locator = _location(basis)
    parts, holder, inbox = _holding(basis, ingest)
    engine, requests = _requesting(basis, holder)
    lifecycle = _lifecycle(basis, ingest, parts.server, engine)
    codes, consents = _consenting(parts, inbox, lifecycle.withdrawals)
    hashing = PasswordHashing()
    portal = build_portal(basis, sessions, hashing)
    links = build_links(basis, sessions, hashing, portal.records)
    return Exchange(
        users=Users(basis.storage.db, basis.clock, sessions=sessions, tokens=tokens, hashing=hashing),
        tokens=tokens,
        sessions=sessions,
        ingest=ingest,
        imports=Imports(ingest),
        announcer=announcer,
        reader=reader,
        locator=locator,
        codes=codes,
        consents=consents,
        emergencies=Emergencies(db=basis.storage.db, clock=basis.clock),
        objects=parts.server,
        inbox=inbox,
        requests=requests,
        engine=engine,
        lifecycle=lifecycle,
        witnesses=_witnesses(basis, parts.server),
        offers=_offers(basis, ingest, requests),
        meter=_meter(basis),
        delivery=build_delivery(basis, basis.pacs, engine.changed),
        retention=Retention(_upkeep(basis)),
        scrub=Scrub(_upkeep(basis)),
        vault=build_vault(basis.storage, basis.identity, basis.clock, basis.log),
        links=links,
        portal=portal,
        visibility=Visibility({Role.RECIPIENT: links.keeping, Role.PATIENT: portal.records}),
    )


def _meter(basis: Basis) -> Meter:
    storage = basis.storage
    return Meter(db=storage.db, store=storage.store, pool=storage.pool, clock=basis.clock, log=basis.log)


def _upkeep(basis: Basis) -> UpkeepParts:
    storage = basis.storage
    return UpkeepParts(storage.db, storage.store, basis.settings.store, basis.clock, basis.metrics, basis.log)


def _ingest(basis: Basis) -> Ingest:
    return Ingest(
        db=basis.storage.db,
        store=basis.storage.store,
        pool=basis.storage.pool,
        issuer=basis.issuer,
        settings=basis.settings.store,
        clock=basis.clock,
        metrics=basis.metrics,
        log=basis.log,
    )


def _location(basis: Basis) -> tuple[Announcer, FeedReader, Locator]:
    db, network, clock, log = basis.storage.db, basis.network, basis.clock, basis.log
    settings = basis.settings.announce
    announcer = Announcer(
        db=db,
        identity=basis.identity,
        clients=network.clients,
        clock=clock,
        settings=settings,
        log=log,
        consents=DirectivesOnFile(network.trust, clock),
    )
    me = basis.identity.peer_id
    reader = FeedReader(db=db, me=me, directory=network.trust, clients=network.clients, clock=clock, log=log)
    network.trust.subscribe(reader)
    network.server.add_routes(handlers_feed.routes(FeedDesk(db=db, clock=clock, reader=reader)))
    locator = Locator(
        db=db,
        me=me,
        trust=network.trust,
        clients=network.clients,
        reader=reader,
        clock=clock,
        settings=settings,
        log=log,
    )
    return announcer, reader, locator


def _holding(basis: Basis, ingest: Ingest) -> tuple[HolderParts, Holder, Inbox]:
    db, store, trust = basis.storage.db, basis.storage.store, basis.network.trust
    objects = ObjectServer(ServerParts(db, store, basis.identity, trust, basis.clock, basis.metrics, basis.log))
    parts = HolderParts(
        db=db,
        ingest=ingest,
        identity=basis.identity,
        trust=trust,
        server=objects,
        clock=basis.clock,
        settings=basis.settings.consent,
        metrics=basis.metrics,
        log=basis.log,
    )
    holder = Holder(parts)
    trust.subscribe(objects)
    basis.network.server.add_routes(handlers_requests.routes(holder, objects))
    inbox = Inbox(parts)
    for ending in (holder.peer_revoked, inbox.peer_revoked):
        trust.on_revoked(ending)
    return parts, holder, inbox


def _consenting(parts: HolderParts, inbox: Inbox, withdrawals: Withdrawals) -> tuple[ShareCodes, Consents]:
    endings = Endings(parts, inbox, withdrawals.inform)
    codes = ShareCodes(db=parts.db, ingest=parts.ingest, endings=endings, clock=parts.clock)
    return codes, Consents(db=parts.db, codes=codes, endings=endings, clock=parts.clock, log=parts.log)


def _lifecycle(basis: Basis, ingest: Ingest, objects: ObjectServer, engine: TransferEngine) -> Lifecycle:
    storage, network, clock, log = basis.storage, basis.network, basis.clock, basis.log
    db, store, pool = storage.db, storage.store, storage.pool
    parts = WithdrawalParts(db, store, basis.identity, network.trust, network.clients, objects, clock, log)
    withdrawals = Withdrawals(parts)
    network.trust.subscribe(withdrawals)
    network.trust.on_seen(withdrawals.peer_seen)

    async def cancel(request_id: RequestId, by: str) -> None:
        await engine.cancel(request_id, by=by)

    parts_here = WithdrawnParts(db, store, basis.identity, basis.issuer, network.trust, cancel, clock, log)
    desk = WithdrawalDesk(parts_here)
    network.server.add_routes(handlers_withdrawals.routes(desk))
    rejections = Rejections(
        db=db,
        store=store,
        pool=pool,
        withdrawals=withdrawals,
        settings=basis.settings.store,
        clock=clock,
        log=log,
    )
    ingest.on_key_object = rejections.read_new
    return Lifecycle(
        withdrawals,
        Corrections(parts, withdrawals),
        rejections,
        Quarantine(db=db, store=store, pool=pool, withdrawals=withdrawals, clock=clock, log=log),
    )


def _offers(basis: Basis, ingest: Ingest, requests: Requests) -> Offers:
    network, db, me = basis.network, basis.storage.db, basis.identity
    parts = OfferParts(db, ingest, me, basis.issuer, network.trust, network.clients, requests, basis.clock, basis.log)
    offers = Offers(parts)
    network.server.add_routes(handlers_offers.routes(offers))
    network.trust.on_seen(offers.peer_seen)
    return offers


def _witnesses(basis: Basis, server: ObjectServer) -> Witnesses:
    network = basis.network
    parts = WitnessParts(basis.storage.db, basis.identity, network.trust, network.clients, basis.clock, basis.log)
    network.server.add_routes(handlers_witness.routes(WitnessDesk(parts)))
    witnesses = Witnesses(parts)

    def put_back(ended: Sequence[RequestId]) -> None:
        for request_id in ended:
            server.stop(request_id, RestoredFromBackup.code)

    witnesses.on_put_back = put_back
    return witnesses


def _requesting(basis: Basis, holder: Holder) -> tuple[TransferEngine, Requests]:
    storage, network = basis.storage, basis.network
    asking = Asking(
        identity=basis.identity,
        issuer=basis.issuer,
        trust=network.trust,
        clients=network.clients,
        clock=basis.clock,
    )
    pull = PullParts(storage.store, storage.pool, network.clients, basis.settings.peer.streams)
    inbound = Inbound(InboundParts(storage.db, basis.identity, asking, pull, basis.clock, basis.metrics))
    engine = TransferEngine(inbound=inbound, trust=network.trust, clock=basis.clock, log=basis.log)
    network.trust.subscribe(engine)
    network.trust.on_seen(engine.peer_seen)
    requests = Requests(
        db=storage.db,
        identity=basis.identity,
        trust=network.trust,
        engine=engine,
        holder=holder,
        clock=basis.clock,
    )
    return engine, requests
