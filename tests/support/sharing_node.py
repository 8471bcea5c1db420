"""A node as far as sharing goes: real index, packs, parsers, TLS and sockets; studies are put in directly."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from node.clock import SystemClock
from node.config import ConsentSettings, StoreSettings
from node.crypto.identity import Identity
from node.crypto.keystore import KeyStore
from node.dicom.pool import ParserPool
from node.log import make_logger
from node.model.ids import PatientKey, RequestId, SOPInstanceUID, StudyInstanceUID, TransferSyntaxUID
from node.model.trust import TrustEvent
from node.peers import handlers_offers, handlers_withdrawals
from node.peers.handlers_requests import routes
from node.sharing.asking import Asking
from node.sharing.consents import Consents
from node.sharing.corrections import Corrections
from node.sharing.emergencies import Emergencies
from node.sharing.endings import Endings
from node.sharing.holder import Holder, HolderParts
from node.sharing.inbound import Inbound, InboundParts
from node.sharing.inbox import Inbox
from node.sharing.ingest import Ingest, Source
from node.sharing.offers import OfferParts, Offers
from node.sharing.pull import PullParts
from node.sharing.quarantine import Quarantine
from node.sharing.rejections import Rejections
from node.sharing.requests import Offered, RequestOrder, Requests, TypedCode
from node.sharing.serve import ObjectServer, ServerParts
from node.sharing.share_codes import ShareCodes
from node.sharing.transfer import TransferEngine
from node.sharing.withdrawals import WithdrawalParts, Withdrawals
from node.sharing.withdrawn import WithdrawalDesk, WithdrawnParts
from node.store.engine import Database
from node.store.objects import ObjectStore
from support.clocks import MovedClock
from support.ct import CtStudy, dataset_of
from support.peered import Peered
from support.tasks import in_background

EXPLICIT_LITTLE = TransferSyntaxUID("1.2.840.10008.1.2.1")
ACTOR = "user:clin"


class SharingNode(Peered):
    """Everything wired as the composition root does it."""

    def __init__(
        self, name: str, db: Database, store: ObjectStore, parsers: ParserPool, identity: Identity, **options: Any
    ) -> None:
        self.clock = MovedClock()
        super().__init__(name, db, identity, self.clock, port=options.get("port", 0))
        self.store, self.parsers, log = store, parsers, self.log
        self.issuer = f"ISSUER-{name}"
        self.store_settings = options.get("settings", StoreSettings())
        parts = ServerParts(db, store, identity, self.trust, self.clock, self.metrics, log)
        self.objects = ObjectServer(parts)
        self.ingest = Ingest(
            db=db,
            store=store,
            pool=parsers,
            issuer=self.issuer,
            settings=StoreSettings(),
            clock=self.clock,
            metrics=self.metrics,
            log=log,
        )
        settings = options.get("consent", ConsentSettings())
        holder_parts = HolderParts(
            db, self.ingest, identity, self.trust, self.objects, self.clock, settings, self.metrics, log
        )
        self.holder = Holder(holder_parts)
        self.inbox = Inbox(holder_parts)
        self.emergencies = Emergencies(db=db, clock=self.clock)
        self.asking = Asking(
            identity=identity, issuer=self.issuer, trust=self.trust, clients=self.clients, clock=self.clock
        )
        pull = PullParts(store, parsers, self.clients, options.get("streams", 3))
        self.inbound = Inbound(InboundParts(db, identity, self.asking, pull, self.clock, self.metrics))
        self.engine = TransferEngine(inbound=self.inbound, trust=self.trust, clock=self.clock, log=log)
        self.requests = Requests(
            db=db, identity=identity, trust=self.trust, engine=self.engine, holder=self.holder, clock=self.clock
        )
        self.server.add_routes(
            routes(options.get("requests_port", self.holder), options.get("objects_port", self.objects))
        )
        offers = OfferParts(
            db, self.ingest, identity, self.issuer, self.trust, self.clients, self.requests, self.clock, log
        )
        self.offers = Offers(offers)
        self.server.add_routes(handlers_offers.routes(options.get("offers_port", self.offers)))
        self._withdrawing()
        endings = Endings(holder_parts, self.inbox, self.withdrawals.inform)
        self.share_codes = ShareCodes(db=db, ingest=self.ingest, endings=endings, clock=self.clock)
        self.consents = Consents(db=db, codes=self.share_codes, endings=endings, clock=self.clock, log=log)
        for listener in (self.objects, self.engine, self.withdrawals):
            self.trust.subscribe(listener)
        for ending in (self.holder.peer_revoked, self.inbox.peer_revoked):
            self.trust.on_revoked(ending)
        self.trust.on_seen(self.engine.peer_seen)
        self.trust.on_seen(self.withdrawals.peer_seen)
        self.trust.on_seen(self.offers.peer_seen)

    def _withdrawing(self) -> None:
        db, store, clock, log = self.db, self.store, self.clock, self.log
        parts = WithdrawalParts(db, store, self.identity, self.trust, self.clients, self.objects, clock, log)
        self.withdrawals = Withdrawals(parts)
        self.corrections = Corrections(parts, self.withdrawals)
        pool, told = self.parsers, self.withdrawals
        self.rejections = Rejections(
            db=db, store=store, pool=pool, withdrawals=told, settings=self.store_settings, clock=clock, log=log
        )
        self.quarantine = Quarantine(db=db, store=store, pool=pool, withdrawals=told, clock=clock, log=log)
        self.ingest.on_key_object = self.rejections.read_new

        async def cancel(request_id: RequestId, by: str) -> None:
            await self.engine.cancel(request_id, by=by)

        self.desk = WithdrawalDesk(
            WithdrawnParts(db, store, self.identity, self.issuer, self.trust, cancel, clock, log)
        )
        self.server.add_routes(handlers_withdrawals.routes(self.desk))

    def patient(self, study: CtStudy) -> PatientKey:
        return PatientKey(self.issuer, study.patient_id)

    async def hold(self, *studies: CtStudy) -> dict[str, bytes]:
        """Take studies in as this facility's own; the data sets by SOP Instance UID."""
        held: dict[str, bytes] = {}
        for study in studies:
            async with asyncio.TaskGroup() as group:
                for file in study.files():
                    group.create_task(self.ingest.take_file(file, source=Source.IMPORT, actor=ACTOR))
            held |= {study.sop_uid(n): dataset_of(file) for n, file in enumerate(study.files(), 1)}
        await self.store.indexed()
        return held

    async def bytes_of(self, uids: Iterable[str]) -> dict[str, bytes]:
        """What is visible here of these instances."""
        readers = await self.store.readers([SOPInstanceUID(uid) for uid in uids])
        return {uid: await reader.read() for uid, reader in readers.items()}

    async def code_for(self, study: CtStudy, **options: Any) -> str:
        """A share code for the study's patient."""
        made = await self.share_codes.create(self.patient(study), by=ACTOR, **options)
        return made.code.text

    def order(self, holder: "SharingNode", study: CtStudy, consent: Offered | str, **changes: Any) -> RequestOrder:
        """An order for the study; a text is a share code."""
        given = TypedCode(consent) if isinstance(consent, str) else consent
        order = RequestOrder(holder.peer_id, (StudyInstanceUID(study.study_uid),), given, "dr.who", "clinician")
        return replace(order, **changes)


