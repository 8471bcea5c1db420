"""Browser sessions: who is signed in, until when; and how long after failed attempts the next one is heard."""

import hashlib
import secrets

from node.clock import Clock
from node.errors.access import LockedOut, Unauthenticated
from node.errors.vault import PortalClosed
from node.model.access import Caller, IssuedSession, Role, Session
from node.store import restored
from node.store import sessions as rows
from node.store.engine import Database, Write

COOKIE_BYTES = 32
STAFF_SECONDS = 12 * 3600  # a long shift
VISITOR_SECONDS = 3600  # patients and recipients of links, perhaps at somebody else's computer
IDLE_SECONDS = 30 * 60
_SEEN_EVERY = 60  # seconds between two notes that a session is in use
_MAX_COOKIE_TEXT = 128  # characters: longer is no cookie of ours and is not hashed

FREE_FAILURES = 5  # attempts that may fail without a wait
FIRST_WAIT = 30  # seconds after the next one; doubles each time
LONGEST_WAIT = 15 * 60  # so that nobody can shut somebody else out for good


class Sessions:
    """The sessions of one node."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def open(self, tx: Write, caller: Caller) -> IssuedSession:
        """A new session in ``tx``, the transaction that records the sign-in. Earlier ones stay.

        Raises:
            PortalClosed: a patient, while a restored node waits for a person: who may act for whom is as it was.
        """
        if caller.role is Role.PATIENT and await restored.is_under_review(tx):
            raise PortalClosed
        text, csrf = secrets.token_urlsafe(COOKIE_BYTES), secrets.token_urlsafe(COOKIE_BYTES)
        now = self._clock.now()
        seconds = VISITOR_SECONDS if caller.role in {Role.PATIENT, Role.RECIPIENT} else STAFF_SECONDS
        session = Session(caller, csrf, now + seconds)
        await rows.add_session(tx, _digest(text), session, now)
        return IssuedSession(text, session)

    async def by_cookie(self, text: str) -> Session:
        """Whose session this is.

        Raises:
            Unauthenticated: no such session, or it has ended.
        """
        if len(text) > _MAX_COOKIE_TEXT:
            raise Unauthenticated
        digest, now = _digest(text), self._clock.now()
        async with self._db.read() as rx:
            found = await rows.session_of(rx, digest, now, IDLE_SECONDS)
        if found is None:
            raise Unauthenticated
        actor, role, csrf, seen_at, expires_at = found
        if now - seen_at >= _SEEN_EVERY:
            async with self._db.write() as tx:
                await rows.seen(tx, digest, now)
        return Session(Caller(actor, role), csrf, expires_at)

    async def close(self, text: str) -> None:
        """End a session; one that is not there stays so."""
        async with self._db.write() as tx:
            await self.end(tx, text)

    async def end(self, tx: Write, text: str) -> None:
        """The same in ``tx``, which records that somebody signed out."""
        await rows.end_session(tx, _digest(text))

    async def hear(self, account: str) -> None:
        """Let an attempt to sign in begin; raises LockedOut if too many have failed a short while ago."""
        async with self._db.read() as rx:
            failures, last_at = await rows.failures_of(rx, account)
        wait = wait_after(failures) - (self._clock.now() - last_at)
        if wait > 0:
            raise LockedOut(f"{wait} seconds")


def wait_after(failures: int) -> int:
    """Seconds for which no attempt is heard after so many failed ones."""
    if failures < FREE_FAILURES:
        return 0
    doubled = min(failures - FREE_FAILURES, 10)  # 2**10 times 30 s is far beyond the longest wait
    return min(FIRST_WAIT << doubled, LONGEST_WAIT)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
