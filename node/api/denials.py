"""Refused access on record: who was refused what, without letting a flood of requests fill the audit log.

The first refusal of a kind is an event at once; those like it within the same minute are counted, and become one event
when it ends. There are at most MAX_KINDS kinds a minute; what is beyond them is counted together.
"""

import asyncio
import ipaddress
from dataclasses import dataclass, replace

from node.clock import Clock
from node.errors.base import LeveretError
from node.log import Logger
from node.model.audit import AuditEvent, AuditType, Outcome
from node.sharing.audit import AuditLog

WINDOW_SECONDS = 60.0
MAX_KINDS = 32
_MANY = "many"


@dataclass(frozen=True, slots=True)
class Denial:
    """A kind of refusal: error code, caller as far as known, route template, and from where."""

    code: str
    actor: str
    route: str
    place: str


class Denials:
    """Writes refusals to the audit log."""

    def __init__(self, audit: AuditLog, clock: Clock, log: Logger) -> None:
        self._audit = audit
        self._clock = clock
        self._log = log
        self._repeated: dict[Denial, int] = {}

    async def denied(self, denial: Denial) -> None:
        """A request was refused."""
        if denial not in self._repeated and len(self._repeated) >= MAX_KINDS:
            denial = replace(denial, actor=_MANY, route=_MANY)
        if denial in self._repeated:
            self._repeated[denial] += 1
            return
        self._repeated[denial] = 0
        await self._record(denial, 1)

    async def run(self) -> None:
        """Close a window every minute; ends by cancellation, after the last one."""
        try:
            while True:
                await asyncio.sleep(WINDOW_SECONDS)
                await self.close_window()
        finally:
            await asyncio.shield(self.close_window())

    async def close_window(self) -> None:
        """Write down how often what was refused first was refused again."""
        repeated, self._repeated = self._repeated, {}
        for denial, count in repeated.items():
            if count:
                await self._record(denial, count)

    async def _record(self, denial: Denial, count: int) -> None:
        event = AuditEvent(
            AuditType.ACCESS_DENIED,
            self._clock.now(),
            denial.actor,
            Outcome.REFUSED,
            code=denial.code,
            detail={"route": denial.route, "from": denial.place, "count": count},
        )
        try:
            await self._audit.record(event)
        except LeveretError as error:  # a full disk: the caller is refused all the same
            self._log.warning("refused access not on record", code=error.code)


def place_of(remote: str | None) -> str:
    """From where a request came: ``socket``, or the class of its address."""
    if not remote:
        return "socket"
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return "unknown"
    return "loopback" if address.is_loopback else "private" if address.is_private else "public"
