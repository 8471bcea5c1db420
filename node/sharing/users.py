"""Local users: who may use the API, in which role, by which token."""

import asyncio
import hashlib
import re
import secrets
from collections import OrderedDict

from node.clock import Clock
from node.crypto.passwords import hash_password, password_is
from node.errors.access import (
    InvalidInput,
    InvalidUserName,
    Unauthenticated,
    UnknownUser,
    UserDisabled,
    UserExists,
    WeakPassword,
    WrongCredentials,
)
from node.model.access import STAFF, Caller, IssuedSession, IssuedToken, Role, User
from node.model.audit import AuditEvent, AuditType, Outcome
from node.sharing.sessions import Sessions
from node.store import audit
from node.store import sessions as session_rows
from node.store import users as rows
from node.store.engine import Database

TOKEN_PREFIX = "lvt_"  # noqa: S105 - lets secret scanners recognise a leaked token
TOKEN_BYTES = 32
TOKEN_SECONDS = 365 * 86400
MIN_PASSWORD = 12  # bytes
MAX_PASSWORD = 1024  # bytes: argon2id reads all of it
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_TOKEN_TEXT = 128  # characters: longer is no token of ours and is not hashed
_HASHING = 2  # passwords checked at once: each takes 64 MiB
_CACHED = 1024  # tokens whose user is remembered in memory


class Users:
    """The users of one node."""

    def __init__(self, db: Database, clock: Clock, sessions: Sessions) -> None:
        self._db = db
        self._sessions = sessions
        self._hashing = asyncio.Semaphore(_HASHING)
        self._clock = clock
        # Digest -> (caller, expiry). A viewer sends hundreds of requests with one token. Emptied on every change.
        self._known: OrderedDict[bytes, tuple[Caller, int]] = OrderedDict()
        self._changes = 0  # a lookup that was under way during a change must not enter the memory

    async def add(self, name: str, role: Role, password: bytes | None, *, by: str) -> User:
        """Add an active user.

        Raises:
            InvalidInput, InvalidUserName, UserExists, WeakPassword: nothing was changed.
        """
        if role not in STAFF:
            raise InvalidInput("role")
        if not _NAME.fullmatch(name):
            raise InvalidUserName
        stored = None if password is None else await self._hashed(password)
        now = self._clock.now()
        async with self._db.write() as tx:
            if not await rows.add_user(tx, name, role, stored, now):
                raise UserExists
            await audit.append(tx, _event(AuditType.USER_CHANGED, now, by, name, change="added", role=role.value))
        return User(name, role, now, None, 0)

    async def list(self) -> list[User]:
        """All users by name, disabled ones too."""
        async with self._db.read() as rx:
            return await rows.all_users(rx, self._clock.now())

    async def get(self, name: str) -> User:
        """One user; raises UnknownUser."""
        async with self._db.read() as rx:
            user = await rows.get_user(rx, name, self._clock.now())
        if user is None:
            raise UnknownUser
        return user

    async def disable(self, name: str, *, by: str) -> None:
        """Shut a user out now: its tokens are gone when this returns. Raises UnknownUser."""
        await self.get(name)
        now = self._clock.now()
        async with self._db.write() as tx:
            await rows.disable_user(tx, name, now)
            await session_rows.end_sessions_of(tx, f"user:{name}")
            await audit.append(tx, _event(AuditType.USER_CHANGED, now, by, name, change="disabled"))
            tx.after_commit(self._forget)

    async def set_password(self, name: str, password: bytes, *, by: str) -> None:
        """Another password for a user, whose sessions end and whose failed attempts are forgotten; tokens stay good.

        Raises:
            UnknownUser, WeakPassword: nothing was changed.
        """
        await self.get(name)
        stored, now, actor = await self._hashed(password), self._clock.now(), f"user:{name}"
        async with self._db.write() as tx:
            await rows.set_password(tx, name, stored)
            await session_rows.end_sessions_of(tx, actor)
            await session_rows.forget_failures(tx, actor)
            await audit.append(tx, _event(AuditType.USER_CHANGED, now, by, name, change="password"))

    async def sign_in(self, name: str, password: bytes) -> IssuedSession:
        """A session for who knows the password; takes as long for a name that nobody has.

        Raises:
            LockedOut: too many attempts have failed a moment ago.
            WrongCredentials: no active user of this name has this password.
        """
        account = f"user:{name}" if _NAME.fullmatch(name) else "user:?"
        await self._sessions.hear(account)
        async with self._db.read() as rx:
            found = await rows.password_of(rx, name)
        async with self._hashing:
            right = len(password) <= MAX_PASSWORD and await asyncio.to_thread(
                password_is, found[1] if found else None, password
            )
        now = self._clock.now()
        if found is None or not right:
            async with self._db.write() as tx:
                await session_rows.add_failure(tx, account, now)
                failed = AuditEvent(AuditType.SIGN_IN_FAILED, now, account, Outcome.REFUSED, code=WrongCredentials.code)
                await audit.append(tx, failed)
            raise WrongCredentials
        async with self._db.write() as tx:
            await session_rows.forget_failures(tx, account)
            await audit.append(tx, AuditEvent(AuditType.SIGNED_IN, now, account))
            return await self._sessions.open(tx, Caller(account, found[0]))

    async def sign_out(self, caller: Caller, cookie: str) -> None:
        """End the session of this cookie."""
        async with self._db.write() as tx:
            await audit.append(tx, AuditEvent(AuditType.SIGNED_OUT, self._clock.now(), caller.actor))
        await self._sessions.close(cookie)

    async def _hashed(self, password: bytes) -> str:
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise WeakPassword
        async with self._hashing:
            return await asyncio.to_thread(hash_password, password)

    async def issue_token(self, name: str, *, by: str, seconds: int = TOKEN_SECONDS) -> IssuedToken:
        """A new bearer token for an active user; older ones stay good. Raises UnknownUser, UserDisabled."""
        if (await self.get(name)).disabled_at is not None:
            raise UserDisabled
        text = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        now = self._clock.now()
        expires_at = now + seconds
        async with self._db.write() as tx:
            await rows.add_token(tx, name, _digest(text), now, expires_at)
            await audit.append(tx, _event(AuditType.TOKEN_ISSUED, now, by, name))
        return IssuedToken(text, expires_at)

    async def by_token(self, text: str) -> Caller:
        """Whose token this is.

        Raises:
            Unauthenticated: no such token, it expired, or its user is disabled.
        """
        if len(text) > _MAX_TOKEN_TEXT:
            raise Unauthenticated
        digest, now = _digest(text), self._clock.now()
        if (known := self._known.get(digest)) is not None and known[1] > now:
            self._known.move_to_end(digest)
            return known[0]
        changes = self._changes
        async with self._db.read() as rx:
            found = await rows.user_of_token(rx, digest, now)
        if found is None:
            raise Unauthenticated
        name, role, expires_at = found
        caller = Caller(f"user:{name}", role)
        if changes == self._changes:
            self._known[digest] = (caller, expires_at)
        while len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return caller

    def _forget(self) -> None:
        self._changes += 1
        self._known.clear()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _event(kind: AuditType, at: int, by: str, name: str, **detail: str) -> AuditEvent:
    return AuditEvent(kind, at, actor=by, detail={"user": name, **detail})
