"""Opaque names for what must not stand in an address: patients, and searches that name them."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from node.clock import Clock
from node.errors.access import NotFound
from node.model.access import Caller

HANDLE_SECONDS = 12 * 3600  # a working day: as long as a session at most
MAX_HANDLES = 10_000  # the oldest are forgotten

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Held(Generic[_T]):
    actor: str
    expires: float  # monotonic
    value: _T


class Handles(Generic[_T]):
    """Kept in memory; each is random, good for who got it alone, and forgotten after a day's work or a restart."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: OrderedDict[str, _Held[_T]] = OrderedDict()

    def put(self, caller: Caller, value: _T) -> str:
        """A handle for ``value``."""
        handle = secrets.token_urlsafe(16)
        self._held[handle] = _Held(caller.actor, self._clock.monotonic() + HANDLE_SECONDS, value)
        while len(self._held) > MAX_HANDLES:
            self._held.popitem(last=False)
        return handle

    def get(self, caller: Caller, handle: str) -> _T:
        """What the caller's handle stands for; raises NotFound for anybody else's, and one that is forgotten."""
        held = self._held.get(handle)
        if held is None or held.actor != caller.actor or held.expires < self._clock.monotonic():
            raise NotFound
        return held.value
