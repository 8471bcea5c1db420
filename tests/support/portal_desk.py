"""The portal's use cases over a real index, without HTTP: for what must hold whatever page asks."""

import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node.config import PortalSettings
from node.log import make_logger
from node.model.access import Caller, IssuedSession, Role
from node.model.audit import AuditEvent
from node.model.delivery import StudyLink
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.model.instance import Demographics
from node.model.portal import Relation, Scope
from node.sharing.hashing import PasswordHashing
from node.sharing.portal.accounts import Accounts
from node.sharing.portal.enrolment import Enrolment, Letter, Order
from node.sharing.portal.history import PortalHistory
from node.sharing.portal.parts import PortalParts
from node.sharing.portal.passkeys import Passkeys
from node.sharing.portal.pending import Patience
from node.sharing.portal.proxies import Proxies
from node.sharing.portal.records import Records
from node.sharing.sessions import Sessions
from node.store import audit, links
from node.store.engine import Database
from node.store.objects import ObjectStore
from support.authenticator import Authenticator
from support.clocks import HandClock
from support.store import header, opened_store, study_uid

URL = "https://images.north.example"
PASSPHRASE = "correct horse battery staple"
STAFF = "user:clin"
ANA, BEA = PatientKey("NORTH", "ANA-1"), PatientKey("NORTH", "BEA-2")
PEOPLE = {ANA: Demographics("Garcia^Ana", "19640327", "F"), BEA: Demographics("Berg^Bea", "19701224", "F")}
SOUTH = PeerId(bytes(range(32)))


@dataclass
class Desk:
    """Everything of one portal."""

    db: Database
    store: ObjectStore
    clock: HandClock
    settings: PortalSettings = field(default_factory=PortalSettings)

    def __post_init__(self) -> None:
        self.hashing = PasswordHashing()
        self.sessions = Sessions(self.db, self.clock)
        self.parts = PortalParts(
            self.db, self.sessions, self.settings, "North", lambda: URL, self.clock, make_logger(io.StringIO()),
            self.hashing, Patience(self.clock),
        )  # fmt: skip
        self.enrolment = Enrolment(self.parts)
        self.accounts = Accounts(self.parts, self.enrolment)
        self.passkeys = Passkeys(self.parts, self.enrolment, self.accounts)
        self.records = Records(self.parts)
        self.proxies = Proxies(self.parts, self.records, self.accounts)
        self.history = PortalHistory(self.parts, self.records, lambda _peer: "South")
        self.device = Authenticator(URL)

    async def hold(self, study: int, patient: PatientKey, **changes: object) -> StudyInstanceUID:
        """An own study of one instance, closed."""
        said = PEOPLE.get(patient, Demographics("Nobody^Known", "19990909", "O"))
        values: dict[str, Any] = {"demographics": said, **changes}
        await self.store.put(header(study=study, patient=patient, **values), bytes([study % 256]))
        await self.store.indexed()
        await self.store.close_revision(study_uid(study))
        return study_uid(study)

    async def receive(self, study: int, patient: PatientKey, *, linked: PatientKey | None) -> StudyInstanceUID:
        """A study of another facility, perhaps linked to a patient here."""
        uid = await self.hold(study, patient)
        async with self.db.write() as tx:
            await tx.execute("UPDATE study SET origin = ? WHERE uid = ?", (SOUTH.digest, str(uid)))
            if linked is not None:
                await links.add(tx, StudyLink(uid, linked, Demographics(), self.clock.now(), STAFF))
        return uid

    async def letter(self, patient: PatientKey = ANA, **order: object) -> Letter:
        return await self.enrolment.invite(Order(patient, **order), by=STAFF)  # type: ignore[arg-type]  # test's words

    async def proxy_letter(self, patient: PatientKey, scope: Scope = Scope.SHARE, until: int | None = None) -> Letter:
        return await self.letter(patient, relation=Relation.PROXY, scope=scope, name="Carla Carer", until=until)

    async def enrol(self, letter: Letter, name: str = "ana@example.org") -> IssuedSession:
        """By passphrase; the session."""
        proof = await self.enrolment.prove(letter.code.text, letter.patient.birth_date, place="10.0.0.1")
        return await self.accounts.enrol(proof.ticket, name, PASSPHRASE, language="en")

    async def enrolled(self, patient: PatientKey = ANA, name: str = "ana@example.org") -> IssuedSession:
        return await self.enrol(await self.letter(patient), name)

    async def visible(self, who: IssuedSession) -> set[StudyInstanceUID]:
        return set(await self.records.visible(who.session.caller))

    async def events(self) -> Sequence[AuditEvent]:
        """The log, newest first."""
        async with self.db.read() as rx:
            return [row.event for row in await audit.page(rx, before=None, limit=1000)]


STRANGER = Caller("patient:" + "0" * 32, Role.PATIENT)


@asynccontextmanager
async def desk(directory: Path, **settings: object) -> AsyncIterator[Desk]:
    """A portal with one study of Ana (1) and one of Bea (2)."""
    clock = HandClock()
    async with opened_store(directory, clock=clock) as (store, db):
        one = Desk(db, store, clock, PortalSettings(**settings))  # type: ignore[arg-type]  # test's words
        await one.hold(1, ANA)
        await one.hold(2, BEA)
        yield one
