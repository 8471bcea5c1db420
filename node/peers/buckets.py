"""How often something may happen."""

from collections import OrderedDict

from node.clock import Clock


class TokenBuckets:
    """A token bucket per name (an address, or one name for all), forgetting the least recently used."""

    def __init__(self, clock: Clock, *, burst: float, per_second: float, remembered: int = 1) -> None:
        self._clock = clock
        self._burst = burst
        self._per_second = per_second
        self._remembered = remembered
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, name: str) -> float:
        """Tokens that ``name`` has now."""
        tokens, at = self._left.get(name, (self._burst, 0.0))
        return min(self._burst, tokens + (self._clock.monotonic() - at) * self._per_second)

    def spend(self, name: str) -> bool:
        """Take one token; False (and nothing taken) if there is none."""
        tokens = self.left(name)
        if tokens < 1:
            return False
        self._left[name] = (tokens - 1, self._clock.monotonic())
        self._left.move_to_end(name)
        while len(self._left) > self._remembered:
            self._left.popitem(last=False)
        return True
