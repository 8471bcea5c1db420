"""Enrolling: a letter with a code, a date of birth, and from then on a passkey or a passphrase.

The code (95 bits and a check character) is in no index but as a digest. Whoever holds the letter must also know when
the patient was born, for letters get lost; the letter is locked after a few wrong dates. Every failure (no such code,
another date, expired, used, locked) has the same words, does the same reads and writes, and leaves at a multiple of a
quarter of a second after it came, so that nobody learns whether a code is one.
"""

import asyncio
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import NoReturn

from node.crypto import sharecode
from node.crypto.sharecode import ShareCode
from node.errors.codes import ShareCodeMalformed
from node.errors.portal import EnrolmentRefused, InvalidPortalOrder, NotInvitable, UnknownAccount, UnknownInvitation
from node.model.access import Caller, IssuedSession, Role
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.model.portal import (
    Access,
    AccessId,
    Account,
    AccountId,
    InvitationState,
    PortalInvitation,
    PortalInvitationId,
    Relation,
    Scope,
    birthday,
    given_name,
)
from node.sharing.portal.parts import PortalParts
from node.sharing.portal.pending import Pending
from node.store import audit, identity
from node.store import portal as rows
from node.store import sessions as session_rows
from node.store.engine import Read, Write
from node.store.portal_records import demographics_of

REFUSAL_GRID = 0.25  # seconds, as for requests of peers
TICKET_SECONDS = 15 * 60  # between proof and credentials: somebody may have to find their phone's settings
DAY = 86400
MAX_INVITATION_DAYS = 365
ADULT_PROXY_DAYS = 365  # a proxy of an adult ends after a year unless the invitation says otherwise
MAX_NAME = 120  # characters of a proxy's name
_LOOKUP = b"leveret/portal-invitation/v1\0"
_NOBODY = PatientKey("", "")


@dataclass(frozen=True, slots=True)
class Letter:
    """A new invitation. This is the only time that its code is known."""

    code: ShareCode = field(repr=False)
    invitation: PortalInvitation
    patient: Demographics
    url: str = field(repr=False)  # what the QR code holds; the code is in the fragment, which no server is told


@dataclass(frozen=True, slots=True)
class Proof:
    """Somebody who has the letter and knows the date of birth. ``ticket`` is good for a quarter of an hour."""

    ticket: str = field(repr=False)
    first_name: str = field(repr=False)  # of the patient
    relation: Relation
    name: str = field(repr=False)  # of a proxy
    is_reset: bool


@dataclass(frozen=True, slots=True)
class Proven:
    """What a ticket stands for: whose credentials may be set."""

    invitation: PortalInvitationId
    account: AccountId
    is_new: bool
    label: str = field(repr=False)  # what a passkey is called on the person's devices
    first_name: str = field(repr=False)
    relation: Relation
    name: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Order:
    """Whom staff invite, to what. ``until`` in seconds since the epoch; None: as the settings say."""

    patient: PatientKey
    relation: Relation = Relation.SELF
    scope: Scope = Scope.SHARE
    name: str = field(default="", repr=False)
    until: int | None = None
    lifetime: int | None = None


