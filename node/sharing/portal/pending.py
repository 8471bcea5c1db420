"""What the portal remembers for minutes and not over a restart: proofs under way, challenges, who tried too often."""

import ipaddress
import secrets
from collections import OrderedDict
from typing import Generic, TypeVar

from node.clock import Clock
from node.errors.access import LockedOut
from node.sharing.sessions import wait_after

MAX_PENDING = 10_000  # the oldest are forgotten: whoever floods delays others, and costs no memory
_TOKEN_BYTES = 24
_MAX_TOKEN = 64  # characters: longer is none of ours

PATIENCE = 20  # attempts from one place that may fail: families and wards share an address
FORGIVEN_AFTER = 3600  # seconds without a failure
_IPV6_PREFIX = 64  # bits: what one connection is given

_T = TypeVar("_T")


class Pending(Generic[_T]):
    """Values under random names (192 bits), each for ``seconds``."""

    def __init__(self, clock: Clock, seconds: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._kept: OrderedDict[str, tuple[float, _T]] = OrderedDict()

    def put(self, value: _T) -> str:
        """Keep ``value``; its name."""
        name = secrets.token_urlsafe(_TOKEN_BYTES)
        self.keep(name, value)
        return name

    def keep(self, name: str, value: _T) -> None:
        """Keep ``value`` under a name that somebody else made, and nobody can guess."""
        self._kept.pop(name, None)
        self._kept[name] = (self._clock.monotonic() + self._seconds, value)
        while len(self._kept) > MAX_PENDING:
            self._kept.popitem(last=False)

    def look(self, name: str) -> _T | None:
        """The value, which stays; None if there is none any more."""
        found = self._kept.get(name) if len(name) <= _MAX_TOKEN else None
        return None if found is None or found[0] <= self._clock.monotonic() else found[1]

    def take(self, name: str) -> _T | None:
        """The value, which is gone then: what may be used once."""
        value = self.look(name)
        self._kept.pop(name, None)
        return value


class Patience:
    """How often attempts from one place have failed a short while ago.

    A code cannot be guessed anyway; this keeps whoever tries from keeping the node busy. Behind a proxy everybody comes
    from one place, so an attempt that succeeds is forgotten by nobody else's failures: only failing ones are slowed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def hear(self, place: str) -> None:
        """Let an attempt begin; raises LockedOut if too many from there have failed."""
        count, last = self._failed.get(_network(place), (0, 0.0))
        if count < PATIENCE:
            return
        wait = wait_after(count - PATIENCE + _FIRST_THAT_WAITS) - (self._clock.monotonic() - last)
        if wait > 0:
            raise LockedOut(f"{int(wait) + 1} seconds")

    def failed(self, place: str) -> None:
        """An attempt failed."""
        key, now = _network(place), self._clock.monotonic()
        count, last = self._failed.pop(key, (0, now))
        self._failed[key] = (1 if now - last > FORGIVEN_AFTER else count + 1, now)
        while len(self._failed) > MAX_PENDING:
            self._failed.popitem(last=False)


_FIRST_THAT_WAITS = 5  # failures, in the terms of sessions.wait_after


def _network(place: str) -> str:
    """An address, or the network that one connection has for itself."""
    try:
        address = ipaddress.ip_address(place)
    except ValueError:
        return place[:_MAX_TOKEN]
    if address.version == 4:  # noqa: PLR2004 - the version of IP
        return str(address)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