@contextlib.asynccontextmanager
async def sharing_node(
    name: str, directory: Path, *, identity: Identity | None = None, engine: bool = True, **options: Any
) -> AsyncIterator[SharingNode]:
    """A running node whose data lie in ``directory/name``; entered again with its identity, it is the same node."""
    own = identity or Identity.generate()
    folder = directory / name
    folder.mkdir(exist_ok=True)
    keys = KeyStore(own, bytes(range(32)), 1, bytes(range(32, 64)))
    log = make_logger(io.StringIO())
    async with (
        await Database.open(folder / "index.db", keys.index_key()) as db,
        await ObjectStore.open(folder, db, keys, SystemClock(), log, reserve_bytes=0) as store,
        ParserPool(1) as parsers,
    ):
        node = SharingNode(name, db, store, parsers, own, **options)
        await node.trust.load()
        async with node.clients, node.server:
            await node.trust.publish(name, [node.server.address])
            async with in_background(
                node.objects.run(), node.withdrawals.run(), *([node.engine.run()] if engine else [])
            ):
                yield node


async def befriend(one: SharingNode, other: SharingNode) -> None:
    """Both trust each other."""
    for here, there in ((one, other), (other, one)):
        async with here.db.write() as tx:
            await here.trust.enter(tx, there.trust.own_card(), TrustEvent.IMPORT, "phrase", "node")
