"""Local users and their tokens, and who the caller is."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from node.api.rest.access import EVERYBODY, OPERATION, OVERSIGHT
from node.api.routing import Call, Route
from node.model.access import Role, User
from node.sharing.users import TOKEN_SECONDS, Users

_MAX_TOKEN_SECONDS = 10 * 366 * 86400


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to add; without a password it has tokens only."""

    name: str
    role: Role
    password: str | None = None


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a token is to be good, in seconds."""

    expires_in: Annotated[int, msgspec.Meta(ge=1, le=_MAX_TOKEN_SECONDS)] = TOKEN_SECONDS


class UsersResource:
    """``users`` and ``session``."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def routes(self) -> Iterable[Route]:
        """The routes."""
        users, user = "/api/v1/users", "/api/v1/users/{name}"
        return [
            Route("GET", "/api/v1/session", self.session, EVERYBODY, "Who the caller is"),
            Route("GET", users, self.list, OVERSIGHT, "All users"),
            Route("POST", users, self.add, OPERATION, "Add a user", NewUser, status=201),
            Route("POST", f"{user}/disable", self.disable, OPERATION, "Shut a user out now"),
            Route("POST", f"{user}/tokens", self.issue, OPERATION, "Make a bearer token", NewToken, status=201),
        ]

    async def session(self, call: Call) -> object:
        """Name and role of the caller."""
        session = call.session
        return {
            "user": call.caller.actor,
            "role": call.caller.role,
            "csrf": session.csrf if session else None,
            "expires_at": session.expires_at if session else None,
        }

    async def list(self, _call: Call) -> object:
        """All users by name."""
        return {"users": [_shown(user) for user in await self._users.list()]}

    async def add(self, call: Call) -> object:
        """Add one."""
        new: NewUser = call.body
        password = None if new.password is None else new.password.encode()
        return _shown(await self._users.add(new.name, new.role, password, by=call.caller.actor))

    async def disable(self, call: Call) -> object:
        """Shut one out."""
        name = call.parameter("name")
        await self._users.disable(name, by=call.caller.actor)
        return _shown(await self._users.get(name))

    async def issue(self, call: Call) -> object:
        """A token, shown this once."""
        wanted: NewToken = call.body
        name = call.parameter("name")
        token = await self._users.issue_token(name, by=call.caller.actor, seconds=wanted.expires_in)
        return {"token": token.text, "user": name, "expires_at": token.expires_at}


def _shown(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "role": user.role,
        "created_at": user.created_at,
        "disabled_at": user.disabled_at,
        "tokens": user.tokens,
    }
