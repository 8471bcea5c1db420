"""Clocks that tests move."""

from node.clock import SystemClock


class HandClock:
    """Time that stands still until a test moves it."""

    def __init__(self, now: int = 1_764_000_000) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return float(self.time)


class MovedClock(SystemClock):
    """The machine's clocks, the calendar's moved by ``offset`` seconds: for what also waits in real time."""

    offset = 0

    def now(self) -> int:
        return super().now() + self.offset
