"""Structured logs that cannot carry PHI by accident: a field that is not on the allow-list is dropped.

One JSON line an event on stderr. The event is a literal text in the code; everything that varies is a field. What a
field may hold is said beside it; to log something new, add it here, where a reviewer sees it.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

Logger = structlog.stdlib.BoundLogger

ALLOWED_FIELDS = frozenset({
    "event", "level", "timestamp", "room",  # written by the logger itself
    "code",         # a stable error code
    "peer",         # PeerId in its log form
    "node",         # this node's PeerId in its log form
    "address",      # host:port that this node listens on or dials
    "route",        # a route template, never a path with values
    "method", "status", "seconds", "bytes", "count", "total", "attempt", "limit", "version", "pid", "port",
    "state",        # a state machine's state
    "request",      # a request id (random)
    "transfer",     # a transfer id (random)
    "object",       # an object id (random)
    "pack",         # a pack's file name (random)
    "sequence", "epoch", "revision",
    "reason",       # a stable word, never text from outside
    "error",        # an exception's class name, never its text
    "component",    # which part of the node
    "path",         # a path of this node's own files (names are random)
})  # fmt: skip


def _keep_allowed(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    dropped = [name for name in event if name not in ALLOWED_FIELDS]
    for name in dropped:
        del event[name]
    if dropped:
        event["reason"] = "fields dropped by the allow-list"
    return event


def make_logger(stream: TextIO | None = None, level: str = "INFO") -> structlog.stdlib.BoundLogger:
    """A logger that writes JSON lines to ``stream`` (stderr unless told); hand it down, there is no global one."""
    processors = [
        _keep_allowed,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(),
    ]
    bound = structlog.wrap_logger(
        structlog.PrintLogger(stream or sys.stderr),
        processors=cast("Any", processors),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=False,
    )
    return cast("structlog.stdlib.BoundLogger", bound)
