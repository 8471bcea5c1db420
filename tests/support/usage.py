"""What a process and all that it started use, from /proc."""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 0.2


@dataclass
class Usage:
    """CPU seconds while the block ran, and the most memory: PSS, shared pages counted once, in MiB."""

    cpu: float = 0.0
    peak: float = 0.0


def tree(pid: int) -> list[int]:
    """``pid`` and its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def cpu(pid: int) -> float:
    """CPU seconds of the tree, and of its members' ended children."""
    ticks = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def pss(pid: int) -> float:
    """Memory of the tree, in MiB."""
    total = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


@contextlib.contextmanager
def watching(pid: int) -> Iterator[Usage]:
    """Watch the tree of ``pid`` while the block runs; the figures are there at its end."""
    usage, over, before = Usage(), threading.Event(), cpu(pid)

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            usage.peak = max(usage.peak, pss(pid))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield usage
    finally:
        over.set()
        watcher.join()
        usage.cpu = cpu(pid) - before
        usage.peak = max(usage.peak, pss(pid))
