"""A node in a process of its own, driven through the ``leveret`` command as scripts of a facility drive it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEVERET = Path(sys.executable).with_name("leveret")
READY_SECONDS = 30.0


@dataclass
class Facility:
    """One data directory and, while it serves, one daemon."""

    name: str
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    peer_id: str = ""
    _listens: dict[str, str] = field(default_factory=dict, repr=False)
    _listens_for: subprocess.Popen[bytes] | None = field(default=None, repr=False)  # whose addresses they are

    @classmethod
    def create(cls, name: str, parent: Path, *options: str, **environment: str) -> "Facility":
        """``leveret init`` on free loopback ports."""
        facility = cls(name, parent / name, environment)
        listen = ("--peer-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--dicom-listen", "127.0.0.1:0")
        facility.run("init", "--name", name, *listen, *options)
        return facility

    @property
    def log_file(self) -> Path:
        return self.directory.with_name(self.directory.name + ".log")

    def environ(self) -> dict[str, str]:
        base = {k: v for k, v in os.environ.items() if not k.startswith("LEVERET_")}
        return {**base, "LEVERET_PEER_DISCOVERY": "false", **self.environment}

    def start(self) -> None:
        """Start the daemon; returns when it says ready."""
        with self.log_file.open("ab") as log:
            log.write(b"--- start\n")
            log.flush()
            offset = log.tell()
            self.process = subprocess.Popen(
                [LEVERET, "serve", "--data", self.directory], stderr=log, stdin=subprocess.DEVNULL, env=self.environ()
            )
        deadline = time.monotonic() + READY_SECONDS
        while b'"ready"' not in self.log_file.read_bytes()[offset:]:
            ended = self.process.poll()
            if ended is not None or time.monotonic() > deadline:
                text = self.log_file.read_bytes()[offset:].decode()
                raise AssertionError(f"{self.name} did not start (exit {ended}): {text[-3000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def stop(self) -> None:
        """SIGTERM; the daemon must end by itself within 15 s."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(15) == 0, self.log_file.read_text()[-3000:]
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None

    def call(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command and return what came of it, whatever that was."""
        return subprocess.run(
            [LEVERET, *arguments, "--data", str(self.directory)],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env=self.environ(),
        )

    def run(self, *arguments: str, stdin: str | None = None) -> Any:
        """Run a command that must succeed; returns its JSON document."""
        done = self.call(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, f"{self.name}: {arguments}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def refused(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command that must fail with exit 1 and one line on stderr; returns that line."""
        done = self.call(*arguments, stdin=stdin)
        assert done.returncode == 1, f"{self.name}: {arguments}: exit {done.returncode} {done.stdout}{done.stderr}"
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        return lines[0]

    def listen(self, which: str) -> tuple[str, int]:
        """The address that ``peer``, ``api`` or ``dicom`` really listens on."""
        if self.process is None or self._listens_for is not self.process:  # another process may have got other ports
            self._listens = self.run("status")["listen"]
            self._listens_for = self.process
        host, port = self._listens[which].rsplit(":", 1)
        return host, int(port)

    @property
    def api(self) -> str:
        return "http://{}:{}".format(*self.listen("api"))

    def user(self, user: str = "clin", role: str = "clinician") -> str:
        """The password of a (new) user."""
        password = self.directory.with_name(f"{self.name}-{user}.password")
        if not password.exists():
            password.write_text("correct horse battery staple\n")
            self.run("users", "add", user, "--role", role, "--password-file", str(password))
        return password.read_text().strip()

    def token(self, user: str = "clin", role: str = "clinician") -> str:
        """A bearer token of a (new) user."""
        self.user(user, role)
        return str(self.run("users", "token", user)["token"])

    def get(self, path: str, token: str, accept: str = "application/dicom+json") -> tuple[str, bytes]:
        """GET on the local API; returns (content type, body)."""
        request = urllib.request.Request(
            self.api + path, headers={"Authorization": f"Bearer {token}", "Accept": accept}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.headers["Content-Type"], answer.read()

    def retrieve(self, study_uid: str, token: str) -> list[bytes]:
        """All instances of a study by WADO-RS, as Part 10 files."""
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        kind, body = self.get(f"/dicom-web/studies/{study_uid}", token, accept)
        boundary = kind.split("boundary=")[1].split(";")[0].strip('"').encode()
        return [part.split(b"\r\n\r\n", 1)[1] for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]]


def pair(inviter: Facility, joiner: Facility) -> None:
    """Trust each other, by an invitation that confirms itself."""
    invitation = inviter.directory.with_name(f"{inviter.name}-{joiner.name}.invitation")
    inviter.run("peers", "invite", "--out", str(invitation), "--expires", "1h", "--auto-confirm")
    joiner.run("peers", "join", str(invitation))


def peer_id(facility: Facility) -> str:
    """Asked once: no directory changes its identity, and each command is a process of its own."""
    if not facility.peer_id:
        facility.peer_id = str(facility.run("id")["peer_id"])
    return facility.peer_id


def wait_for(check: Any, seconds: float = 30.0, every: float = 0.2) -> Any:
    """Call ``check`` until it returns something true; returns that."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every)
