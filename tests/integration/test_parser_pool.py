"""Parser processes as they are: real ones, with real hostile data sets."""

import asyncio
import contextlib
import json
import os
import signal
import struct
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.datasets import CT, DEFLATED, EXPLICIT, INSTANCE, bomb, deflate, element, identity, nested, pixels
from support.zoo import brain, zoo

import node
from node.dicom.part10 import split_part10
from node.dicom.pool import ParserPool
from node.dicom.process import ParserProcess
from node.errors import LeveretError
from node.errors.dicom import (
    DicomRefused,
    HeaderRefused,
    HeaderTooLarge,
    InvalidHeader,
    NoSuchElement,
    ParserStopped,
    Truncated,
)
from node.errors.storage import ObjectDamaged
from node.model.ids import TransferSyntaxUID

PACKAGE = str(Path(node.__file__).parents[1])
WELL = identity() + pixels(100_000)


@pytest.fixture
async def pool() -> AsyncIterator[ParserPool]:
    async with ParserPool(2) as running:
        yield running


def children() -> set[int]:
    """Parser processes of this process."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"node.dicom.worker" in command:
            found.add(int(status.parent.name))
    return found


def peak_memory(pid: int) -> int:
    """Bytes of resident memory at most so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def proc(pid: int, name: str) -> str:
    """A file of a process; empty where this user may not read it."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    stat = proc(pid, "stat")
    return stat != "" and stat.rsplit(")", 1)[1].split()[0] not in {"Z", "X"}


def names_and_bytes() -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in zoo()]


async def test_the_whole_zoo_goes_through(pool: ParserPool) -> None:
    outcomes = {}

    async def one(name: str, data: bytes) -> None:
        try:
            part = split_part10(data)
            dataset = memoryview(data)[part.dataset_offset :]
            header = await pool.parse_header(dataset, part.transfer_syntax)
            document = json.loads(await pool.to_json(dataset, part.transfer_syntax, "http://node/bulk"))
            assert document["00080018"]["Value"] == [header.sop_instance_uid]
            outcomes[name] = "ok"
        except DicomRefused as refusal:
            outcomes[name] = refusal.code

    async with asyncio.TaskGroup() as group:
        for name, data in names_and_bytes():
            group.create_task(one(name, data))
    counts = {code: list(outcomes.values()).count(code) for code in set(outcomes.values())}
    assert counts.pop("ok") > 220
    assert outcomes["MR_truncated.dcm"] == outcomes["rtplan_truncated.dcm"] == "truncated"
    assert outcomes["ExplVR_LitEndNoMeta.dcm"] == "no_meta_header"
    assert outcomes["brain_001.dcm"] == "ok"
    assert set(counts) <= {
        "invalid_header", "not_dicom", "no_meta_header", "truncated", "media_directory", "invalid_meta_header",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "syntax", "error"),
    [
        (bomb(b"", 0x00080010, 300), DEFLATED, HeaderTooLarge),
        (identity() + element(0x00281201, "OW", b"xx", 0xFFFFFFF0), EXPLICIT, Truncated),
        (identity() + nested(3000), EXPLICIT, HeaderTooLarge),
        (b"".join(element(0x00110000 + (i // 60000 << 17) + i % 60000, "UN", b"") for i in range(100_000)), EXPLICIT,
         HeaderTooLarge),
        (identity(instance="../../../../etc/cron.d/x"), EXPLICIT, InvalidHeader),
        (identity(instance="1.2.3\n4"), EXPLICIT, InvalidHeader),
        (b"\x08\x00\x05\x00\xff\xff" * 5000, EXPLICIT, DicomRefused),
        (deflate(WELL)[:-200], DEFLATED, DicomRefused),
        (b"", EXPLICIT, InvalidHeader),
    ],
    ids=["inflation", "length", "nesting", "elements", "path", "newline", "junk", "cut deflate", "empty"],
)  # fmt: skip
async def test_hostile_data_sets_are_refused_in_bounds(
    pool: ParserPool, dataset: bytes, syntax: TransferSyntaxUID, error: type[DicomRefused]
) -> None:
    started = time.monotonic()
    with pytest.raises(error):
        await pool.parse_header(dataset, syntax)
    with contextlib.suppress(DicomRefused):  # metadata may leave off before the trouble
        await pool.to_json(dataset, syntax, "")
    assert time.monotonic() - started < 30
    assert all(peak_memory(pid) < 400 << 20 for pid in children())
    assert (await pool.parse_header(WELL, EXPLICIT)).patient.patient_id == "P1"


async def test_a_worker_that_runs_out_of_memory_says_so(pool: ParserPool) -> None:
    # 15 MiB of one-character values become a tree of a million texts.
    hungry = identity() + element(0x00204000, "LT", "x") + element(0x00081110, "SH", "\\" * 60_000)
    hungry += b"".join(element(0x00090010 + i, "LO", "\\" * 65_000) for i in range(240))
    with contextlib.suppress(HeaderTooLarge, HeaderRefused):
        await pool.to_json(hungry, EXPLICIT, "")
    assert (await pool.parse_header(WELL, EXPLICIT)).patient.patient_id == "P1"


async def test_a_worker_that_takes_too_long_is_replaced_and_the_others_wait_on() -> None:
    async with ParserPool(1, task_seconds=0.5) as pool:
        await pool.parse_header(WELL, EXPLICIT)
        (pid,) = children()
        os.kill(pid, signal.SIGSTOP)
        jobs = [asyncio.ensure_future(pool.parse_header(WELL, EXPLICIT)) for _ in range(3)]
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes].count(HeaderRefused) == 1
        assert isinstance(outcomes[0], HeaderRefused)
        assert children() != {pid}
        assert not is_alive(pid)


async def test_a_worker_that_dies_is_replaced_and_nothing_is_lost(pool: ParserPool) -> None:
    outcomes: list[object] = []

    async def kill() -> None:  # its turns come among those of the others
        for _ in range(3):
            await pool.parse_header(WELL, EXPLICIT)
            for pid in sorted(children())[:1]:
                os.kill(pid, signal.SIGKILL)

    async def parse() -> None:
        for _ in range(15):
            try:
                outcomes.append(await pool.parse_header(WELL, EXPLICIT))
            except (HeaderRefused, ParserStopped) as refusal:  # killed twice at it, or while starting
                outcomes.append(refusal)

    async with asyncio.TaskGroup() as group:
        group.create_task(kill())
        for _ in range(4):
            group.create_task(parse())
    assert len(outcomes) == 4 * 15
    assert sum(isinstance(outcome, Exception) for outcome in outcomes) <= 6
    assert (await pool.parse_header(WELL, EXPLICIT)).sop_instance_uid == INSTANCE


async def test_closing_ends_the_processes_and_tells_who_waits() -> None:
    async with ParserPool(2) as pool:
        await pool.parse_header(WELL, EXPLICIT)
        (pid,) = children()
        os.kill(pid, signal.SIGSTOP)
        waiting = [asyncio.ensure_future(pool.parse_header(WELL, EXPLICIT)) for _ in range(40)]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert any(isinstance(outcome, ParserStopped) for outcome in outcomes)
    assert all(isinstance(outcome, ParserStopped) or not isinstance(outcome, Exception) for outcome in outcomes)
    assert children() == set()
    with pytest.raises(ParserStopped):
        await pool.parse_header(WELL, EXPLICIT)


async def test_a_caller_that_is_cancelled_does_not_disturb_the_others(pool: ParserPool) -> None:
    jobs = [asyncio.ensure_future(pool.parse_header(WELL, EXPLICIT)) for _ in range(50)]
    await asyncio.sleep(0.01)
    for job in jobs[::2]:
        job.cancel()
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert all(not isinstance(outcome, BaseException) for outcome in outcomes[1::2])


async def test_no_process_starts_where_none_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.dicom.process.sys.executable", "/nonexistent/python")
    async with ParserPool(1) as pool:
        with pytest.raises(ParserStopped):
            await pool.parse_header(WELL, EXPLICIT)


async def test_a_worker_has_no_secrets_and_few_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVERET_SECRET", "swordfish")
    worker = await ParserProcess.start()
    try:
        status, limits, environment = (proc(worker.pid, name) for name in ("status", "limits", "environ"))
        assert "NoNewPrivs:\t1" in status
        assert any(line.split()[:4] == ["Max", "file", "size", "0"] for line in limits.splitlines())
        assert any(line.split()[:5] == ["Max", "core", "file", "size", "0"] for line in limits.splitlines())
        assert "swordfish" not in environment
    finally:
        await worker.kill()


async def test_workers_die_with_their_parent() -> None:
    script = (
        "import asyncio, os, sys\n"
        "from node.dicom.process import ParserProcess\n"
        "async def main():\n"
        "    worker = await ParserProcess.start()\n"
        "    print(worker.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    env = {**os.environ, "PYTHONPATH": PACKAGE}
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, env=env)
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert is_alive(pid)
    parent.kill()
    await parent.wait()
    deadline = time.monotonic() + 5
    while is_alive(pid):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


class Stored:
    """A data set that is read piece by piece and counts what is read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.count = 0

    @property
    def size(self) -> int:
        return len(self.data)

    async def read(self, offset: int, length: int) -> bytes:
        await asyncio.sleep(0)
        self.count += length
        return self.data[offset : offset + length]


