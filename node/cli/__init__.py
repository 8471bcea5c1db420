"""The ``leveret`` command: a thin client of the daemon's own REST interface, over ``DIR/admin.sock``.

One file per group of commands; each is imported when it is used, so that a command starts fast. A command asks, shows,
and decides nothing. Everything that can go wrong becomes words and an exit status in one place, :mod:`.root`.
"""

from node.cli.root import main

__all__ = ["main"]
