"""When a destination that could not be told something is tried again: one rule for all that waits to be told. Pure."""

FIRST_RETRY_SECONDS = 5
LAST_RETRY_SECONDS = 3600  # a peer that is away for a week is tried hourly, and at once when it shows up

_DOUBLINGS = 20  # beyond the last one anyway


def retry_in(failures: int) -> int:
    """Seconds until a destination is tried again after so many failures in a row before this one."""
    return min(FIRST_RETRY_SECONDS << min(failures, _DOUBLINGS), LAST_RETRY_SECONDS)
