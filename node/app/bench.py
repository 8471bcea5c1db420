"""``leveret bench``: what this machine does with images, beside what else it finds (storescp, Orthanc).

Everything happens in a temporary folder on the disk of the data directory, which itself is not touched: two facilities
as processes of their own, a generated CT, three questions. How many images a second are stored; how fast a study
crosses to another facility, consent and receipt included; how long a search takes. The sender is the same for all.
"""

import asyncio
import contextlib
import http.client
import json
import os
import platform
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from node import __version__
from node.dicom.upper_layer.pdu import ProposedContext
from node.dicom.upper_layer.requestor import Association, Limits
from node.errors.base import LeveretError
from node.errors.dimse import NotAccepted
from node.errors.vault import BenchFailed

INSTANCES = 150  # of 512 x 512, 16 bit: 80 MB
MOST_INSTANCES = 2000
SEARCHES = 50
STORE_SECONDS = 20.0  # one round of storing, at most
READY_SECONDS = 30.0
CALL_SECONDS = 60.0
ASSOCIATIONS = (1, 4)

_CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_SIDE = 512
_LONG = frozenset({"OW", "OB", "SQ", "UT"})  # value representations with a 32-bit length (PS3.5 section 7.1.2)
_PATIENT = "BENCH-1"
_ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement. ``rate`` is in ``unit``."""

    what: str
    target: str
    instances: int
    bytes: int
    seconds: float
    rate: float
    unit: str


@dataclass(frozen=True, slots=True)
class _Image:
    uid: str
    dataset: bytes


@dataclass(frozen=True, slots=True)
class _Study:
    uid: str
    images: tuple[_Image, ...]

    @property
    def size(self) -> int:
        return sum(len(image.dataset) for image in self.images)


def bench(beside: Path, instances: int = INSTANCES) -> dict[str, Any]:
    """Measure; what to show. Takes half a minute and needs room for ten times the study beside ``beside``.

    Raises:
        BenchFailed: one of the programs did not start or did not answer. KeyboardInterrupt: everything is cleaned up.
    """
    parent = beside if beside.is_dir() else beside.parent
    with tempfile.TemporaryDirectory(prefix="leveret-bench-", dir=parent) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        study = _made(instances)
        figures = list(_stored_by_others(folder, study))
        north, lake = (stack.enter_context(_node(folder, one)) for one in ("north", "lake"))
        figures += _stored("Leveret (encrypted, durable)", north.dicom, "LEVERET", study)
        figures += _found("Leveret", north.api, north.token())
        figures.append(_transferred(north, lake, study))
        return {
            "machine": {
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
                "leveret": __version__,
                "folder": str(parent),
            },
            "study": {"instances": instances, "bytes": study.size},
            "figures": [asdict(figure) for figure in figures],
        }


# The study ----------------------------------------------------------------------------------------------------------


def _made(instances: int) -> _Study:
    """A CT of a round body with noise: compresses as real ones do, about 2:1."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    body = np.where(x**2 + y**2 < 0.6, 1040, 24).astype(np.int16)  # noqa: PLR2004 - a circle
    noise = rng.normal(0, 12, (_SIDE, _SIDE)).astype(np.int16)
    study, series = _uid(rng), _uid(rng)
    images = []
    for number in range(1, instances + 1):
        pixels = body + np.roll(noise, number * 37)
        uid = _uid(rng)
        images.append(_Image(uid, _dataset(study, series, uid, number, pixels.astype("<i2").tobytes())))
    return _Study(study, tuple(images))


def _uid(rng: np.random.Generator) -> str:
    return f"2.25.{int.from_bytes(rng.bytes(15), 'big') | 1 << 119}"


def _dataset(study: str, series: str, uid: str, number: int, pixels: bytes) -> bytes:
    """A CT Image (PS3.3 section A.3), explicit little endian."""
    texts = (
        (0x0008, 0x0016, "UI", _CT), (0x0008, 0x0018, "UI", uid), (0x0008, 0x0020, "DA", "20260101"),
        (0x0008, 0x0030, "TM", "101112"), (0x0008, 0x0060, "CS", "CT"), (0x0008, 0x1030, "LO", "Benchmark"),
        (0x0010, 0x0010, "PN", "Bench^Mark"), (0x0010, 0x0020, "LO", _PATIENT), (0x0010, 0x0030, "DA", "19700101"),
        (0x0010, 0x0040, "CS", "O"), (0x0020, 0x000D, "UI", study), (0x0020, 0x000E, "UI", series),
        (0x0020, 0x0011, "IS", "1"), (0x0020, 0x0013, "IS", str(number)), (0x0028, 0x0004, "CS", "MONOCHROME2"),
    )  # fmt: skip
    numbers = (
        (0x0028, 0x0002, 1), (0x0028, 0x0010, _SIDE), (0x0028, 0x0011, _SIDE), (0x0028, 0x0100, 16),
        (0x0028, 0x0101, 16), (0x0028, 0x0102, 15), (0x0028, 0x0103, 1),
    )  # fmt: skip
    elements = {(group, element): _element(group, element, vr, _text(vr, value)) for group, element, vr, value in texts}
    elements |= {(g, e): _element(g, e, "US", struct.pack("<H", value)) for g, e, value in numbers}
    elements[0x7FE0, 0x0010] = _element(0x7FE0, 0x0010, "OW", pixels)
    return b"".join(elements[tag] for tag in sorted(elements))


