"""One parser process, seen from the daemon."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec

import node
from node.dicom.messages import LENGTH_BYTES, MAX_FRAME, Done, FromWorker, Need, Ready, Refused, frame

START_SECONDS = 30.0
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "VIRTUAL_ENV")
_decode: Callable[[bytes], FromWorker] = msgspec.msgpack.Decoder(FromWorker).decode


class WorkerLost(Exception):
    """The process ended, or speaks nonsense."""


class WorkerStuck(Exception):
    """The process took too long."""


class ParserProcess:
    """A running ``node.dicom.worker``. Whoever starts it must kill it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._in = process.stdin
        self._out = process.stdout

    @classmethod
    async def start(cls) -> Self:
        """Start a process and wait until its limits are in place.

        Raises:
            OSError: the system does not let it start.
            WorkerLost, WorkerStuck: it did not get ready.
        """
        process = cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "node.dicom.worker", str(os.getpid())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
            )
        )
        try:
            if not isinstance(await process._receive(START_SECONDS), Ready):
                raise WorkerLost
        except BaseException:
            await process.kill()
            raise
        return process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def send(self, message: object) -> None:
        """Write one message."""
        try:
            self._in.write(frame(message))
            await self._in.drain()
        except OSError as exc:
            raise WorkerLost from exc

    async def receive(self, seconds: float) -> Need | Done | Refused:
        """The next answer.

        Raises:
            WorkerLost: the process ended or broke the protocol.
            WorkerStuck: nothing came within ``seconds``.
        """
        message = await self._receive(seconds)
        if isinstance(message, Ready):
            raise WorkerLost
        return message

    async def _receive(self, seconds: float) -> FromWorker:
        try:
            async with asyncio.timeout(seconds):
                length = int.from_bytes(await self._out.readexactly(LENGTH_BYTES), "little")
                if length > MAX_FRAME:
                    raise WorkerLost
                return _decode(await self._out.readexactly(length))
        except TimeoutError as exc:
            raise WorkerStuck from exc
        except (asyncio.IncompleteReadError, msgspec.DecodeError, OSError) as exc:
            raise WorkerLost from exc

    async def kill(self) -> None:
        """End it at once and reap it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._in.close()


def _environment() -> dict[str, str]:
    """What a parser needs of the environment: no tokens, no passphrases; this very package, wherever it lies."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    package = Path(node.__file__).resolve().parent.parent
    return {**kept, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
