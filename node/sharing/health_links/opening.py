"""A link is opened: what somebody gets who has it, and how often they may try.

Wrong passcodes are counted over the whole life of a link, one attempt after the other, so that a hundred at once are no
more than a hundred in a row. Whoever opens a link that is over, and whoever invents one, hear the same words after the
same time (a grid, as refusals between facilities).
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from node.clock import Clock
from node.crypto.jwe import encrypt_file
from node.errors.health_links import NoSuchHealthLink, TooManyOpenings, WrongPasscode
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.health_link import (
    HealthLink,
    HealthLinkId,
    LinkState,
    clean_recipient,
    failed,
    opened,
)
from node.model.instance import StudySummary
from node.peers.buckets import TokenBuckets
from node.sharing.fhir_imaging import FHIR_JSON
from node.sharing.health_links.files import API_ACCESS, FileMaker, LinkFile, access_file
from node.sharing.health_links.keeping import (
    MANIFEST_PATH,
    TOKEN_SECONDS,
    HealthLinks,
    digest_of,
    link_actor,
    new_token,
)
from node.sharing.health_links.slots import Slots
from node.sharing.health_links.tickets import Ticket, Tickets
from node.store import audit
from node.store import health_links as rows
from node.store.engine import Database, Write
from node.store.health_links import AccessOutcome, LinkAccess, LinkSecrets

DEFAULT_EMBEDDED = 256 * 1024  # characters of a file that come in the manifest if nobody says how many
MAX_EMBEDDED = 4 << 20  # and if somebody does
GRID = 0.1  # seconds: answers that a link is over, or none, come on this grid
LINK_BURST, LINK_PER_SECOND = 20, 0.5  # openings of one link
PLACE_BURST, PLACE_PER_SECOND = 60, 2.0  # from one address, which may be a hospital's proxy
_REMEMBERED = 4096
FILES_PATH = f"{MANIFEST_PATH}files/"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who opens a link: what they call themselves, the passcode they give, and their network address."""

    recipient: str = field(repr=False)
    place: str
    passcode: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a manifest: its JWE or, where that is too long, where it is."""

    content_type: str
    embedded: str | None = field(default=None, repr=False)
    location: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is behind a link."""

    files: tuple[ManifestFile, ...]
    long_term: bool


@dataclass(frozen=True, slots=True)
class Download:
    """An encrypted file, and under which link it is read."""

    link_id: HealthLinkId
    jwe: str = field(repr=False)

    @property
    def actor(self) -> str:
        """Who reads it, as the audit log names them."""
        return link_actor(self.link_id)


