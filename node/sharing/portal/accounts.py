"""Accounts: signing in by passphrase, changing credentials, closing; and what staff see of them.

An account that does not exist, one without a passphrase, one that is closed and a wrong passphrase are told apart by
nobody outside: the same words, one argon2id each, the same rows written. Failed attempts are counted by what was typed
as a name, known or not, so that a lock-out tells nothing either.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from node.errors.portal import LastCredential, SignInNameTaken, SignInRefused, UnknownAccount, VerificationNeeded
from node.errors.storage import ConstraintViolated
from node.model.access import Caller, IssuedSession, Session
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.ids import PatientKey
from node.model.portal import Access, Account, AccountId, Passkey, PortalInvitation
from node.sharing.portal.credentials import checked_name, checked_passphrase, fold_name, passphrase_bytes
from node.sharing.portal.enrolment import Enrolment, account_of, signed_in, void_credentials
from node.sharing.portal.parts import PortalParts
from node.sharing.portal.pending import Pending
from node.store import audit, portal_mail
from node.store import portal as rows
from node.store import sessions as session_rows
from node.store.engine import Write

FORGOTTEN_SECONDS = 86400  # after which failed attempts with a name count no more
_COUNTERS = "patient-name:"
FRESH_SECONDS = 10 * 60  # how long a proof that it is still the same person counts


@dataclass(frozen=True, slots=True)
class Held:
    """An account with all that its owner sees of it."""

    account: Account
    passkeys: tuple[Passkey, ...]
    accesses: tuple[Access, ...]


class Verified:
    """Sessions in which the person proved a moment ago that it is them (step-up); each for ten minutes."""

    def __init__(self, parts: PortalParts) -> None:
        self._until: Pending[bool] = Pending(parts.clock, FRESH_SECONDS)

    def note(self, session: Session) -> None:
        """It is them."""
        self._until.keep(session.csrf, True)

    def is_fresh(self, session: Session | None) -> bool:
        """Whether that was a moment ago."""
        return session is not None and self._until.look(session.csrf) is not None

    def require(self, session: Session | None) -> None:
        """Raises VerificationNeeded unless it was."""
        if not self.is_fresh(session):
            raise VerificationNeeded


class Accounts:
    """The accounts of one node."""

    def __init__(self, parts: PortalParts, enrolment: Enrolment) -> None:
        self._parts = parts
        self._enrolment = enrolment
        self.verified = Verified(parts)

    def on_ended(self, callback: Callable[[str], None]) -> None:
        """Call back with the actor of each account that may do less than a moment ago: reset, closed, access ended."""
        self._parts.ended.append(callback)

    def now(self) -> int:
        """The moment by which letters and accesses are judged."""
        return self._parts.clock.now()

    async def enrol(self, ticket: str, name: str, passphrase: str, *, language: str) -> IssuedSession:
        """Set the first sign-in name and passphrase of who proved to have a letter, and sign them in.

        Raises:
            EnrolmentRefused, InvalidSignInName, SignInNameTaken, WeakPassword: nothing was changed.
        """
        self._enrolment.proven(ticket)
        shown = checked_name(name)
        stored = await self._parts.hashing.hashed(checked_passphrase(passphrase, name, self._parts.facility))
        async with self._parts.db.write() as tx:
            account = await self._enrolment.begin(tx, ticket, language)
            await self._set(tx, account, shown, stored)
            issued = await self._enrolment.enter(tx, ticket, account, "passphrase")
        self.verified.note(issued.session)
        return issued

    async def sign_in(self, name: str, passphrase: str, *, place: str) -> IssuedSession:
        """A session for who knows the passphrase.

        Raises:
            LockedOut: too many attempts, with this name or from this place, have failed a moment ago.
            SignInBusy: too many people sign in at this moment.
            SignInRefused: everything else, and always the same.
        """
        self._parts.patience.hear(place)
        key = _counter(name)
        async with self._parts.hashing.turn():  # before looking, or a hundred at once would all be heard
            await self._parts.sessions.hear(key)
            async with self._parts.db.read() as rx:
                found = await rows.secret_of(rx, fold_name(name))
            right = await self._parts.hashing.is_right(found[1] if found else None, passphrase_bytes(passphrase))
            if found is None or not right:
                self._parts.patience.failed(place)
                await self._failed(key, found[0] if found else None)
        async with self._parts.db.write() as tx:
            await session_rows.forget_failures(tx, key)
            issued = await signed_in(tx, self._parts, found[0], "passphrase")
        self.verified.note(issued.session)
        return issued

    async def sign_out(self, caller: Caller, cookie: str) -> None:
        """End a session."""
        async with self._parts.db.write() as tx:
            await audit.append(tx, AuditEvent(AuditType.SIGNED_OUT, self._parts.clock.now(), caller.actor))
            await self._parts.sessions.end(tx, cookie)

    async def verify(self, session: Session, passphrase: str) -> None:
        """The person at the screen proves by the passphrase that it is them.

        Raises:
            LockedOut, SignInBusy, SignInRefused: they did not.
        """
        account = account_of(session.caller)
        async with self._parts.db.read() as rx:
            found = await rows.passphrase_of(rx, account)
        key = _counter(found[0]) if found else session.caller.actor
        async with self._parts.hashing.turn():
            await self._parts.sessions.hear(key)
            if not await self._parts.hashing.is_right(found[1] if found else None, passphrase_bytes(passphrase)):
                await self._failed(key, account)
        async with self._parts.db.write() as tx:
            await session_rows.forget_failures(tx, key)
        self.verified.note(session)

    async def held(self, account: AccountId) -> Held:
        """All of an account; raises UnknownAccount."""
        async with self._parts.db.read() as rx:
            found = await rows.get_account(rx, account)
            if found is None:
                raise UnknownAccount
            keys, accesses = await rows.passkeys(rx, account), await rows.accesses(rx, account)
        return Held(found, tuple(keys), tuple(accesses))

    async def set_passphrase(self, session: Session, name: str, passphrase: str) -> None:
        """Another sign-in name and passphrase; other sessions of the account end.

        Raises:
            VerificationNeeded, InvalidSignInName, SignInNameTaken, WeakPassword: nothing was changed.
        """
        self.verified.require(session)
        account, shown = account_of(session.caller), checked_name(name)
        stored = await self._parts.hashing.hashed(checked_passphrase(passphrase, name, self._parts.facility))
        async with self._parts.db.write() as tx:
            await self._set(tx, account, shown, stored)
            await session_rows.end_other_sessions(tx, session)
            await self._changed(tx, account, "passphrase")

    async def remove_passphrase(self, session: Session) -> None:
        """Sign in by passkey alone. Raises VerificationNeeded, LastCredential."""
        self.verified.require(session)
        account = account_of(session.caller)
        async with self._parts.db.write() as tx:
            if not await rows.passkeys(tx, account):
                raise LastCredential
            await rows.clear_passphrase(tx, account)
            await self._changed(tx, account, "passphrase removed")

    async def close(self, account: AccountId, *, by: str) -> None:
        """Nobody signs in any more, at once and for good. What the account shared stays until it is taken back.

        Raises:
            UnknownAccount: there is none, or it is closed.
        """
        now = self._parts.clock.now()
        async with self._parts.db.write() as tx:
            found = await rows.get_account(tx, account)
            if found is None or found.closed_at is not None:
                raise UnknownAccount
            patients: list[PatientKey | None] = [
                one.patient for one in await rows.accesses(tx, account) if one.is_live(now)
            ]
            await void_credentials(tx, account, now)
            await rows.close_account(tx, account, now)
            await portal_mail.forget_mailbox(tx, account)
            self._parts.end(tx, account, by)
            for patient in patients or [None]:
                event = AuditEvent(
                    AuditType.PORTAL_ACCOUNT_CLOSED, now, by, patient=patient, detail={"account": str(account)}
                )
                await audit.append(tx, event)

    async def page(self, *, by: str) -> tuple[list[Held], list[PortalInvitation]]:
        """All accounts and letters, newest first, for staff; on record."""
        async with self._parts.db.read() as rx:
            accesses, letters = await rows.all_accesses(rx), await rows.invitations(rx)
            accounts = [Held(a, (), tuple(accesses.get(a.account_id, ()))) for a in await rows.accounts(rx)]
        await self._was_read(by, None, len(accounts), len(letters))
        return accounts, letters

    async def of_patient(
        self, patients: tuple[PatientKey, ...], *, by: str
    ) -> tuple[list[tuple[Account, Access]], list[PortalInvitation]]:
        """Who stands for a patient, and the patient's letters, for staff; on record."""
        async with self._parts.db.read() as rx:
            found = []
            for access in await rows.accesses_to(rx, patients):
                account = await rows.get_account(rx, access.account)
                if account is not None:
                    found.append((account, access))
            letters = [one for patient in patients for one in await rows.invitations(rx, patient=patient)]
        await self._was_read(by, patients[0], len(found), len(letters))
        return found, letters

    async def _was_read(self, by: str, patient: PatientKey | None, accounts: int, letters: int) -> None:
        event = AuditEvent(
            AuditType.PORTAL_ACCOUNTS_READ,
            self._parts.clock.now(),
            by,
            patient=patient,
            detail={"accounts": accounts, "letters": letters},
        )
        async with self._parts.db.write() as tx:
            await audit.append(tx, event)

    async def _set(self, tx: Write, account: AccountId, shown: str, stored: str) -> None:
        folded = fold_name(shown)
        owner = await rows.name_owner(tx, folded)
        if owner is not None and owner != account:
            raise SignInNameTaken
        try:
            await rows.set_passphrase(tx, account, shown, folded, stored)
        except ConstraintViolated as exc:
            raise SignInNameTaken from exc

    async def _changed(self, tx: Write, account: AccountId, what: str) -> None:
        event = AuditEvent(
            AuditType.PORTAL_CREDENTIALS_CHANGED,
            self._parts.clock.now(),
            f"patient:{account}",
            detail={"change": what},
        )
        await audit.append(tx, event)

    async def _failed(self, key: str, account: AccountId | None) -> NoReturn:
        now = self._parts.clock.now()
        actor = f"patient:{account}" if account else "patient:?"
        async with self._parts.db.write() as tx:
            await session_rows.forget_old_failures(tx, _COUNTERS, now - FORGOTTEN_SECONDS)
            await session_rows.add_failure(tx, key, now)
            event = AuditEvent(AuditType.SIGN_IN_FAILED, now, actor, Outcome.REFUSED, code=SignInRefused.code)
            await audit.append(tx, event)
        raise SignInRefused


def _counter(name: str) -> str:
    """Under which name failures of a sign-in name are counted: known or not, and not the name itself."""
    return f"{_COUNTERS}{hashlib.sha256(fold_name(name).encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"
