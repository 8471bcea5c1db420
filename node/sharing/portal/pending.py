"""What the portal remembers for minutes and not over a restart: proofs under way, challenges, who tried too often."""

import ipaddress
import secrets
from collections import OrderedDict
from typing import Generic, TypeVar

from node.clock import Clock
from node.errors.access import LockedOut
from node.peers.buckets import TokenBuckets

MAX_PENDING = 10_000  # the oldest are forgotten: whoever floods delays others, and costs no memory
_TOKEN_BYTES = 24
_MAX_TOKEN = 64  # characters: longer is none of ours

PATIENCE = 20  # attempts from one place that may fail at once: families and wards share an address
SECONDS_EACH = 3  # after that, one in so many
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
    """How many attempts from one place may fail: a burst, then one in some seconds.

    A code cannot be guessed, and each name has its own lock-out; this keeps who tries many of them from keeping the
    node busy. A place is an address or what one connection has for itself; this machine is none, for behind a proxy on
    it everybody seems to come from there. Only failures count, and the wait is short, so that nobody can shut a whole
    ward out.
    """

    def __init__(self, clock: Clock) -> None:
        self._failures = TokenBuckets(clock, burst=PATIENCE, per_second=1 / SECONDS_EACH, remembered=MAX_PENDING)

    def hear(self, place: str) -> None:
        """Let an attempt begin; raises LockedOut if too many from there have failed."""
        key = _network(place)
        if key and self._failures.left(key) < 1:
            raise LockedOut(f"{SECONDS_EACH} seconds")

    def failed(self, place: str) -> None:
        """An attempt failed."""
        key = _network(place)
        if key:
            self._failures.spend(key)


def _network(place: str) -> str:
    """An address, or the network that one connection has; empty for this machine."""
    try:
        address = ipaddress.ip_address(place)
    except ValueError:
        return place[:_MAX_TOKEN]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:  # a socket of both families
        address = address.ipv4_mapped
    if address.is_loopback:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
