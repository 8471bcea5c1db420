"""A node that announces and locates: everything real but the images, whose rows are written by hand."""

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from node.config import AnnounceSettings
from node.crypto.identity import Identity
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.model.instance import Demographics
from node.model.trust import TrustEvent, TrustState
from node.peers import handlers_witness
from node.peers.handlers_feed import routes
from node.sharing.announce import Announcer, ConsentOnFile
from node.sharing.answers import FeedDesk
from node.sharing.audit import AuditLog
from node.sharing.feeds import FeedReader
from node.sharing.locate import Locator, PriorStudy
from node.sharing.witness import WitnessDesk, Witnesses, WitnessParts
from node.store.engine import Database, Write
from support.clocks import HandClock
from support.peered import Peered

ANNA = Demographics("Larsen^Anna", "19610203", "F")
ACTOR = "user:clin"


class Site(Peered):
    """One facility in this process."""

    def __init__(
        self,
        name: str,
        db: Database,
        *,
        settings: AnnounceSettings,
        consents: ConsentOnFile | None = None,
        serve: Iterable[web.RouteDef] | None = None,
        identity: Identity | None = None,
        clock: HandClock | None = None,
    ) -> None:
        self.settings, self.clock = settings, clock or HandClock()
        super().__init__(name, db, identity or Identity.generate(), self.clock)
        log = self.log
        self.reader = FeedReader(
            db=db, me=self.peer_id, directory=self.trust, clients=self.clients, clock=self.clock, log=log
        )
        self.trust.subscribe(self.reader)
        self.desk = FeedDesk(db=db, clock=self.clock, reader=self.reader)
        self.server.add_routes(routes(self.desk) if serve is None else serve)
        parts = WitnessParts(db, self.identity, self.trust, self.clients, self.clock, log)
        self.audit, self.witnesses = AuditLog(db, self.identity, self.clock), Witnesses(parts)
        self.server.add_routes(handlers_witness.routes(WitnessDesk(parts)))
        self.announcer = Announcer(
            db=db,
            identity=self.identity,
            clients=self.clients,
            clock=self.clock,
            settings=settings,
            log=log,
            consents=consents,
        )
        self.locator = Locator(
            db=db,
            me=self.peer_id,
            trust=self.trust,
            clients=self.clients,
            reader=self.reader,
            clock=self.clock,
            settings=settings,
            log=log,
        )

    async def hold(self, who: Demographics = ANNA, **changes: Any) -> StudyInstanceUID:
        """Hold one study of one CT series; closed as revision 1."""
        uid = StudyInstanceUID.parse(f"2.25.{secrets.randbits(100)}")
        async with self.db.write() as tx:
            await insert_study(tx, uid, who, **changes)
        return uid

    async def close_revision(self, study: StudyInstanceUID, instances: int) -> None:
        """More instances came, and the next revision was closed."""
        async with self.db.write() as tx:
            await tx.execute(
                "UPDATE study SET revision = revision + 1, instances = ? WHERE uid = ?", (instances, str(study))
            )
            await tx.execute(
                "INSERT INTO revision (study_id, number, closed_at) SELECT id, revision, 0 FROM study WHERE uid = ?",
                (str(study),),
            )

    async def priors_at(self, holder: "Site", who: Demographics = ANNA, **more: Any) -> tuple[PriorStudy, ...]:
        """What ``holder`` announced of ``who``; everything must go well."""
        result = await self.locator.priors(demographics=who, actor=ACTOR, **more)
        (found,) = (peer for peer in result.peers if peer.peer_id == holder.peer_id)
        assert found.status == "ok"
        return found.studies

    async def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        async with self.db.read() as rx:
            return await rx.fetch_all(sql, params)


async def insert_study(  # noqa: PLR0917 - a row has columns
    tx: Write,
    uid: StudyInstanceUID,
    who: Demographics,
    patient: PatientKey = PatientKey("HERE", "1"),  # noqa: B008 - frozen
    origin: PeerId | None = None,
    revision: int = 1,
    date: str = "20260102",
    description: str = "CT Thorax nativ",
    instances: int = 12,
) -> None:
    ref = secrets.token_bytes(16)
    await tx.execute(
        "INSERT INTO space (ref, study_uid, key_version, wrapped_key) VALUES (?, ?, 1, x'00')", (ref, str(uid))
    )
    study = await tx.insert(
        "INSERT INTO study (uid, space, issuer, patient_id, patient_name, patient_name_match, patient_name_raw,"
        " birth_date, sex, character_set, date, time, accession_number, study_id, description, referring_physician,"
        " origin, series, instances, bytes, revision, revision_open, changed_at)"
        " VALUES (?, ?, ?, ?, ?, ?, x'', ?, ?, '', ?, '', '', '', ?, '', ?, 1, ?, 1000, ?, 0, 0)",
        (
            str(uid),
            ref,
            patient.issuer,
            patient.patient_id,
            who.name,
            who.name.casefold(),
            who.birth_date,
            who.sex,
            date,
            description,
            origin.digest if origin else None,
            instances,
            revision,
        ),
    )
    await tx.execute(
        "INSERT INTO series (study_id, uid, modality, number, description, body_part, date, time, instances)"
        " VALUES (?, ?, 'CT', '1', '', 'CHEST', '', '', ?)",
        (study, f"{uid}.1", instances),
    )
    if revision:
        await tx.execute("INSERT INTO revision (study_id, number, closed_at) VALUES (?, ?, 0)", (study, revision))


@asynccontextmanager
async def site(directory: Path, name: str, **options: Any) -> AsyncIterator[Site]:
    """One facility, listening; with the ``key`` and ``identity`` of another run it is the same."""
    settings = replace(AnnounceSettings(), **options.pop("settings", {}))
    async with await Database.open(directory / f"{name}.db", options.pop("key", secrets.token_bytes(32))) as db:
        made = Site(name, db, settings=settings, **options)
        await made.trust.load()
        async with made.server, made.clients:
            await made.trust.publish(name, [made.server.address])
            yield made


async def trust_each_other(*sites: Site) -> None:
    """Every two of them are paired."""
    for one in sites:
        for other in sites:
            if one is not other:
                await enter(one, other)


async def enter(one: Site, other: Site) -> None:
    """``one`` trusts ``other``."""
    async with one.db.write() as tx:
        state = await one.trust.enter(tx, other.trust.own_card(), TrustEvent.IMPORT, "phrase", "node")
    assert state is TrustState.TRUSTED