def _element(group: int, element: int, vr: str, value: bytes) -> bytes:
    if vr in _LONG:
        return struct.pack("<HH2sHI", group, element, vr.encode(), 0, len(value)) + value
    return struct.pack("<HH2sH", group, element, vr.encode(), len(value)) + value


def _text(vr: str, value: str) -> bytes:
    data = value.encode("ascii")
    return data if len(data) % 2 == 0 else data + (b"\0" if vr == "UI" else b" ")


# Storing ------------------------------------------------------------------------------------------------------------


def _stored_by_others(folder: Path, study: _Study) -> Iterator[Figure]:
    """Storescp and Orthanc, where this machine has them."""
    if shutil.which("storescp"):
        with _storescp(folder / "storescp") as port:
            yield from _stored("storescp (plain files, no fsync)", port, "STORESCP", study)
    if shutil.which("Orthanc"):
        with _orthanc(folder / "orthanc") as (port, web):
            yield from _stored("Orthanc", port, "ORTHANC", study)
            if web:
                yield from _found("Orthanc", web, "")


def _stored(target: str, port: int, aet: str, study: _Study) -> list[Figure]:
    """C-STORE of the study, once by one association and once by four: the second time under other UIDs."""
    figures = []
    for number, associations in enumerate(ASSOCIATIONS):
        images = study.images if number == 0 else _renamed(study)
        sent, seconds = asyncio.run(_send(port, aet, images, associations))
        size = sum(len(image.dataset) for image in images[:sent])
        what = f"C-STORE, {associations} association{'s' if associations > 1 else ''}"
        figures.append(Figure(what, target, sent, size, seconds, sent / seconds, "instances/s"))
    return figures


def _renamed(study: _Study) -> tuple[_Image, ...]:
    """The same images as another study: UIDs of the same length, so that a plain exchange is enough."""

    def other(uid: str) -> str:
        return uid[:-6] + f"{(int(uid[-6:]) + 1) % 10**6:06}"

    series = other(study.uid)
    return tuple(
        _Image(
            other(image.uid),
            image.dataset.replace(image.uid.encode(), other(image.uid).encode()).replace(
                study.uid.encode(), series.encode()
            ),
        )
        for image in study.images
    )


async def _send(port: int, aet: str, images: Sequence[_Image], associations: int) -> tuple[int, float]:
    """How many were acknowledged, and how long that took; ends after STORE_SECONDS."""
    waiting, sent = list(reversed(images)), 0

    async def one() -> None:
        nonlocal sent
        contexts = [ProposedContext(1, _CT, (_EXPLICIT_LITTLE,))]
        limits = Limits(connect=5.0, associate=10.0, response=STORE_SECONDS)
        async with Association(
            "127.0.0.1", port, calling="BENCH", called=aet, contexts=contexts, limits=limits
        ) as peer:
            context = peer.context_of(_CT)
            while waiting and time.monotonic() < deadline:
                image = waiting.pop()
                reply = await peer.store(context, _pieces(image.dataset), sop_class_uid=_CT, sop_instance_uid=image.uid)
                if reply.status != 0:
                    raise NotAccepted(f"{reply.status:04X}")
                sent += 1

    began = time.monotonic()
    deadline = began + STORE_SECONDS
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(associations):
                group.create_task(one())
    except* LeveretError as errors:
        raise BenchFailed(str(errors.exceptions[0])) from errors
    return sent, max(time.monotonic() - began, 0.001)


async def _pieces(data: bytes) -> AsyncIterator[memoryview]:
    view = memoryview(data)
    for at in range(0, len(view), 128 * 1024):
        yield view[at : at + 128 * 1024]


# Searching ----------------------------------------------------------------------------------------------------------


