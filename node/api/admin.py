"""The admin socket: ``DIR/admin.sock``, mode 0600, where the command line talks to the daemon."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

ADMIN_SOCKET = "admin.sock"
AS_HEADER = "Leveret-As"  # on this socket only: act as this user
_BACKLOG = 64


@contextlib.contextmanager
def reachable(directory: Path) -> Iterator[str]:
    """A path of the socket that fits into ``sockaddr_un`` (108 bytes) however deep the directory lies.

    Raises:
        OSError: there is no such directory.
    """
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{ADMIN_SOCKET}"
    finally:
        os.close(handle)


def bind(directory: Path) -> socket.socket:
    """A listening socket; the caller holds the directory's lock, so one that lies there is a dead daemon's."""
    (directory / ADMIN_SOCKET).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reachable(directory) as path:
            listener.bind(path)
        (directory / ADMIN_SOCKET).chmod(0o600)  # before listen(): nobody can have connected yet
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
