"""Real programs to test against: Orthanc and dcmtk, started on free loopback ports and ended by their own process."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NODELAY = {**os.environ, "TCP_NODELAY": "1"}  # dcmtk: without it Nagle's algorithm dominates every figure
START_SECONDS = 30.0
NODE_MODULES = Path(__file__).parents[2] / ".venv" / "npm" / "node_modules"  # deploy/install-peers puts them there


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, "the peer ended"
        assert time.monotonic() < deadline, "the peer does not listen"
        time.sleep(0.05)


@contextlib.contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=NODELAY)
    try:
        wait_for_port(port, process)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Orthanc:
    """A running Orthanc: its REST address and DICOM port."""

    http: int
    dicom: int
    aet: str
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=600) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def file(self, instance: str) -> bytes:
        """The file of an instance, by Orthanc's name for it."""
        with urllib.request.urlopen(f"{self.url}/instances/{instance}/file", timeout=600) as answer:
            return bytes(answer.read())


@contextlib.contextmanager
def orthanc(folder: Path, name: str, **settings: Any) -> Iterator[Orthanc]:
    """Orthanc of Debian with its DICOMweb plugin, no authentication, loopback only, empty database."""
    home = folder / f"orthanc-{name}"
    home.mkdir(parents=True)
    http, dicom = free_port(), free_port()
    config = {
        "Name": name,
        "StorageDirectory": str(home / "db"),
        "IndexDirectory": str(home / "db"),
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": name.upper(),
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "TcpNoDelay": True,
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
        "DicomWeb": {"Enable": True},
        **settings,
    }
    path = home / "orthanc.json"
    path.write_text(json.dumps(config))
    with _running(["Orthanc", str(path)], http, home / "log") as process:
        wait_for_port(dicom, process)
        yield Orthanc(http, dicom, name.upper(), process)


@contextlib.contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """dcmtk's storescp writing files below ``folder``; yields its port."""
    folder.mkdir(parents=True)
    port = free_port()
    command = ["storescp", "--output-directory", str(folder), *options, str(port)]
    with _running(command, port, folder.with_suffix(".log")):
        yield port


def storescu(port: int, folder: Path, *options: str, aet: str = "LEVERET") -> float:
    """Send all files of a folder over one association; returns seconds."""
    assert shutil.which("storescu")
    started = time.monotonic()
    done = subprocess.run(
        ["storescu", "--scan-directories", "--call", aet, *options, "127.0.0.1", str(port), str(folder)],
        env=NODELAY, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return time.monotonic() - started
