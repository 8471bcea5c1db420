"""``killed.py N ARGUMENT…``: the ``leveret`` command, killed (SIGKILL) just before its N-th change to the filesystem.

Python tells an audit hook of each ``open`` for writing, rename, mkdir, link and unlink; so every step of writing a
backup, of restoring one and of replacing a key store is a place to die at, the same in every run.
"""

import os
import signal
import sys

_CHANGES = {"os.rename", "os.mkdir", "os.link", "os.remove", "os.truncate", "shutil.rmtree", "os.rmdir"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def arm(count: int) -> None:
    left = count

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        is_change = event in _CHANGES
        if event == "open":
            path, _mode, flags = arguments
            is_change = isinstance(flags, int) and bool(flags & _WRITING) and not str(path).startswith("/dev")
        if is_change:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    from node.cli import main

    arm(int(sys.argv[1]))
    main(sys.argv[2:])
