"""When to lose patience with a peer: the ARTIM timer, silence, a trickle. Times are given, there is no clock here."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to wait, in seconds."""

    artim: float = 30.0  # for the A-ASSOCIATE-RQ, and for the peer to close (PS3.8 section 9.1.5)
    idle: float = 60.0  # without a byte
    window: float = 30.0  # in which ``floor`` bytes a second must come, on average, while something is incomplete
    floor: int = 1024  # less than any modem; a peer that sends less only holds a place


class Watched(Protocol):
    """What the watch looks at."""

    received: int  # bytes

    @property
    def moved(self) -> int:
        """A number that grows whenever something comes in or goes out."""

    @property
    def timer(self) -> int:
        """0, or the number of the running ARTIM timer."""

    @property
    def is_waiting(self) -> bool:
        """Whether the next step is the peer's."""

    @property
    def in_message(self) -> bool:
        """Whether something has begun and is not complete."""


class Watch:
    """Looks at one association now and then."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._timer = 0
        self._timer_since = self._heard_at = self._window_since = 0.0
        self._moved = self._window_heard = -1

    def timer_is_over(self, now: float, watched: Watched) -> bool:
        """Whether the ARTIM timer has run out."""
        if watched.timer != self._timer:
            self._timer, self._timer_since = watched.timer, now
        return self._timer != 0 and now - self._timer_since >= self._timing.artim

    def complaint(self, now: float, watched: Watched) -> str:
        """Why to end the association, in a stable word; empty while all is well."""
        heard = watched.received
        if watched.moved != self._moved or not watched.is_waiting:
            self._moved, self._heard_at = watched.moved, now
        elif now - self._heard_at >= self._timing.idle:
            return "silent"
        if self._window_heard < 0 or not watched.is_waiting or not watched.in_message:
            self._window_heard, self._window_since = heard, now
        elif now - self._window_since >= self._timing.window:
            if heard - self._window_heard < self._timing.floor * self._timing.window:
                return "too slow"
            self._window_heard, self._window_since = heard, now
        return ""
