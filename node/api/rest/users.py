"""Local users and what they sign in with."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import Window, cut
from node.api.rest.access import OPERATION, OVERSIGHT
from node.api.routing import Call, Route
from node.errors.access import UserDisabled
from node.model.access import Role, Scope, Token, User
from node.sharing.tokens import TOKEN_SECONDS, Tokens
from node.sharing.users import Users

_MAX_TOKEN_SECONDS = 10 * 366 * 86400
MAX_LABEL = 100


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to add; without a password it has tokens only."""

    name: Annotated[str, msgspec.Meta(max_length=64)]
    role: Role
    password: Annotated[str, msgspec.Meta(max_length=1024)] | None = None


class NewPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another password; all sessions of the user end."""

    password: Annotated[str, msgspec.Meta(max_length=1024)]


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a token is to be good, in seconds; for what (nothing named: all that the role may); why it is made."""

    expires_in: Annotated[int, msgspec.Meta(ge=1, le=_MAX_TOKEN_SECONDS)] = TOKEN_SECONDS
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(max_length=len(Scope))] = ()
    label: Annotated[str, msgspec.Meta(max_length=MAX_LABEL)] = ""


class ShownUser(msgspec.Struct, frozen=True):
    """A user. A disabled one stays, because the audit log refers to the name."""

    name: str
    role: Role
    created_at: int
    disabled_at: int | None
    tokens: int


class ShownUsers(msgspec.Struct, frozen=True):
    """All users by name."""

    users: list[ShownUser]
    next: str | None


class ShownToken(msgspec.Struct, frozen=True):
    """A token without its text. ``scopes`` empty: all that the role may; ``used_at``: to the hour."""

    token_id: str
    label: str
    scopes: list[Scope]
    created_at: int
    expires_at: int
    used_at: int | None


class ShownTokens(msgspec.Struct, frozen=True):
    """The good tokens of a user, newest first."""

    tokens: list[ShownToken]
    next: str | None


class NewTokenText(msgspec.Struct, frozen=True):
    """A new token; its text is shown this once."""

    token: str
    token_id: str
    user: str
    scopes: list[Scope]
    expires_at: int


class UsersResource:
    """``users``."""

    def __init__(self, users: Users, tokens: Tokens) -> None:
        self._users = users
        self._tokens = tokens

    def routes(self) -> Iterable[Route]:
        """The routes."""
        users, user = "/api/v1/users", "/api/v1/users/{name}"
        tokens, make = f"{user}/tokens", "Make a bearer token"
        return [
            Route("GET", users, self.list, OVERSIGHT, "All users", query=Window, answer=ShownUsers),
            Route("POST", users, self.add, OPERATION, "Add a user", NewUser, status=201, answer=ShownUser),
            Route("POST", f"{user}/disable", self.disable, OPERATION, "Shut a user out now", answer=ShownUser),
            Route("POST", f"{user}/enable", self.enable, OPERATION, "Let a user in again", answer=ShownUser),
            Route("POST", f"{user}/password", self.set_password, OPERATION, "Set a password", NewPassword, status=204),
            Route("GET", tokens, self.list_tokens, OVERSIGHT, "The tokens of a user", query=Window, answer=ShownTokens),
            Route("POST", tokens, self.issue, OPERATION, make, NewToken, status=201, answer=NewTokenText),
            Route("DELETE", f"{tokens}/{{token_id}}", self.revoke, OPERATION, "Revoke a token", status=204),
        ]

    async def list(self, call: Call) -> ShownUsers:
        """All users by name."""
        found, more = cut(call, await self._users.list())
        return ShownUsers([_shown(user) for user in found], more)

    async def add(self, call: Call) -> ShownUser:
        """Add one."""
        new: NewUser = call.body
        password = None if new.password is None else new.password.encode()
        return _shown(await self._users.add(new.name, new.role, password, by=call.caller.actor))

    async def disable(self, call: Call) -> ShownUser:
        """Shut one out."""
        name = call.parameter("name")
        await self._users.disable(name, by=call.caller.actor)
        return _shown(await self._users.get(name))

    async def enable(self, call: Call) -> ShownUser:
        """Let one in again."""
        name = call.parameter("name")
        await self._users.enable(name, by=call.caller.actor)
        return _shown(await self._users.get(name))

    async def set_password(self, call: Call) -> None:
        """Another password, set by an operator."""
        name, new = call.parameter("name"), call.body
        if (await self._users.get(name)).disabled_at is not None:
            raise UserDisabled
        await self._users.set_password(name, new.password.encode(), by=call.caller.actor)

    async def list_tokens(self, call: Call) -> ShownTokens:
        """Those that are good."""
        found, more = cut(call, await self._tokens.of(call.parameter("name")))
        return ShownTokens([_shown_token(token) for token in found], more)

    async def issue(self, call: Call) -> NewTokenText:
        """A token, shown this once."""
        wanted: NewToken = call.body
        name = call.parameter("name")
        issued = await self._tokens.issue(
            name,
            by=call.caller.actor,
            seconds=wanted.expires_in,
            scopes=frozenset(wanted.scopes),
            label=wanted.label.strip(),
        )
        token = issued.token
        return NewTokenText(issued.text, token.token_id, name, sorted(token.scopes), token.expires_at)

    async def revoke(self, call: Call) -> None:
        """Void when this is answered."""
        await self._tokens.revoke(call.parameter("name"), call.parameter("token_id"), by=call.caller.actor)


def _shown(user: User) -> ShownUser:
    return ShownUser(user.name, user.role, user.created_at, user.disabled_at, user.tokens)


def _shown_token(token: Token) -> ShownToken:
    return ShownToken(
        token.token_id, token.label, sorted(token.scopes), token.created_at, token.expires_at, token.used_at
    )
