"""Memory for records on their way to the disk, used again and again.

Fresh memory costs more than encrypting into it: the kernel maps and clears every page (0.25 ms for 530 KB, with AES-GCM
at 0.06 ms). So buffers go back to a pool once their record is durable.
"""

import threading

MAX_KEPT_BYTES = 64 * 1024 * 1024  # memory that stays with an idle store
_SMALLEST = 1 << 16
_STEPS = 8  # sizes between two powers of two: enough that little is wasted, few enough that images of a kind share one


class Buffers:
    """A pool of buffers of a limited number of sizes. May be used from any thread."""

    def __init__(self) -> None:
        self._free: dict[int, list[bytearray]] = {}
        self._kept = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bytearray:
        """A buffer of ``size`` bytes at least, with whatever it held before."""
        step = max(_SMALLEST, (1 << max(0, size - 1).bit_length()) // (2 * _STEPS))
        rounded = -(-max(size, 1) // step) * step
        with self._lock:
            free = self._free.get(rounded)
            if free:
                self._kept -= rounded
                return free.pop()
        return bytearray(rounded)

    def give_back(self, buffer: bytearray) -> None:
        """Let others use ``buffer``; the caller must not touch it any more."""
        with self._lock:
            if self._kept + len(buffer) <= MAX_KEPT_BYTES:
                self._kept += len(buffer)
                self._free.setdefault(len(buffer), []).append(buffer)
