"""Links are made, listed and taken back; and who uses one is known, and shown what it covers."""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from node.clock import Clock
from node.crypto.jwe import new_key
from node.errors.access import Unauthenticated
from node.errors.base import LeveretError
from node.errors.health_links import NoSuchHealthLink, NothingToLink
from node.log import Logger
from node.model.access import Caller, IssuedSession, Role
from node.model.audit import AuditEvent, AuditType
from node.model.directive import Directive, traits_of
from node.model.health_link import (
    SECRET_BYTES,
    HealthLink,
    HealthLinkId,
    LinkOrder,
    LinkPayload,
    check_order,
)
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import StudySummary
from node.sharing.hashing import PasswordHashing
from node.sharing.reading import caught_up
from node.sharing.sessions import Sessions
from node.store import audit, directives
from node.store import health_links as rows
from node.store import sessions as session_rows
from node.store.engine import Database, Read, Write
from node.store.objects import ObjectStore
from node.store.study_queries import StudyQuery, find_studies

TOKEN_PREFIX = "lvl_"  # noqa: S105 - lets secret scanners recognise a leaked token
TOKEN_BYTES = 32
TOKEN_SECONDS = 3600
FORGET_SECONDS = 300.0  # between looks for links that have expired
MANIFEST_PATH = "/shl/"  # and the random part
VIEWER_PATH = "/links/view"
_PATIENT = "patient:"  # how the actors of the portal begin
_MAX_TOKEN_TEXT = 128  # characters: longer is no token of ours and is not hashed


@dataclass(frozen=True, slots=True)
class CreatedLink:
    """A new link. This is the only time that its text is known."""

    link: HealthLink
    shlink: str = field(repr=False)  # shlink:/…
    viewer_url: str = field(repr=False)  # the same before this node's page for recipients: what a QR code holds


@dataclass(frozen=True, slots=True)
class LinkParts:
    """What links need. ``address`` says how others reach this node (https://HOST).

    ``attempts``: how many wrong passcodes close a new link. ``sharable``: the studies that somebody in the portal may
    give to others now (``sharing.portal.records``), which bounds what their links show, too.
    """

    db: Database
    store: ObjectStore
    sessions: Sessions
    hashing: PasswordHashing
    clock: Clock
    address: Callable[[], str]
    attempts: int
    sharable: Callable[[Caller], Awaitable[frozenset[StudyInstanceUID]]]
    log: Logger


