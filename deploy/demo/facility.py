"""One facility of the demo: its data directory, its daemon, its command line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READY_SECONDS = 30
STOP_SECONDS = 15
LEVERET = Path(sys.executable).with_name("leveret")


class DemoFailed(Exception):
    """A step of the demo did not do what it should; the text says which."""


@dataclass
class Facility:
    """A node run through its public commands only, as an operator would."""

    name: str
    directory: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log_file(self) -> Path:
        """Where the daemon's log lines go."""
        return self.directory.with_suffix(".log")

    def init(self, api_port: int) -> None:
        """Create identity, keys and index."""
        listen = (
            "--peer-listen",
            "127.0.0.1:0",
            "--dicom-listen",
            "127.0.0.1:0",
            "--api-listen",
            f"127.0.0.1:{api_port}",
        )
        self.run("init", "--name", self.name, *listen)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Run the daemon until the block ends."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def start(self) -> None:
        """Start the daemon and wait until it listens."""
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen([LEVERET, "serve", "--data", self.directory], stderr=log)
        deadline = time.monotonic() + READY_SECONDS
        while '"ready"' not in self.log_file.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise DemoFailed(f"{self.name} did not start; see {self.log_file}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask the daemon to end, and wait for it."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def run(self, *arguments: str, stdin: str | None = None, show_progress: bool = False) -> Any:
        """Run ``leveret ARGUMENTS --json`` and return the decoded document."""
        done = subprocess.run(
            [LEVERET, *arguments, "--data", self.directory, "--json"],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=None if show_progress else subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "LEVERET_DATA": str(self.directory)},
        )
        if done.returncode != 0:
            raise DemoFailed(f"{self.name}: leveret {arguments[0]} failed: {(done.stderr or done.stdout).strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else {}