class Enrolment:
    """Letters, and what becomes of them."""

    def __init__(self, parts: PortalParts) -> None:
        self._parts = parts
        self._tickets: Pending[Proven] = Pending(parts.clock, TICKET_SECONDS)

    async def invite(self, order: Order, *, by: str) -> Letter:
        """A letter for a patient of the index, or for who acts for them.

        Raises:
            NotInvitable: no study of the patient, or no whole date of birth.
            InvalidPortalOrder: a period, a lifetime or a name that cannot be.
        """
        now = self._parts.clock.now()
        async with self._parts.db.write() as tx:
            patient = await identity.survivor(tx, order.patient)
            said = await self._invitable(tx, patient)
            until = self._access_until(order, said, now)
            return await self._write(tx, order, patient, said, until=until, account=None, by=by)

    async def reset(self, account: Account, *, by: str) -> Letter:
        """Void all credentials of an account, end its sessions, and make a letter that sets new ones.

        Raises:
            UnknownAccount: closed, or it stands for nobody any more. NotInvitable.
        """
        now = self._parts.clock.now()
        async with self._parts.db.write() as tx:
            held = await rows.get_account(tx, account.account_id)
            live = [one for one in await rows.accesses(tx, account.account_id) if one.is_live(now)]
            if held is None or held.closed_at is not None or not live:
                raise UnknownAccount
            await void_credentials(tx, account.account_id, now)
            self._parts.end(tx, account.account_id, by)
            access = live[0]
            patient = await identity.survivor(tx, access.patient)
            said = await self._invitable(tx, patient)
            event = AuditEvent(
                AuditType.PORTAL_ACCOUNT_RESET, now, by, patient=patient, detail={"account": str(account.account_id)}
            )
            await audit.append(tx, event)
            order = Order(patient, access.relation, access.scope, access.name)
            return await self._write(tx, order, patient, said, until=access.until, account=account.account_id, by=by)

    async def withdraw(self, invitation: PortalInvitationId, *, by: str) -> None:
        """Take a letter back; again is as good. Raises UnknownInvitation."""
        now = self._parts.clock.now()
        async with self._parts.db.write() as tx:
            held = await rows.get_invitation(tx, invitation)
            if held is None:
                raise UnknownInvitation
            if await rows.withdraw_invitation(tx, invitation, now):
                event = AuditEvent(
                    AuditType.PORTAL_INVITATION_WITHDRAWN,
                    now,
                    by,
                    patient=held.patient,
                    detail={"invitation": str(invitation)},
                )
                await audit.append(tx, event)

    async def prove(self, code: str, birth_date: str, *, place: str) -> Proof:
        """Whoever has the letter and knows the patient's date of birth (YYYYMMDD) may set credentials.

        Raises:
            LockedOut: too many attempts from this ``place`` (an address) have failed.
            EnrolmentRefused: everything else, and always the same.
        """
        self._parts.patience.hear(place)
        arrived = self._parts.clock.monotonic()
        lookup = _lookup_of(code)
        async with self._parts.db.read() as rx:
            held = await rows.invitation_by(rx, lookup)
            patient = await identity.survivor(rx, held.patient if held else _NOBODY)
            said = await demographics_of(rx, patient)
            account = await rows.get_account(rx, (held and held.account) or AccountId(bytes(AccountId.SIZE)))
        known = said.birth_date if said else ""
        is_right = hmac.compare_digest(known.encode(), birth_date.encode("utf-8", "surrogateescape")) and known != ""
        now = self._parts.clock.now()
        if held is None or said is None or not is_right or held.state(now) is not InvitationState.OPEN:
            await self._refuse(lookup, held, place, arrived)
        return self._proof(held, said, account)

    def proven(self, ticket: str) -> Proven:
        """What a ticket is good for; raises EnrolmentRefused."""
        found = self._tickets.look(ticket)
        if found is None:
            raise EnrolmentRefused
        return found

    def known(self, ticket: str) -> Proof:
        """What was told to whoever got the ticket; raises EnrolmentRefused."""
        found = self.proven(ticket)
        return Proof(ticket, found.first_name, found.relation, found.name, not found.is_new)

    async def begin(self, tx: Write, ticket: str, language: str) -> AccountId:
        """Use the letter up in ``tx``, which also sets the first credential; whose it is.

        Raises:
            EnrolmentRefused: the ticket has run out, or the letter was used or taken back meanwhile.
        """
        proven, now = self.proven(ticket), self._parts.clock.now()
        held = await rows.get_invitation(tx, proven.invitation)
        if held is None or not await rows.use_invitation(tx, proven.invitation, now):
            raise EnrolmentRefused
        if proven.is_new:
            await rows.add_account(tx, proven.account, language, now)
            await give_access(tx, held, proven.account, now)
        else:
            await void_credentials(tx, proven.account, now)
        event = AuditEvent(
            AuditType.PORTAL_ENROLLED,
            now,
            f"patient:{proven.account}",
            patient=held.patient,
            detail={"relation": held.relation.value, "invitation": str(held.invitation_id)},
        )
        await audit.append(tx, event)
        return proven.account

    async def enter(self, tx: Write, ticket: str, account: AccountId, how: str) -> IssuedSession:
        """Signed in, once the first credential stands in the same transaction."""
        tx.after_commit(lambda: self._forget(ticket))
        return await signed_in(tx, self._parts, account, how)

    async def join(self, account: AccountId, code: str, birth_date: str, *, place: str) -> Access:
        """Add the patient of a letter to an account that somebody is signed in to. Raises as :meth:`prove`."""
        proof = await self.prove(code, birth_date, place=place)
        proven, now = self.proven(proof.ticket), self._parts.clock.now()
        self._forget(proof.ticket)
        if not proven.is_new:
            raise EnrolmentRefused  # a letter with new credentials for an account adds nobody to another one
        async with self._parts.db.write() as tx:
            held = await rows.get_invitation(tx, proven.invitation)
            if held is None or not await rows.use_invitation(tx, proven.invitation, now):
                raise EnrolmentRefused
            return await give_access(tx, held, account, now)

    def _forget(self, ticket: str) -> None:
        self._tickets.take(ticket)

    def _proof(self, held: PortalInvitation, said: Demographics, account: Account | None) -> Proof:
        first_name = given_name(said.name)
        label = (account.sign_in_name if account else "") or held.name or first_name or self._parts.facility
        made, is_new = held.account or AccountId.new(), held.account is None
        proven = Proven(held.invitation_id, made, is_new, label, first_name, held.relation, held.name)
        return self.known(self._tickets.put(proven))

    async def _refuse(self, lookup: bytes, held: PortalInvitation | None, place: str, arrived: float) -> NoReturn:
        now = self._parts.clock.now()
        self._parts.patience.failed(place)
        async with self._parts.db.write() as tx:
            await rows.count_failure(tx, lookup, at=now, limit=self._parts.settings.birth_date_failures)
            event = AuditEvent(
                AuditType.PORTAL_ENROLMENT_FAILED,
                now,
                "patient:?",
                Outcome.REFUSED,
                patient=held.patient if held else None,
                code=EnrolmentRefused.code,
            )
            await audit.append(tx, event)
        elapsed = self._parts.clock.monotonic() - arrived
        await asyncio.sleep(REFUSAL_GRID - elapsed % REFUSAL_GRID)
        raise EnrolmentRefused

    async def _invitable(self, rx: Read, patient: PatientKey) -> Demographics:
        said = await demographics_of(rx, patient)
        if said is None or birthday(said.birth_date, 0) is None:
            raise NotInvitable
        return said

    def _access_until(self, order: Order, said: Demographics, now: int) -> int | None:
        if order.relation is Relation.SELF:
            if order.until is not None:
                raise InvalidPortalOrder("only who acts for somebody does so until a day")
            return None
        if not order.name.strip() or len(order.name) > MAX_NAME or not order.name.isprintable():
            raise InvalidPortalOrder("the name of who acts for the patient")
        age = self._parts.settings.proxy_until_age
        grown = birthday(said.birth_date, age) if age else None
        until = order.until or (grown if grown and grown > now else now + ADULT_PROXY_DAYS * DAY)
        if until <= now:
            raise InvalidPortalOrder("the period has ended already")
        return until

    async def _write(
        self,
        tx: Write,
        order: Order,
        patient: PatientKey,
        said: Demographics,
        *,
        until: int | None,
        account: AccountId | None,
        by: str,
    ) -> Letter:
        now = self._parts.clock.now()
        lifetime = self._parts.settings.invitation_days * DAY if order.lifetime is None else order.lifetime
        if not 0 < lifetime <= MAX_INVITATION_DAYS * DAY:
            raise InvalidPortalOrder("how long the letter is good")
        code = sharecode.generate()
        made = PortalInvitation(
            PortalInvitationId.new(),
            patient,
            order.relation,
            order.scope,
            order.name.strip(),
            until,
            account,
            now,
            by,
            now + lifetime,
        )
        await rows.add_invitation(tx, made, _digest(code))
        detail = {"invitation": str(made.invitation_id), "relation": made.relation.value, "scope": made.scope.value}
        await audit.append(tx, AuditEvent(AuditType.PORTAL_INVITED, now, by, patient=patient, detail=detail))
        return Letter(code, made, said, f"{self._parts.url()}/portal/enrol#{code.text}")