class Opening:
    """Opens the links of one node."""

    def __init__(
        self, *, db: Database, links: HealthLinks, files: FileMaker, clock: Clock, address: Callable[[], str]
    ) -> None:
        self._db = db
        self._links = links
        self._files = files
        self._clock = clock
        self._address = address
        self._slots = Slots()
        self._tickets = Tickets(clock)
        links.on_ended(self._tickets.end)
        self._one_by_one: weakref.WeakValueDictionary[bytes, asyncio.Lock] = weakref.WeakValueDictionary()
        self._by_link = TokenBuckets(clock, burst=LINK_BURST, per_second=LINK_PER_SECOND, remembered=_REMEMBERED)
        self._by_place = TokenBuckets(clock, burst=PLACE_BURST, per_second=PLACE_PER_SECOND, remembered=_REMEMBERED)

    async def manifest(self, secret: str, visitor: Visitor, embedded: int | None = None) -> Manifest:
        """What is behind the address ``secret``; files of more than ``embedded`` characters get addresses of their own.

        Raises:
            NoSuchHealthLink: no link, or it is over, or it leads to one file.
            WrongPasscode: it says how many attempts are left.
            TooManyOpenings: of this link, from there, or by all together.
        """
        self._spend(secret, visitor.place)
        async with _Grid(self._clock):
            link, key = await self._admitted(secret, visitor, direct=False)
            async with self._slots.one():
                return await self._opened(link, key, visitor, embedded)

    @asynccontextmanager
    async def direct(self, secret: str, visitor: Visitor) -> AsyncIterator[Download]:
        """The one file at the address of a link with the flag U, while it is sent; raises as :meth:`manifest`."""
        self._spend(secret, visitor.place)
        async with self._slots.one():
            async with _Grid(self._clock):
                link, key = await self._admitted(secret, visitor, direct=True)
                studies = await self._links.studies(link)
                jwe = await _sealed(key, await self._files.bundle(link, studies, key))
                async with self._db.write() as tx:
                    await self._record(tx, link, visitor.recipient, studies)
                    await self._record_reads(tx, link, clean_recipient(visitor.recipient), studies)
            yield Download(link.link_id, jwe)

    @asynccontextmanager
    async def file(self, ticket_text: str, place: str) -> AsyncIterator[Download]:
        """A file by its own address, which is used up, while it is sent.

        Raises:
            NoSuchHealthLink: the address is over, or none, or its link is over.
            TooManyOpenings: from there, or by all together.
        """
        if not self._by_place.spend(place):
            raise TooManyOpenings
        async with self._slots.one():
            async with _Grid(self._clock):
                ticket = self._tickets.redeem(ticket_text)
                if ticket is None:
                    raise NoSuchHealthLink
                link = await self._links.get(ticket.link_id)
                async with self._db.read() as rx:
                    key = await rows.key_of(rx, ticket.link_id)
                if key is None or not link.is_alive(self._clock.now()):
                    raise NoSuchHealthLink
                jwe = await self._content(link, key, ticket)
            yield Download(link.link_id, jwe)

    async def require_alive(self, download: Download) -> None:
        """Raises NoSuchHealthLink if the link ended while the file was made: from then on ``on_ended`` tells."""
        if not (await self._links.get(download.link_id)).is_alive(self._clock.now()):
            raise NoSuchHealthLink

    async def _content(self, link: HealthLink, key: bytes, ticket: Ticket) -> str:
        if ticket.content_type == API_ACCESS:
            file, token, expires_at = self._access(link)
            async with self._db.write() as tx:
                await self._still(tx, link)
                await rows.add_token(tx, digest_of(token), link.link_id, expires_at)
        else:
            studies = await self._links.studies(link)
            file = await self._files.bundle(link, studies, key)
            async with self._db.write() as tx:
                await self._still(tx, link)
                await self._record_reads(tx, link, ticket.recipient, studies)
        return await _sealed(key, file)

    async def _still(self, tx: Write, link: HealthLink) -> None:
        """Raises NoSuchHealthLink if the link has ended meanwhile: nothing is handed out after that."""
        if not (await _now(tx, link)).is_alive(self._clock.now()):
            raise NoSuchHealthLink

    def _spend(self, secret: str, place: str) -> None:
        """By the address given, link or none, so that a full bucket tells nothing either."""
        if not self._by_place.spend(place) or not self._by_link.spend(digest_of(secret).hex()):
            raise TooManyOpenings

    async def _admitted(self, secret: str, visitor: Visitor, *, direct: bool) -> tuple[HealthLink, bytes]:
        """The link and its key, for who may open it."""
        digest = digest_of(secret)
        async with self._one_by_one.setdefault(digest, asyncio.Lock()):
            async with self._db.read() as rx:
                found = await rows.look_up(rx, digest)
            if found is None:
                raise NoSuchHealthLink
            link, kept = found
            if link.state(self._clock.now()) is not LinkState.ACTIVE or kept.key is None:
                await self._too_late(link, visitor)
                raise NoSuchHealthLink
            if link.direct is not direct:
                raise NoSuchHealthLink
            if link.has_passcode:
                await self._check_passcode(link, kept, visitor)
        return link, kept.key

    async def _check_passcode(self, link: HealthLink, kept: LinkSecrets, visitor: Visitor) -> None:
        if visitor.passcode is None:
            raise WrongPasscode(link.remaining)  # an application that does not know it needs one: no attempt
        async with self._links.hashing.turn():
            if await self._links.hashing.is_right(kept.passcode, visitor.passcode.encode("utf-8", "replace")):
                return
        raise WrongPasscode((await self._wrong(link, visitor)).remaining)

    async def _wrong(self, link: HealthLink, visitor: Visitor) -> HealthLink:
        """Count a wrong passcode, which perhaps locks the link."""
        now = self._clock.now()
        async with self._db.write() as tx:
            worse = failed(await _now(tx, link), now)
            await rows.set_counts(tx, worse)
            if worse.locked_at is not None:
                await self._links.end_within(tx, link.link_id)
            await self._refused(tx, worse, visitor, AccessOutcome.PASSCODE)
        return worse

    async def _too_late(self, link: HealthLink, visitor: Visitor) -> None:
        async with self._db.write() as tx:
            await self._refused(tx, link, visitor, AccessOutcome.OVER)

    async def _refused(self, tx: Write, link: HealthLink, visitor: Visitor, outcome: AccessOutcome) -> None:
        now, recipient = self._clock.now(), clean_recipient(visitor.recipient)
        await rows.add_access(tx, link.link_id, LinkAccess(now, recipient, outcome))
        detail: dict[str, str | int] = {"link_id": str(link.link_id), "recipient": recipient}
        if outcome is AccessOutcome.PASSCODE:
            detail["remaining"] = link.remaining
        code = WrongPasscode.code if outcome is AccessOutcome.PASSCODE else f"link_{link.state(now).value.lower()}"
        event = AuditEvent(
            AuditType.LINK_REFUSED, now, link_actor(link.link_id), Outcome.REFUSED, patient=link.patient,
            code=code, detail=detail,
        )  # fmt: skip
        await audit.append(tx, event)

    async def _opened(self, link: HealthLink, key: bytes, visitor: Visitor, embedded: int | None) -> Manifest:
        most = min(DEFAULT_EMBEDDED if embedded is None else embedded, MAX_EMBEDDED)
        studies = await self._links.studies(link)
        bundle = await _sealed(key, await self._files.bundle(link, studies, key))
        access, token, expires_at = self._access(link)
        access_jwe = await _sealed(key, access)
        async with self._db.write() as tx:
            await self._record(tx, link, visitor.recipient, studies)
            if len(bundle) <= most:
                await self._record_reads(tx, link, clean_recipient(visitor.recipient), studies)
            if len(access_jwe) <= most:
                await rows.add_token(tx, digest_of(token), link.link_id, expires_at)
        files = ((FHIR_JSON, bundle), (API_ACCESS, access_jwe))
        return Manifest(
            tuple(self._entry(link, kind, jwe, most, visitor) for kind, jwe in files), not link.scope.studies
        )

    def _entry(self, link: HealthLink, content_type: str, jwe: str, most: int, visitor: Visitor) -> ManifestFile:
        if len(jwe) <= most:
            return ManifestFile(content_type, embedded=jwe)
        ticket = self._tickets.issue(link.link_id, content_type, clean_recipient(visitor.recipient))
        return ManifestFile(content_type, location=f"{self._address()}{FILES_PATH}{ticket}")

    def _access(self, link: HealthLink) -> tuple[LinkFile, str, int]:
        """The file with a new token, the token, and when it expires."""
        now, token = self._clock.now(), new_token()
        expires_at = min(now + TOKEN_SECONDS, link.expires_at)
        return access_file(token, expires_at - now, self._address()), token, expires_at

    async def _record(self, tx: Write, link: HealthLink, recipient: str, studies: list[StudySummary]) -> None:
        """Count and note an opening; raises NoSuchHealthLink if the link ended a moment ago."""
        now, called = self._clock.now(), clean_recipient(recipient)
        counted = opened(await _now(tx, link), now)
        await rows.set_counts(tx, counted)
        await rows.add_access(tx, link.link_id, LinkAccess(now, called, AccessOutcome.OPENED))
        detail: dict[str, str | int] = {
            "link_id": str(link.link_id),
            "recipient": called,
            "studies": len(studies),
            "opened": counted.used,
        }
        event = AuditEvent(
            AuditType.LINK_OPENED, now, link_actor(link.link_id), patient=link.patient, purpose=link.purpose.value,
            detail=detail,
        )  # fmt: skip
        await audit.append(tx, event)

    async def _record_reads(self, tx: Write, link: HealthLink, recipient: str, studies: list[StudySummary]) -> None:
        """The bundle tells of these studies and holds their reports."""
        detail = {"what": "reports", "recipient": recipient}
        for study in studies:
            event = AuditEvent(
                AuditType.STUDY_READ, self._clock.now(), link_actor(link.link_id), patient=link.patient,
                study=study.study_instance_uid, purpose=link.purpose.value, detail=detail,
            )  # fmt: skip
            await audit.append(tx, event)


async def _now(tx: Write, link: HealthLink) -> HealthLink:
    """A link as it stands in this transaction: somebody may have taken it back a moment ago."""
    current = await rows.get(tx, link.link_id)
    if current is None:
        raise NoSuchHealthLink
    return current


async def _sealed(key: bytes, file: LinkFile) -> str:
    """In a thread: a bundle with scanned reports takes a tenth of a second."""
    return await asyncio.to_thread(encrypt_file, key, file.body, file.content_type)


class _Grid:
    """Lets NoSuchHealthLink leave only on a grid of time from when its block began."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = 0.0

    async def __aenter__(self) -> None:
        self._began = self._clock.monotonic()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, NoSuchHealthLink):
            elapsed = self._clock.monotonic() - self._began
            await asyncio.sleep(GRID - elapsed % GRID)