class HealthLinks:
    """The links of one node."""

    def __init__(self, parts: LinkParts) -> None:
        self._db = parts.db
        self._store = parts.store
        self._sessions = parts.sessions
        self._clock = parts.clock
        self._address = parts.address
        self._attempts = parts.attempts
        self._sharable = parts.sharable
        self._log = parts.log
        self.hashing = parts.hashing
        self._on_ended: list[Callable[[HealthLinkId], None]] = []

    def on_ended(self, callback: Callable[[HealthLinkId], None]) -> None:
        """Call ``callback`` as soon as a link is taken back or locked, so that what runs under it ends."""
        self._on_ended.append(callback)

    async def run(self) -> None:
        """Forget the keys of links that have expired, until cancelled."""
        while True:
            try:
                async with self._db.write() as tx:
                    await rows.forget_expired(tx, self._clock.now())
            except LeveretError as error:  # a full disk: the next turn comes
                self._log.warning("keys of expired links not forgotten", component="links", code=error.code)
            await asyncio.sleep(FORGET_SECONDS)

    async def create(self, order: LinkOrder, *, by: str) -> CreatedLink:
        """A link to own studies of a patient. ``by`` is the actor, as in audit events.

        Raises:
            InvalidHealthLink, LabelNamesPatient: it may not be like that.
            NothingToLink: no own study of the patient, or not every one that is named, or the patient denies them all.
        """
        shown = await self.preview(order, by=by)
        check_order(order, shown[0].demographics)
        now, secret, key = self._clock.now(), secrets.token_urlsafe(SECRET_BYTES), new_key()
        link = HealthLink(
            link_id=HealthLinkId.new(),
            patient=order.patient,
            scope=order.scope,
            label=order.label,
            purpose=order.purpose,
            created_at=now,
            created_by=by,
            expires_at=now + order.lifetime,
            consent=order.consent,
            direct=order.direct,
            has_passcode=bool(order.passcode),
            attempts=self._attempts,
            uses=order.uses,
        )
        address = self._address()
        payload = LinkPayload(f"{address}{MANIFEST_PATH}{secret}", key, link.expires_at, link.flags, link.label)
        passcode = await self.hashing.hashed(order.passcode.encode()) if order.passcode else None
        async with self._db.write() as tx:
            await rows.add(tx, link, url_digest=digest_of(secret), secrets=rows.LinkSecrets(key, passcode))
            await audit.append(tx, self._created(link, len(shown)))
        return CreatedLink(link, payload.text, f"{address}{VIEWER_PATH}#{payload.text}")

    async def preview(self, order: LinkOrder, *, by: str) -> list[StudySummary]:
        """Exactly the studies that a link like that would show now, newest first; raises NothingToLink."""
        shown = await self._covered(order, by)
        if not shown or not order.scope.studies <= {study.study_instance_uid for study in shown}:
            raise NothingToLink
        return shown

    @staticmethod
    def _created(link: HealthLink, studies: int) -> AuditEvent:
        detail: dict[str, str | int] = {
            "link_id": str(link.link_id),
            "studies": studies,
            "expires_at": link.expires_at,
            "passcode": "yes" if link.has_passcode else "no",
            **({"consent": link.consent} if link.consent else {}),
        }
        return AuditEvent(
            AuditType.LINK_CREATED, link.created_at, link.created_by, patient=link.patient,
            purpose=link.purpose.value, detail=detail,
        )  # fmt: skip

    async def page(self, patient: PatientKey | None = None) -> list[HealthLink]:
        """Links, newest first; of one patient or of all."""
        async with self._db.read() as rx:
            return await rows.page(rx, patient=patient)

    async def get(self, link_id: HealthLinkId, *, patient: PatientKey | None = None) -> HealthLink:
        """One link; of ``patient`` if that is said. Raises NoSuchHealthLink."""
        async with self._db.read() as rx:
            return await self._get(rx, link_id, patient)

    @staticmethod
    async def _get(rx: Read, link_id: HealthLinkId, patient: PatientKey | None) -> HealthLink:
        link = await rows.get(rx, link_id)
        if link is None or (patient is not None and link.patient != patient):
            raise NoSuchHealthLink
        return link

    async def accesses(self, link_id: HealthLinkId, *, patient: PatientKey | None = None) -> list[rows.LinkAccess]:
        """Who tried to open a link, last first; raises NoSuchHealthLink."""
        async with self._db.read() as rx:
            await self._get(rx, link_id, patient)
            return await rows.accesses(rx, link_id)

    async def revoke(self, link_id: HealthLinkId, *, by: str, patient: PatientKey | None = None) -> HealthLink:
        """Take a link back: when this returns nobody can open it, and what was open under it is cut off.

        Again is as good. ``patient``: only if it is this patient's.

        Raises:
            NoSuchHealthLink: there is no such link.
        """
        now = self._clock.now()
        async with self._db.write() as tx:
            link = await self._get(tx, link_id, patient)
            if await rows.revoke(tx, link_id, now):
                await self.end_within(tx, link_id)
                detail = {"link_id": str(link_id)}
                await audit.append(tx, AuditEvent(AuditType.LINK_REVOKED, now, by, patient=link.patient, detail=detail))
            return await self._get(tx, link_id, patient)

    async def end_within(self, tx: Write, link_id: HealthLinkId) -> None:
        """End all that was handed out under a link that ``tx`` ends."""
        await rows.end(tx, link_id)
        await session_rows.end_sessions_of(tx, link_actor(link_id))

        def tell() -> None:
            for callback in self._on_ended:
                callback(link_id)

        tx.after_commit(tell)

    # Who uses a link

    async def by_token(self, text: str) -> Caller:
        """Who shows a token; raises Unauthenticated unless it is good and its link is alive."""
        if len(text) > _MAX_TOKEN_TEXT:
            raise Unauthenticated
        now = self._clock.now()
        async with self._db.read() as rx:
            link = await rows.link_of_token(rx, digest_of(text), now)
        if link is None or not link.is_alive(now):
            raise Unauthenticated
        return Caller(link_actor(link.link_id), Role.RECIPIENT)

    async def sign_in(self, caller: Caller) -> IssuedSession:
        """A browser session for who showed a token; raises Unauthenticated if the link is over."""
        link = await self._of(caller)
        if link is None:
            raise Unauthenticated
        async with self._db.write() as tx:
            event = AuditEvent(AuditType.SIGNED_IN, self._clock.now(), caller.actor, patient=link.patient)
            await audit.append(tx, event)
            return await self._sessions.open(tx, caller)

    async def sign_out(self, caller: Caller, cookie: str) -> None:
        """End one session."""
        async with self._db.write() as tx:
            await self._sessions.end(tx, cookie)
            await audit.append(tx, AuditEvent(AuditType.SIGNED_OUT, self._clock.now(), caller.actor))

    async def visible(self, caller: Caller) -> frozenset[StudyInstanceUID]:
        """The studies that a recipient may see now; none once the link is over."""
        return frozenset(study.study_instance_uid for study in await self.shown_to(caller))

    async def shown_to(self, caller: Caller) -> list[StudySummary]:
        """The same, newest first."""
        link = await self._of(caller)
        return [] if link is None else await self.studies(link)

    async def studies(self, link: HealthLink) -> list[StudySummary]:
        """The studies that a link covers now, newest first."""
        return await self._covered(link, link.created_by)

    async def _of(self, caller: Caller) -> HealthLink | None:
        """The link that somebody uses, if it is alive."""
        try:
            link_id = HealthLinkId.parse(caller.name)
        except ValueError:
            return None
        async with self._db.read() as rx:
            link = await rows.get(rx, link_id)
        return link if link is not None and link.is_alive(self._clock.now()) else None

    async def _covered(self, what: HealthLink | LinkOrder, by: str) -> list[StudySummary]:
        """Own studies of the patient in the scope, less those that the patient denies to everybody.

        Sensitive ones only if they are named; of somebody in the portal only what they may give to others now.
        """
        await caught_up(self._store)
        scope, patient = what.scope, what.patient
        allowed = await self._sharable(Caller(by, Role.PATIENT)) if by.startswith(_PATIENT) else None
        async with self._db.read() as rx:
            query = StudyQuery(
                study_uids=tuple(scope.studies),
                patients=(patient,),
                own=True,
                date_from=scope.from_date,
                date_to=scope.to_date,
            )
            found = {study.study_instance_uid: study for study in await find_studies(rx, query)}
            hidden = frozenset() if scope.studies else await rows.sensitive(rx, found)
            denials = [one for one in await directives.of_patients(rx, {patient}) if self._speaks(one, what)]
        return [
            study
            for uid, study in found.items()
            if uid not in hidden
            and (allowed is None or uid in allowed)
            and not any(one.denies(patient, uid, traits_of(study)) for one in denials)
        ]

    def _speaks(self, directive: Directive, by: HealthLink | LinkOrder) -> bool:
        """Whether a directive holds now for a link, whose recipient is no facility and so anybody."""
        is_meant = directive.recipient is None and (not directive.purposes or by.purpose in directive.purposes)
        return is_meant and directive.refusal(self._clock.now()) is None


def link_actor(link_id: HealthLinkId) -> str:
    """Who uses a link, as the audit log names them."""
    return f"link:{link_id}"


def new_token() -> str:
    """The text of a token for DICOMweb."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def digest_of(secret: str) -> bytes:
    """How addresses and tokens are looked up: they have 256 random bits, so a plain hash is enough to keep."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