def _found(target: str, port: int, token: str) -> list[Figure]:
    """QIDO-RS: studies of one patient, one search after another."""
    headers = {"Accept": "application/dicom+json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    times = []
    try:
        for _ in range(SEARCHES):
            began = time.monotonic()
            connection.request("GET", f"/dicom-web/studies?PatientID={_PATIENT}", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != http.client.OK or not json.loads(body):
                raise BenchFailed(f"{target} answered {answer.status}")
            times.append(time.monotonic() - began)
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise BenchFailed(f"{target}: {type(exc).__name__}") from exc
    finally:
        connection.close()
    median = statistics.median(times)
    return [Figure("QIDO-RS, studies of a patient", target, len(times), 0, sum(times), 1000 * median, "ms, median")]


# Sharing ------------------------------------------------------------------------------------------------------------


def _transferred(north: "_Node", lake: "_Node", study: _Study) -> Figure:
    """The study from one facility to the other, by share code: asked for, decided, moved, verified, signed for."""
    invitation = str(north.home / "invitation")
    north.run("peers", "invite", "--out", invitation, "--auto-confirm", "--expires", "10m")
    lake.run("peers", "join", invitation)
    code = north.run("share-code", "create", "--patient-id", _PATIENT)["code"]
    holder = north.run("id")["peer_id"]
    began = time.monotonic()
    wanted = ("request", "--from", holder, "--study", study.uid, "--share-code", "-", "--wait")
    done = lake.run(*wanted, given=code)
    seconds = time.monotonic() - began
    if done["state"] != "COMPLETED":
        raise BenchFailed(f"the transfer ended {done['state']} ({done['code']})")
    size = done["bytes"]
    return Figure(
        "transfer between two facilities", "Leveret (consent, TLS 1.3, verified, durable, signed for)",
        done["instances"], size, seconds, size / done["seconds"] / 1e6, "MB/s of images",
    )  # fmt: skip


# Processes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Node:
    """A facility of its own, serving."""

    home: Path
    dicom: int
    api: int

    def run(self, *arguments: str, given: str = "") -> Any:
        """A command; what it prints."""
        return _command(self.home / "node", *arguments, given=given)

    def token(self) -> str:
        """Of a clinician."""
        password = self.home / "password"
        password.write_text("only for this benchmark\n")
        self.run("users", "add", "bench", "--role", "clinician", "--password-file", str(password))
        return str(self.run("users", "token", "bench")["token"])


@contextlib.contextmanager
def _node(folder: Path, name: str) -> Iterator[_Node]:
    home = folder / name
    home.mkdir()
    anywhere = [f"--{what}-listen=127.0.0.1:0" for what in ("peer", "api", "dicom")]
    _command(home / "node", "init", "--name", name, *anywhere)
    with (home / "log").open("wb") as log, _process(_leveret(home / "node", "serve"), log) as process:
        _wait(lambda: b'"ready"' in (home / "log").read_bytes(), process, name)
        listens = _command(home / "node", "status")["listen"]
        yield _Node(home, *(int(listens[what].rpartition(":")[2]) for what in ("dicom", "api")))


def _leveret(data: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-c", "from node.cli import main; main()", *arguments, "--data", str(data)]


def _command(data: Path, *arguments: str, given: str = "") -> Any:
    """A command that must succeed; its JSON document."""
    try:
        done = subprocess.run(  # noqa: S603 - this very program
            [*_leveret(data, *arguments), "--json"], input=given, capture_output=True, text=True,
            timeout=CALL_SECONDS, check=False, env=_environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise BenchFailed(f"{arguments[0]} did not end") from exc
    if done.returncode:
        raise BenchFailed(done.stderr.strip().splitlines()[-1][:200] if done.stderr else arguments[0])
    return json.loads(done.stdout)


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LEVERET_")}
    return kept | {"LEVERET_PEER_DISCOVERY": "false", "TCP_NODELAY": "1"}  # dcmtk wants the latter


@contextlib.contextmanager
def _storescp(folder: Path) -> Iterator[int]:
    folder.mkdir()
    port = _free_port()
    command = ["storescp", "--fork", "--output-directory", str(folder), str(port)]
    with _process(command) as process:
        _wait(lambda: _answers(port), process, "storescp")
        yield port


@contextlib.contextmanager
def _orthanc(folder: Path) -> Iterator[tuple[int, int]]:
    """Its DICOM port, and its web port if it speaks DICOMweb (else 0)."""
    folder.mkdir()
    port, web = _free_port(), _free_port()
    settings: dict[str, Any] = {
        "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
        "HttpPort": web, "DicomPort": port, "DicomAet": "ORTHANC", "TcpNoDelay": True,
        "AuthenticationEnabled": False, "RemoteAccessAllowed": False, "DicomAlwaysAllowStore": True,
    }  # fmt: skip
    if _ORTHANC_PLUGIN.exists():
        settings |= {"Plugins": [str(_ORTHANC_PLUGIN)], "DicomWeb": {"Enable": True}}
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with _process(["Orthanc", str(folder / "orthanc.json")]) as process:
        _wait(lambda: _answers(port) and _answers(web), process, "Orthanc")
        yield port, web if "Plugins" in settings else 0


@contextlib.contextmanager
def _process(command: Sequence[str], log: Any = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, so that Ctrl-C reaches this one alone; ended with the block."""
    process = subprocess.Popen(  # noqa: S603 - programs that a person installed here
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=_environment()
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(ready: Any, process: subprocess.Popen[bytes], name: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchFailed(f"{name} did not start")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
