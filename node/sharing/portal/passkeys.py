"""Passkeys of accounts: registering one at enrolment or later, signing in by one, proving once more that it is you.

A challenge is kept here for five minutes, together with what it is for and for whom; it is used once, whatever comes of
it. The browser gets it with a name for the flow, and sends that name back with the answer.
"""

import secrets
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from node.crypto.passkeys import CHALLENGE_BYTES, NewPasskey, RelyingParty, credential_of
from node.errors.access import InvalidInput
from node.errors.portal import LastCredential, PasskeyRefused, PasskeysUnavailable
from node.errors.storage import ConstraintViolated
from node.model.access import IssuedSession, Session
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.portal import AccountId
from node.sharing.portal.accounts import Accounts
from node.sharing.portal.enrolment import Enrolment, account_of, signed_in
from node.sharing.portal.parts import PortalParts
from node.sharing.portal.pending import Pending
from node.store import audit
from node.store import portal as rows
from node.store.engine import Write

CHALLENGE_SECONDS = 5 * 60
MAX_PASSKEYS = 20  # of one account
MAX_NAME = 60  # characters


class Purpose(StrEnum):
    """What a challenge is for; an answer to one for another purpose is none."""

    ENROL = "enrol"
    ADD = "add"
    SIGN_IN = "sign in"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class _Flow:
    purpose: Purpose
    challenge: bytes = field(repr=False)
    subject: str = field(repr=False)  # a ticket, or who is signed in; empty: nobody yet


@dataclass(frozen=True, slots=True)
class Asked:
    """What a browser is given: ``options`` for ``navigator.credentials``, ``flow`` to be sent back."""

    flow: str = field(repr=False)
    options: dict[str, Any] = field(repr=False)


