"""Threads for work that is small and comes by the thousand.

An image takes a thread a millisecond or two, and the trip there and back a fifth of that: waking the thread, waking the
event loop, handing the interpreter over twice. So whatever waits when a thread is free goes there together, and what it
made comes back together.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")
MAX_SHARE = 16  # pieces of work that go to a thread together

_Work = tuple[Callable[[], Any], "asyncio.Future[Any] | None"]
_Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]


class Workers:
    """``count`` threads. Close them when all work has ended."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._calls: SimpleQueue[bool] = SimpleQueue()  # for a thread to look for work; False: to end
        self._lock = threading.Lock()  # for the three fields below
        self._threads: list[threading.Thread] = []
        self._waiting: deque[_Work] = deque()
        self._busy = 0  # threads in ``_work``

    def run(self, work: Callable[[], _T]) -> "asyncio.Future[_T]":
        """Do ``work`` in a thread; it runs even if nobody waits for it any more, unless it has not begun."""
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._add((work, future))
        return future

    def post(self, work: Callable[[], None]) -> None:
        """Do ``work`` in a thread. It never raises, and says itself what came of it."""
        self._add((work, None))

    @property
    def is_free(self) -> bool:
        """Whether two threads have nothing to do at this moment."""
        return self._busy + 1 < self._count

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for a thread; asked in one, whether that may do something slow."""
        return not self._waiting

    def _add(self, work: _Work) -> None:
        with self._lock:
            self._waiting.append(work)
            start = self._busy < self._count
            self._busy += start
            if start and len(self._threads) < self._count:
                name = f"{self._name}_{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._serve, name=name, daemon=True))
                self._threads[-1].start()
        if start:
            self._calls.put(True)

    def close(self) -> None:
        """Wait for the threads to end."""
        for _ in self._threads:
            self._calls.put(False)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while self._calls.get():
            self._work()

    def _work(self) -> None:
        while True:
            with self._lock:
                share = min(MAX_SHARE, -(-len(self._waiting) // self._count))
                taken = [self._waiting.popleft() for _ in range(share)]
                if not taken:
                    self._busy -= 1
                    return
            outcomes = [outcome for outcome in map(_outcome, taken) if outcome is not None]
            if outcomes:
                outcomes[0][0].get_loop().call_soon_threadsafe(_report, outcomes)
            taken.clear()  # and with it what the work holds on to


class Strand:
    """Work that is done one piece after the other, in whatever thread: no thread waits for another one."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._lock = threading.Lock()  # for the two fields below
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_busy = False

    def post(self, work: Callable[[], None]) -> None:
        """As of the workers, after what was posted before."""
        with self._lock:
            self._waiting.append(work)
            start, self._is_busy = not self._is_busy, True
        if start:
            self._workers.post(self._run)

    def _run(self) -> None:
        while True:
            with self._lock:
                self._is_busy = bool(self._waiting)
                if not self._is_busy:
                    return
                work = self._waiting.popleft()
            work()
            del work  # and with it what it holds on to


def _outcome(given: _Work) -> _Outcome | None:
    work, future = given
    if future is None:
        work()
        return None
    if future.cancelled():
        return future, None, None
    try:
        return future, work(), None
    except BaseException as exc:  # noqa: BLE001 - it is raised where the result is awaited
        return future, None, exc


def _report(outcomes: list[_Outcome]) -> None:
    for future, result, error in outcomes:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
