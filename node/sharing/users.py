"""Local users: who may use the API, in which role, by which password."""

import re

from node.clock import Clock
from node.errors.access import (
    InvalidInput,
    InvalidUserName,
    UnknownUser,
    UserExists,
    WeakPassword,
    WrongCredentials,
)
from node.model.access import STAFF, Caller, IssuedSession, Role, User
from node.model.audit import AuditEvent, AuditType, Outcome
from node.sharing.hashing import MAX_PASSWORD, PasswordHashing
from node.sharing.sessions import Sessions
from node.sharing.tokens import Tokens
from node.store import audit
from node.store import sessions as session_rows
from node.store import users as rows
from node.store.engine import Database

MIN_PASSWORD = 12  # bytes
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Users:
    """The users of one node."""

    def __init__(
        self, db: Database, clock: Clock, *, sessions: Sessions, tokens: Tokens, hashing: PasswordHashing
    ) -> None:
        self._db = db
        self._clock = clock
        self._sessions = sessions
        self._tokens = tokens
        self._hashing = hashing

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
        """Shut a user out now: tokens and sessions are gone when this returns. Raises UnknownUser."""
        await self.get(name)
        now = self._clock.now()
        async with self._db.write() as tx:
            await rows.disable_user(tx, name, now)
            await session_rows.end_sessions_of(tx, f"user:{name}")
            await audit.append(tx, _event(AuditType.USER_CHANGED, now, by, name, change="disabled"))
            tx.after_commit(self._tokens.forget)

    async def enable(self, name: str, *, by: str) -> None:
        """Let a disabled user in again, by the password; tokens and sessions stay gone. Raises UnknownUser."""
        await self.get(name)
        async with self._db.write() as tx:
            if await rows.enable_user(tx, name):
                now = self._clock.now()
                await audit.append(tx, _event(AuditType.USER_CHANGED, now, by, name, change="enabled"))

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

    async def change_password(self, caller: Caller, old: bytes, new: bytes) -> IssuedSession:
        """Another password for who knows the old one; all sessions end, and this new one begins.

        Raises:
            LockedOut, WrongCredentials, SignInBusy: as :meth:`sign_in`. WeakPassword: nothing was changed.
        """
        await self._proven(caller.name, old)
        await self.set_password(caller.name, new, by=caller.actor)
        async with self._db.write() as tx:
            return await self._sessions.open(tx, caller)

    async def sign_in(self, name: str, password: bytes) -> IssuedSession:
        """A session for who knows the password; takes as long for a name that nobody has.

        Raises:
            LockedOut: too many attempts have failed a moment ago.
            SignInBusy: too many people sign in at this moment.
            WrongCredentials: no active user of this name has this password.
        """
        caller = await self._proven(name, password)
        async with self._db.write() as tx:
            await session_rows.forget_failures(tx, caller.actor)
            await audit.append(tx, AuditEvent(AuditType.SIGNED_IN, self._clock.now(), caller.actor))
            return await self._sessions.open(tx, caller)

    async def _proven(self, name: str, password: bytes) -> Caller:
        account = f"user:{name}" if _NAME.fullmatch(name) else "user:?"
        async with self._hashing.turn():  # before looking, or a hundred at once would all be heard
            await self._sessions.hear(account)
            async with self._db.read() as rx:
                found = await rows.password_of(rx, name)
            right = await self._hashing.is_right(found[1] if found else None, password)
            if found is not None and right:
                return Caller(account, found[0])
            now = self._clock.now()
            async with self._db.write() as tx:
                await session_rows.add_failure(tx, account, now)
                failed = AuditEvent(AuditType.SIGN_IN_FAILED, now, account, Outcome.REFUSED, code=WrongCredentials.code)
                await audit.append(tx, failed)
            raise WrongCredentials

    async def sign_out(self, caller: Caller, cookie: str) -> None:
        """End the session of this cookie."""
        async with self._db.write() as tx:
            await audit.append(tx, AuditEvent(AuditType.SIGNED_OUT, self._clock.now(), caller.actor))
            await self._sessions.end(tx, cookie)

    async def _hashed(self, password: bytes) -> str:
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise WeakPassword
        return await self._hashing.hashed(password)


def _event(kind: AuditType, at: int, by: str, name: str, **detail: str) -> AuditEvent:
    return AuditEvent(kind, at, actor=by, detail={"user": name, **detail})
