"""Time as a value that rooms are given, so that tests can move it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where a room asks for the time."""

    def now(self) -> int:
        """Seconds since the Unix epoch (UTC)."""

    def monotonic(self) -> float:
        """Seconds that never run backwards, for durations."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        """Seconds since the Unix epoch (UTC)."""
        return int(time.time())

    def monotonic(self) -> float:
        """Seconds that never run backwards, for durations."""
        return time.monotonic()
