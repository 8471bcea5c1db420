"""Alerts by e-mail: who wants to be told, and what of the audit log is worth telling.

Told is what leaves the facility or changes who may see (a release, an opened link, a decision about sharing, a new
way to sign in), not every look of those who treat the patient here. The log is followed from a mark, which moves in the
transaction that counts what is pending: a crash neither loses an alert nor tells it twice.
"""

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace

from node.errors.access import InvalidInput, LockedOut
from node.errors.base import LeveretError
from node.errors.portal import MailUnavailable
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PatientKey
from node.model.portal import AccountId, AlertMode, Mailbox, Relation
from node.sharing.portal.history import KINDS, Kind
from node.sharing.portal.mail import ALERT, CODE, Mailer, MailQueue
from node.sharing.portal.parts import PortalParts
from node.store import audit, audit_about, identity
from node.store import portal as account_rows
from node.store import portal_mail as rows
from node.store import portal_records as record_rows
from node.store.engine import Read, Write
from node.store.portal_mail import Proving

FOLLOW_SECONDS = 5.0
BATCH = 500  # events looked at in one transaction
DAY = 86400
CODE_SECONDS = 30 * 60
CODE_DIGITS = 8
CODE_TRIES = 5
CODES_A_DAY = 6  # to one account's addresses: this is no machine for flooding strangers
BETWEEN_CODES = 60  # seconds
MAX_ADDRESS = 254  # RFC 5321 section 4.5.3.1.3

LOUD = frozenset({
    Kind.SENT, Kind.CAME, Kind.CODE_LOCKED, Kind.CONSENT_GIVEN, Kind.CONSENT_ENDED, Kind.LINK_OPENED, Kind.LINK_REFUSED,
    Kind.LINKED, Kind.WITHDRAWN, Kind.CORRECTED, Kind.RULED, Kind.SIGN_IN_FAILED, Kind.CREDENTIALS, Kind.ACCESS_GIVEN,
    Kind.ACCESS_ENDED, Kind.RESET,
})  # fmt: skip
_TYPES = frozenset(kind for kind, what in KINDS.items() if what in LOUD)
_OWN_TOO = frozenset({AuditType.SIGN_IN_FAILED, AuditType.PORTAL_CREDENTIALS_CHANGED})  # perhaps it was not the owner


@dataclass(frozen=True, slots=True)
class Wish:
    """What an account's owner sees of it. ``waits``: a code was sent and is still good."""

    mailbox: Mailbox | None
    waits: bool


