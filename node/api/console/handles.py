"""Opaque ids for what pages are about: random, good for one person, for a shift.

A Patient ID or a Study Instance UID in an address would end up in histories, logs and referrers.
"""

import secrets
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from node.clock import Clock
from node.errors.console import AddressEnded
from node.model.access import Caller
from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.sharing.sessions import STAFF_SECONDS

MAX_HANDLES = 50_000  # of one kind: the oldest are forgotten
_BYTES = 16

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class PatientRef:
    """Whom a page is about: a local patient, or who was described, or both."""

    patient: PatientKey | None = None
    demographics: Demographics | None = None


@dataclass(frozen=True, slots=True)
class _Given(Generic[T]):
    actor: str
    value: T
    expires: float  # monotonic


class Handles(Generic[T]):
    """Ids of values of one kind. The same value has the same id for the same person while that is good."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._given: OrderedDict[str, _Given[T]] = OrderedDict()
        self._ids: dict[tuple[str, T], str] = {}

    def put(self, caller: Caller, value: T) -> str:
        """The id of ``value`` for ``caller``, good from now on for STAFF_SECONDS."""
        actor = caller.actor
        handle = self._ids.get((actor, value))
        if handle is None:
            handle = self._ids[actor, value] = secrets.token_urlsafe(_BYTES)
        self._given[handle] = _Given(actor, value, self._clock.monotonic() + STAFF_SECONDS)
        self._given.move_to_end(handle)
        while len(self._given) > MAX_HANDLES:
            _, oldest = self._given.popitem(last=False)
            self._ids.pop((oldest.actor, oldest.value), None)
        return handle

    def get(self, caller: Caller, handle: str) -> T:
        """What ``handle`` stands for; raises AddressEnded, also for somebody else's."""
        given = self._given.get(handle)
        if given is None or given.actor != caller.actor or given.expires < self._clock.monotonic():
            raise AddressEnded
        return given.value