async def give_access(tx: Write, held: PortalInvitation, account: AccountId, now: int) -> Access:
    """What a letter promised; an older access of this account to the same patient ends with it."""
    for old in await rows.accesses(tx, account):
        if old.patient == held.patient and old.ended_at is None:
            await rows.end_access(tx, old.access_id, now)
    access = Access(
        AccessId.new(),
        account,
        held.patient,
        held.relation,
        held.scope,
        held.name,
        now,
        held.access_until,
        held.created_by,
    )
    await rows.add_access(tx, access)
    detail: dict[str, str | int] = {
        "access": str(access.access_id),
        "account": str(account),
        "relation": access.relation.value,
        "scope": access.scope.value,
        "name": access.name,
    }
    event = AuditEvent(AuditType.PORTAL_ACCESS_GIVEN, now, held.created_by, patient=held.patient, detail=detail)
    await audit.append(tx, event)
    return access


async def void_credentials(tx: Write, account: AccountId, now: int) -> None:
    """Nothing signs in to the account any more, and nobody is signed in; open letters for it are void."""
    await rows.clear_passphrase(tx, account)
    await rows.clear_passkeys(tx, account)
    await rows.withdraw_invitations_of(tx, account, now)
    await session_rows.end_sessions_of(tx, f"patient:{account}")
    await session_rows.forget_failures(tx, f"patient:{account}")


async def signed_in(tx: Write, parts: PortalParts, account: AccountId, how: str) -> IssuedSession:
    """A session, on record. ``how``: passkey, passphrase."""
    actor = f"patient:{account}"
    await audit.append(tx, AuditEvent(AuditType.SIGNED_IN, parts.clock.now(), actor, detail={"how": how}))
    return await parts.sessions.open(tx, Caller(actor, Role.PATIENT))


def account_of(caller: Caller) -> AccountId:
    """The account of a caller in the portal; raises UnknownAccount."""
    try:
        return AccountId.parse(caller.actor.removeprefix("patient:"))
    except ValueError as exc:
        raise UnknownAccount from exc


def _lookup_of(text: str) -> bytes:
    """The digest of a typed code; of what is no code, one that no letter has."""
    try:
        return _digest(sharecode.parse(text))
    except ShareCodeMalformed:
        return hashlib.sha256(_LOOKUP).digest()


def _digest(code: ShareCode) -> bytes:
    return hashlib.sha256(_LOOKUP + code.text.encode()).digest()
