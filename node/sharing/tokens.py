"""Bearer tokens of local users: what programs show instead of a password, and how little each may be good for."""

import hashlib
import secrets
from collections import OrderedDict

from node.clock import Clock
from node.errors.access import Unauthenticated, UnknownToken, UnknownUser, UserDisabled
from node.model.access import Caller, IssuedToken, Scope, Token
from node.model.audit import AuditEvent, AuditType
from node.store import audit
from node.store import tokens as rows
from node.store import users as user_rows
from node.store.engine import Database

TOKEN_PREFIX = "lvt_"  # noqa: S105 - lets secret scanners recognise a leaked token
TOKEN_BYTES = 32
TOKEN_SECONDS = 365 * 86400
_MAX_TOKEN_TEXT = 128  # characters: longer is no token of ours and is not hashed
_CACHED = 1024  # tokens whose user is remembered in memory
_USED_EVERY = 3600  # seconds between two notes that a token is in use


class Tokens:
    """The tokens of one node."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        # Digest -> (caller, expiry, when its use is noted anew). A viewer sends hundreds of requests with one token.
        self._known: OrderedDict[bytes, tuple[Caller, int, int]] = OrderedDict()
        self._changes = 0  # a lookup that was under way during a change must not enter the memory

    async def issue(
        self,
        name: str,
        *,
        by: str,
        seconds: int = TOKEN_SECONDS,
        scopes: frozenset[Scope] = frozenset(),
        label: str = "",
    ) -> IssuedToken:
        """A new token for an active user; older ones stay good. No ``scopes``: whatever the user's role may do.

        Raises:
            UnknownUser, UserDisabled.
        """
        text, now = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES), self._clock.now()
        digest, expires_at = _digest(text), now + seconds
        async with self._db.write() as tx:
            user = await user_rows.get_user(tx, name, now)
            if user is None:
                raise UnknownUser
            if user.disabled_at is not None:
                raise UserDisabled
            token = Token(rows.id_of(digest), label, scopes, now, expires_at, None)
            await rows.add_token(tx, name, digest, token)
            detail = {"user": name, "token": token.token_id, "scopes": ",".join(sorted(scopes)) or "all"}
            await audit.append(tx, AuditEvent(AuditType.TOKEN_ISSUED, now, by, detail=detail))
        return IssuedToken(text, token)

    async def of(self, name: str) -> list[Token]:
        """The good tokens of a user, newest first. Raises UnknownUser."""
        now = self._clock.now()
        async with self._db.read() as rx:
            if await user_rows.get_user(rx, name, now) is None:
                raise UnknownUser
            return await rows.tokens_of(rx, name, now)

    async def revoke(self, name: str, token_id: str, *, by: str) -> None:
        """One token is void when this returns. Raises UnknownToken."""
        now = self._clock.now()
        async with self._db.write() as tx:
            if not await rows.remove_token(tx, name, token_id):
                raise UnknownToken
            detail = {"user": name, "token": token_id}
            await audit.append(tx, AuditEvent(AuditType.TOKEN_REVOKED, now, by, detail=detail))
            tx.after_commit(self.forget)

    async def by_token(self, text: str) -> Caller:
        """Whose token this is.

        Raises:
            Unauthenticated: no such token, it expired, or its user is disabled.
        """
        if len(text) > _MAX_TOKEN_TEXT:
            raise Unauthenticated
        digest, now = _digest(text), self._clock.now()
        known = self._known.get(digest)
        if known is not None and now < min(known[1], known[2]):
            self._known.move_to_end(digest)
            return known[0]
        changes = self._changes
        async with self._db.read() as rx:
            found = await rows.user_of_token(rx, digest, now)
        if found is None:
            raise Unauthenticated
        name, role, token = found
        if token.used_at is None or now - token.used_at >= _USED_EVERY:
            async with self._db.write() as tx:
                await rows.used(tx, digest, now)
        caller = Caller(f"user:{name}", role, token.scopes or None)
        if changes == self._changes:
            self._known[digest] = (caller, token.expires_at, now + _USED_EVERY)
        while len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return caller

    def forget(self) -> None:
        """A user or a token has changed: look everything up again."""
        self._changes += 1
        self._known.clear()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
