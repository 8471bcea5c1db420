"""Who may use this node, in which role, and by what: added, shut out, passwords, tokens."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.console.operator.desk import Desk, Question, back, settle
from node.api.rest.access import OPERATION, OVERSIGHT
from node.api.routing import Call, Route
from node.errors.access import InvalidInput, UserDisabled
from node.errors.base import LeveretError
from node.model.access import STAFF, Role, Scope
from node.sharing.tokens import Tokens
from node.sharing.users import MIN_PASSWORD, Users

_AREA, _LIST = "system", "/console/users"
_SERVER_FAULT = 500
_DAY = 86_400
_PASSWORD = msgspec.Meta(max_length=1024)
LIFETIMES = ((30, "30 days"), (90, "90 days"), (365, "a year"))

ROLES = (
    (Role.CLINICIAN.value, "Clinician", "Looks patients up, asks other facilities, sees and stores images."),
    (Role.OPERATOR.value, "Operator", "Facilities, users, storage, inbox. Finds studies, opens no images."),
    (Role.AUDITOR.value, "Auditor", "Reads the audit log and what is configured. Changes nothing."),
)
SCOPES = (
    (Scope.MONITOR.value, "Monitor", "Metrics and status: nothing of any patient."),
    (Scope.READ.value, "Read", "Everything that changes nothing, but no images."),
    (Scope.IMAGES.value, "Images", "DICOMweb."),
    (Scope.SHARE.value, "Share", "Patients, consents, requests, offers, deliveries."),
    (Scope.ADMIN.value, "Administer", "Facilities, users, storage, corrections."),
)


class UserForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to add; without a password it has tokens only."""

    name: Annotated[str, msgspec.Meta(max_length=64)] = ""
    role: Role = Role.CLINICIAN
    password: Annotated[str, _PASSWORD] = ""


class PasswordForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another password, typed twice."""

    password: Annotated[str, _PASSWORD] = ""
    again: Annotated[str, _PASSWORD] = ""


class TokenForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to make."""

    label: Annotated[str, msgspec.Meta(max_length=100)] = ""
    days: Annotated[int, msgspec.Meta(ge=1, le=3660)] = 365
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(max_length=len(Scope))] = ()


class UsersPages:
    """``/console/users``."""

    def __init__(self, desk: Desk, users: Users, tokens: Tokens) -> None:
        self._desk = desk
        self._users = users
        self._tokens = tokens

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{_LIST}/{{name}}"
        tokens = f"{one}/tokens"
        return [
            Route("GET", _LIST, self.list, OVERSIGHT, "All users", page=True),
            Route("POST", _LIST, self.add, OPERATION, "Add a user", UserForm, page=True),
            Route("GET", one, self.show, OVERSIGHT, "One user", page=True),
            Route("GET", f"{one}/disable", self.ask_disable, OPERATION, "Ask before shutting out", page=True),
            Route("POST", f"{one}/disable", self.disable, OPERATION, "Shut a user out", page=True),
            Route("POST", f"{one}/enable", self.enable, OPERATION, "Let a user in again", page=True),
            Route("POST", f"{one}/password", self.set_password, OPERATION, "Set a password", PasswordForm, page=True),
            Route("POST", tokens, self.issue, OPERATION, "Make a token and show it once", TokenForm, page=True),
            Route("POST", f"{tokens}/{{token_id}}/revoke", self.revoke, OPERATION, "Revoke a token", page=True),
        ]

    async def list(self, call: Call) -> object:
        """All by name."""
        return await self._list(call)

    async def add(self, call: Call) -> object:
        """Add one."""
        form: UserForm = call.body
        if form.role not in STAFF:
            return await self._list(call, error=InvalidInput("role"), typed=form)
        try:
            await self._users.add(form.name, form.role, form.password.encode() or None, by=call.caller.actor)
        except LeveretError as error:
            if error.status >= _SERVER_FAULT:
                raise
            return await self._list(call, error=error, typed=form)
        return await settle(self._users.get(form.name), to=self._place(form.name), what="user-added", otherwise=_LIST)

    async def show(self, call: Call) -> object:
        """One, with its tokens."""
        return await self._show(call)

    async def ask_disable(self, call: Call) -> object:
        """Now, and for everything."""
        name = call.parameter("name")
        says = (
            "Sessions and tokens end at once: who is signed in sees nothing more, programs with a token stop working.",
            "The name stays, because the audit log refers to it. The user can be let in again.",
        )
        question = Question(
            f"Shut {name} out?", says, "Disable", f"{self._place(name)}/disable", self._place(name), (("User", name),)
        )
        return self._desk.ask(call, question, area=_AREA)

    async def disable(self, call: Call) -> object:
        """Shut one out."""
        name = call.parameter("name")
        work = self._users.disable(name, by=call.caller.actor)
        return await settle(work, to=_LIST, what="user-disabled", otherwise=_LIST)

    async def enable(self, call: Call) -> object:
        """By the password; tokens stay gone."""
        name = call.parameter("name")
        work = self._users.enable(name, by=call.caller.actor)
        return await settle(work, to=self._place(name), what="user-enabled", otherwise=_LIST)

    async def set_password(self, call: Call) -> object:
        """Sessions of the user end."""
        name, form = call.parameter("name"), call.body
        if form.password != form.again:
            return await self._show(call, error=InvalidInput("the two passwords are not the same"))
        try:
            if (await self._users.get(name)).disabled_at is not None:
                raise UserDisabled
            await self._users.set_password(name, form.password.encode(), by=call.caller.actor)
        except LeveretError as error:
            if error.status >= _SERVER_FAULT:
                raise
            return await self._show(call, error=error)
        return await settle(self._users.get(name), to=self._place(name), what="password-set", otherwise=_LIST)

    async def issue(self, call: Call) -> object:
        """The token, shown this once: so the answer to the form is the page itself."""
        name, form = call.parameter("name"), call.body
        try:
            issued = await self._tokens.issue(
                name,
                by=call.caller.actor,
                seconds=form.days * _DAY,
                scopes=frozenset(form.scopes),
                label=form.label.strip(),
            )
        except LeveretError as error:
            if error.status >= _SERVER_FAULT:
                raise
            return back(_LIST, error)
        return self._desk.page(call, "token.html", area=_AREA, issued=issued, name=name, place=self._place(name))

    async def revoke(self, call: Call) -> object:
        """Void at once."""
        name = call.parameter("name")
        work = self._tokens.revoke(name, call.parameter("token_id"), by=call.caller.actor)
        return await settle(work, to=self._place(name), what="token-revoked", otherwise=_LIST)

    async def _list(self, call: Call, *, error: LeveretError | None = None, typed: UserForm | None = None) -> object:
        return self._desk.page(
            call,
            "users.html",
            area=_AREA,
            error=error,
            users=await self._users.list(),
            typed=typed or UserForm(),
            roles=ROLES,
            least=MIN_PASSWORD,
        )

    async def _show(self, call: Call, *, error: LeveretError | None = None) -> object:
        name = call.parameter("name")
        try:
            user, tokens = await self._users.get(name), await self._tokens.of(name)
        except LeveretError as unknown:
            return back(_LIST, unknown)
        return self._desk.page(
            call,
            "user.html",
            area=_AREA,
            error=error,
            user=user,
            tokens=tokens,
            place=self._place(name),
            scopes=SCOPES,
            lifetimes=LIFETIMES,
            least=MIN_PASSWORD,
        )

    @staticmethod
    def _place(name: str) -> str:
        return f"{_LIST}/{name}"