async def test_of_a_stored_object_only_the_head_is_read(pool: ParserPool) -> None:
    for data in (brain()[0], brain()[1]):
        part = split_part10(data)
        stored = Stored(data[part.dataset_offset :])
        header = await pool.parse_header(stored, part.transfer_syntax)
        assert header == await pool.parse_header(stored.data, part.transfer_syntax)
        document = json.loads(await pool.to_json(stored, part.transfer_syntax, "http://node/b"))
        assert document["7FE00010"]["BulkDataURI"] == "http://node/b/7FE00010"
        place = await pool.locate(stored, part.transfer_syntax, "7FE00010")
        assert (place.length, place.vr) == (131072, "OW")
        assert stored.count < 100_000
        with pytest.raises(NoSuchElement):
            await pool.locate(stored, part.transfer_syntax, "00420011")


async def test_what_goes_wrong_in_reading_reaches_the_caller(pool: ParserPool) -> None:
    class Damaged(Stored):
        async def read(self, offset: int, length: int) -> bytes:
            if offset + length > 20_000:
                raise ObjectDamaged("0" * 32)
            return await super().read(offset, length)

    private = element(0x00091010, "SQ", b"", 0) + element(0x00091011, "OB", bytes(15_000))
    with pytest.raises(ObjectDamaged):
        await pool.to_json(Damaged(private + private + identity() + pixels(50_000)), EXPLICIT, "")
    assert (await pool.parse_header(WELL, EXPLICIT)).sop_class_uid == CT


async def test_pixel_data_of_many_fragments_does_not_hold_up_the_loop(pool: ParserPool) -> None:
    item = b"\xfe\xff\x00\xe0" + bytes(4)
    head = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
    many = identity() + head + item * 200_000 + b"\xfe\xff\xdd\xe0" + bytes(4)
    job = asyncio.ensure_future(pool.parse_header(many, EXPLICIT))
    longest, last = 0.0, time.monotonic()
    while not job.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert (await job).sop_instance_uid == INSTANCE
    assert longest < 0.5
    with pytest.raises(LeveretError):
        await pool.parse_header(many[:-4], EXPLICIT)