class Alerts:
    """Tells patients that something happened."""

    def __init__(self, parts: PortalParts, mailer: Mailer, queue: MailQueue) -> None:
        self._parts = parts
        self._mailer = mailer
        self._queue = queue

    @property
    def available(self) -> bool:
        """Whether this facility sends e-mail."""
        return self._mailer.enabled

    async def run(self) -> None:
        """Follow the log, queue and send, until cancelled."""
        while True:
            try:
                await self.follow()
                await self.queue()
                await self._queue.flush()
            except LeveretError as error:  # a full disk, say: the mark stays, and it is tried again
                self._parts.log.warning("alerts wait", component="portal-alerts", code=error.code)
            await asyncio.sleep(FOLLOW_SECONDS)

    async def wish(self, account: AccountId) -> Wish:
        """How an account wants to be told."""
        async with self._parts.db.read() as rx:
            mailbox, proof = await rows.mailbox_of(rx, account), await rows.proving(rx, account)
        waits = proof is not None and proof.digest is not None and self._parts.clock.now() < proof.expires_at
        return Wish(mailbox, waits)

    async def choose(self, account: AccountId, address: str, mode: AlertMode) -> bool:
        """Where and when to tell; whether a code was sent there, because the address is new.

        Raises:
            MailUnavailable: this facility sends none. InvalidInput: not an address. LockedOut: too many codes.
        """
        if not self.available:
            raise MailUnavailable
        address, now = address.strip(), self._parts.clock.now()
        async with self._parts.db.write() as tx:
            held = await rows.mailbox_of(tx, account)
            if held is not None and held.verified_at is not None and address in {held.address, ""}:
                await rows.set_mode(tx, account, mode)
                await self._record(tx, account, mode.value)
                return False
            if mode is AlertMode.OFF:
                await rows.forget_mailbox(tx, account)
                return False
            self._check(address, now)
            proof = self._proof(await rows.proving(tx, account), now)
            code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
            box = Mailbox(account, address, mode, None, secrets.token_urlsafe(16))
            await rows.ask_proof(tx, box, replace(proof, digest=_digest(account, code)))
            language = await self._language(tx, account)
            await rows.add_mail(tx, account, kind=CODE, address=address, language=language, now=now, code=code)
        return True

    async def confirm(self, account: AccountId, code: str) -> bool:
        """The code that was sent; whether it is right, in time, and not guessed at too often."""
        now = self._parts.clock.now()
        async with self._parts.db.write() as tx:
            proof = await rows.proving(tx, account)
            if proof is None or proof.digest is None or now >= proof.expires_at or proof.failures >= CODE_TRIES:
                return False
            if not hmac.compare_digest(proof.digest, _digest(account, "".join(code.split()))):
                await rows.count_wrong_code(tx, account)
                return False
            await rows.proved(tx, account, now)
            await self._record(tx, account, "verified")
        return True

    async def stop(self, text: str) -> None:
        """End the mails by what stood in one of them; nobody is told whether there were any."""
        async with self._parts.db.write() as tx:
            account = await rows.account_of_stop(tx, text.strip())
            if account is not None:
                await rows.set_mode(tx, account, AlertMode.OFF)
                await self._record(tx, account, "stopped")

    async def follow(self) -> None:
        """Count what new events of the log mean for whom."""
        async with self._parts.db.read() as rx:
            if await rows.mark(rx) == (await audit.read_edge(rx)).end:
                return
        while True:
            async with self._parts.db.write() as tx:
                end = (await audit.read_edge(tx)).end
                mark = await rows.mark(tx)
                if mark is None or not self.available:  # what was before is no news, and nobody waits for it
                    await rows.set_mark(tx, end)
                    return
                found = await audit_about.after(tx, mark, types=_TYPES, limit=BATCH)
                for row in found:
                    await rows.add_pending(tx, await self._told(tx, row.event))
                is_all = len(found) < BATCH
                after = end if is_all else found[-1].position + 1
                if after != mark:
                    await rows.set_mark(tx, after)
                if is_all:
                    return

    async def queue(self) -> None:
        """Queue a mail for everybody whose time has come."""
        now = self._parts.clock.now()
        each, daily = now - self._parts.settings.alert_minutes * 60, now - DAY
        async with self._parts.db.write() as tx:
            for box in await rows.ripe(tx, each_before=each, daily_before=daily):
                language = await self._language(tx, box.account)
                await rows.add_mail(
                    tx, box.account, kind=ALERT, address=box.address, language=language, now=now, stop=box.stop
                )
                await rows.told(tx, box.account, now)

    async def _told(self, rx: Read, event: AuditEvent) -> set[AccountId]:
        """Whom an event concerns: who stands for its patient, or whose account it is; not who did it."""
        found: set[AccountId] = set()
        patient = await self._patient(rx, event)
        if patient is not None:
            now, is_sensitive = self._parts.clock.now(), await self._is_sensitive(rx, event, patient)
            keys = [patient, *await record_rows.aliases_of(rx, patient)]
            for access in await account_rows.accesses_to(rx, keys):
                if access.is_live(now) and not (is_sensitive and access.relation is Relation.PROXY):
                    found.add(access.account)
        actor = event.actor.removeprefix("patient:")
        with contextlib.suppress(ValueError):
            account = AccountId.parse(actor)
            found = found | {account} if event.type in _OWN_TOO else found - {account}
        return found

    async def _patient(self, rx: Read, event: AuditEvent) -> PatientKey | None:
        if event.study is not None:
            owner = (await audit_about.owners(rx, [event.study])).get(event.study)
            if owner is not None:
                return owner
        return None if event.patient is None else await identity.survivor(rx, event.patient)

    async def _is_sensitive(self, rx: Read, event: AuditEvent, patient: PatientKey) -> bool:
        if event.study is None:
            return False
        studies = await record_rows.studies_of(rx, [patient])
        return any(one.study == event.study and one.facts.is_sensitive for one in studies)

    async def _language(self, rx: Read, account: AccountId) -> str:
        held = await account_rows.get_account(rx, account)
        return held.language if held is not None else ""

    async def _record(self, tx: Write, account: AccountId, what: str) -> None:
        event = AuditEvent(
            AuditType.PORTAL_ALERTS_CHANGED,
            self._parts.clock.now(),
            f"patient:{account}",
            detail={"alerts": what},
        )
        await audit.append(tx, event)

    def _check(self, address: str, now: int) -> None:
        if not 3 <= len(address) <= MAX_ADDRESS or "@" not in address:  # noqa: PLR2004 - a@b
            raise InvalidInput("address")
        try:
            self._mailer.message(address, "-", "-", now)
        except LeveretError as exc:
            raise InvalidInput("address") from exc

    def _proof(self, before: Proving | None, now: int) -> Proving:
        asked = before.asked if before is not None and now - before.asked_at < DAY else 0
        since = now - before.asked_at if before is not None else BETWEEN_CODES
        if asked >= CODES_A_DAY or since < BETWEEN_CODES:
            raise LockedOut(f"{DAY if asked >= CODES_A_DAY else BETWEEN_CODES - since} seconds")
        return Proving(None, now + CODE_SECONDS, 0, now, asked + 1)


def _digest(account: AccountId, code: str) -> bytes:
    return hashlib.sha256(b"leveret/portal-mail/v1\0" + account.value + code.encode()).digest()