class Passkeys:
    """The passkeys of one node."""

    def __init__(self, parts: PortalParts, enrolment: Enrolment, accounts: Accounts) -> None:
        self._parts = parts
        self._enrolment = enrolment
        self._accounts = accounts
        self._flows: Pending[_Flow] = Pending(parts.clock, CHALLENGE_SECONDS)

    @property
    def available(self) -> bool:
        """Whether the portal's address is one for which browsers make passkeys."""
        try:
            self._party()
        except PasskeysUnavailable:
            return False
        return True

    @property
    def origin(self) -> str:
        """The only origin whose answers hold; raises PasskeysUnavailable."""
        return self._party().origin

    async def ask_enrolment(self, ticket: str) -> Asked:
        """Options for the first passkey of who has a letter. Raises EnrolmentRefused, PasskeysUnavailable."""
        proven = self._enrolment.proven(ticket)
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        options = self._party().registration_options(
            user_id=proven.account.value, user_name=proven.label, challenge=challenge
        )
        return Asked(self._flows.put(_Flow(Purpose.ENROL, challenge, ticket)), options)

    async def enrol(self, ticket: str, flow: str, answer: dict[str, Any], *, name: str, language: str) -> IssuedSession:
        """Keep the first passkey and sign in. Raises EnrolmentRefused, PasskeyRefused: nothing was changed."""
        made = self._registered(flow, Purpose.ENROL, ticket, answer)
        async with self._parts.db.write() as tx:
            account = await self._enrolment.begin(tx, ticket, language)
            await self._add(tx, account, made, checked_label(name))
            issued = await self._enrolment.enter(tx, ticket, account, "passkey")
        self._accounts.verified.note(issued.session)
        return issued

    async def ask_addition(self, session: Session) -> Asked:
        """Options for one more passkey. Raises VerificationNeeded, InvalidInput (too many)."""
        self._accounts.verified.require(session)
        account = account_of(session.caller)
        held = await self._accounts.held(account)
        if len(held.passkeys) >= MAX_PASSKEYS:
            raise InvalidInput("too many passkeys")
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        options = self._party().registration_options(
            user_id=account.value,
            user_name=held.account.sign_in_name or self._parts.facility,
            challenge=challenge,
            known=[one.credential for one in held.passkeys],
        )
        return Asked(self._flows.put(_Flow(Purpose.ADD, challenge, session.caller.actor)), options)

    async def add(self, session: Session, flow: str, answer: dict[str, Any], *, name: str) -> None:
        """Keep one more passkey. Raises VerificationNeeded, PasskeyRefused."""
        self._accounts.verified.require(session)
        account = account_of(session.caller)
        made = self._registered(flow, Purpose.ADD, session.caller.actor, answer)
        async with self._parts.db.write() as tx:
            await self._add(tx, account, made, checked_label(name))
            await self._changed(tx, account, "passkey added")

    async def ask_sign_in(self) -> Asked:
        """Options for signing in; whoever asks is not known yet. Raises PasskeysUnavailable."""
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        options = self._party().authentication_options(challenge=challenge)
        return Asked(self._flows.put(_Flow(Purpose.SIGN_IN, challenge, "")), options)

    async def sign_in(self, flow: str, answer: dict[str, Any], *, place: str) -> IssuedSession:
        """A session for who has the passkey and unlocked it. Raises LockedOut, PasskeyRefused."""
        self._parts.patience.hear(place)
        try:
            account, credential, count = await self._asserted(flow, Purpose.SIGN_IN, "", answer)
        except PasskeyRefused:
            self._parts.patience.failed(place)
            await self._refused()
            raise
        async with self._parts.db.write() as tx:
            await rows.passkey_used(tx, credential, count, self._parts.clock.now())
            issued = await signed_in(tx, self._parts, account, "passkey")
        self._accounts.verified.note(issued.session)
        return issued

    async def ask_verification(self, session: Session) -> Asked:
        """Options for proving once more that it is the account's owner. Raises PasskeyRefused if it has no passkey."""
        held = await self._accounts.held(account_of(session.caller))
        if not held.passkeys:
            raise PasskeyRefused
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        allowed = [one.credential for one in held.passkeys]
        options = self._party().authentication_options(challenge=challenge, allowed=allowed)
        return Asked(self._flows.put(_Flow(Purpose.VERIFY, challenge, session.caller.actor)), options)

    async def verify(self, session: Session, flow: str, answer: dict[str, Any]) -> None:
        """It is them: what needs a fresh proof may be done for some minutes. Raises PasskeyRefused."""
        account, credential, count = await self._asserted(flow, Purpose.VERIFY, session.caller.actor, answer)
        if account != account_of(session.caller):
            raise PasskeyRefused
        async with self._parts.db.write() as tx:
            await rows.passkey_used(tx, credential, count, self._parts.clock.now())
        self._accounts.verified.note(session)

    async def rename(self, session: Session, credential: bytes, name: str) -> None:
        """Call a passkey otherwise. Raises PasskeyRefused if the account has no such one."""
        async with self._parts.db.write() as tx:
            if not await rows.rename_passkey(tx, account_of(session.caller), credential, checked_label(name)):
                raise PasskeyRefused

    async def remove(self, session: Session, credential: bytes) -> None:
        """Remove a passkey. Raises VerificationNeeded, LastCredential, PasskeyRefused."""
        self._accounts.verified.require(session)
        account = account_of(session.caller)
        async with self._parts.db.write() as tx:
            if not await rows.remove_passkey(tx, account, credential):
                raise PasskeyRefused
            left = await rows.get_account(tx, account)
            if left is None or (left.passkeys == 0 and not left.has_passphrase):
                raise LastCredential
            await self._changed(tx, account, "passkey removed")

    def _party(self) -> RelyingParty:
        return RelyingParty.of(self._parts.url(), self._parts.facility)

    def _registered(self, flow: str, purpose: Purpose, subject: str, answer: dict[str, Any]) -> NewPasskey:
        asked = self._take(flow, purpose, subject)
        return self._party().verify_registration(answer, asked.challenge)

    async def _asserted(
        self, flow: str, purpose: Purpose, subject: str, answer: dict[str, Any]
    ) -> tuple[AccountId, bytes, int]:
        asked = self._take(flow, purpose, subject)
        credential = credential_of(answer)
        async with self._parts.db.read() as rx:
            found = await rows.passkey_of(rx, credential)
        if found is None:
            raise PasskeyRefused
        account, public_key, count = found
        new_count = self._party().verify_assertion(answer, asked.challenge, public_key=public_key, sign_count=count)
        return account, credential, new_count

    def _take(self, flow: str, purpose: Purpose, subject: str) -> _Flow:
        asked = self._flows.take(flow)
        if asked is None or asked.purpose is not purpose or asked.subject != subject:
            raise PasskeyRefused
        return asked

    async def _add(self, tx: Write, account: AccountId, made: NewPasskey, name: str) -> None:
        try:
            await rows.add_passkey(tx, account, made, name=name, now=self._parts.clock.now())
        except ConstraintViolated as exc:
            raise PasskeyRefused from exc

    async def _changed(self, tx: Write, account: AccountId, what: str) -> None:
        event = AuditEvent(
            AuditType.PORTAL_CREDENTIALS_CHANGED,
            self._parts.clock.now(),
            f"patient:{account}",
            detail={"change": what},
        )
        await audit.append(tx, event)

    async def _refused(self) -> None:
        event = AuditEvent(
            AuditType.SIGN_IN_FAILED,
            self._parts.clock.now(),
            "patient:?",
            Outcome.REFUSED,
            code=PasskeyRefused.code,
        )
        async with self._parts.db.write() as tx:
            await audit.append(tx, event)


def checked_label(name: str) -> str:
    """What a passkey is called; raises InvalidInput."""
    text = unicodedata.normalize("NFC", name.strip())
    if not text or len(text) > MAX_NAME or not text.isprintable():
        raise InvalidInput("name")
    return text
