"""SIGKILL at random moments of storing: nothing acknowledged is lost, nothing is there twice.

A child process stores instances, several at a time, some of them by stream or twice, and writes a line once each is
acknowledged. It is killed without warning; the next child opens the same directory and goes on.
"""

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.store import instance_uid, opened_store

from node.store.study_queries import InstanceQuery

CHILD = Path(__file__).parents[1] / "support" / "store_child.py"
ROOT = Path(__file__).parents[2]


def spawn(directory: Path, start: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(directory), str(start)], stdout=subprocess.PIPE, env=environment
    )


def run_and_kill(directory: Path, start: int, wait: float) -> list[tuple[int, str]]:
    """Let a child store until ``wait`` seconds after it is ready; what it acknowledged, as (number, SHA-256)."""
    child = spawn(directory, start)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    try:
        child.wait(wait)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
    rest = child.stdout.read()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    complete = rest[: rest.rfind(b"\n") + 1].decode().split("\n")[:-1]
    return [(int(number), digest) for number, digest in (line.split() for line in complete)]


async def check(directory: Path, acknowledged: dict[int, str]) -> None:
    async with opened_store(directory) as (store, db):
        async with db.read() as rx:
            assert await rx.fetch_value("PRAGMA integrity_check") == "ok"
            assert await rx.fetch_all("PRAGMA foreign_key_check") == []
        instances = await store.instances(InstanceQuery())
        uids = [i.header.sop_instance_uid for i in instances]
        assert len(set(uids)) == len(uids)
        held = {int(i.header.instance_number): i.digest.value.hex() for i in instances}
        assert {n: held.get(n) for n in acknowledged} == acknowledged
        readers = await store.readers([instance_uid(n % 3, n) for n in acknowledged])
        for number, digest in acknowledged.items():
            data = await readers[instance_uid(number % 3, number)].read()
            assert hashlib.sha256(data).hexdigest() == digest
        assert (await store.totals()).instances == len(instances)
        assert sum(s.instances for s in await store.studies()) == len(instances)


async def crash(directory: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: dict[int, str] = {}
    for turn in range(times):
        done = await asyncio.to_thread(run_and_kill, directory, turn * 100_000, chance.uniform(0, 0.25))
        acknowledged.update(done)
        if turn % 10 == 9:
            await check(directory, acknowledged)
    assert acknowledged
    await check(directory, acknowledged)
    left_over = await asyncio.to_thread(lambda: {path.stem for path in directory.glob("packs/*/*.pack")})
    async with opened_store(directory) as (_store, db), db.read() as rx:
        known = {bytes(row[0]).hex() for row in await rx.fetch_all("SELECT name FROM pack")}
    assert left_over <= known  # what a killed stream left behind was removed


async def test_sigkill_at_20_moments(tmp_path: Path) -> None:
    await crash(tmp_path, 20, seed=20)


@pytest.mark.soak
async def test_sigkill_at_200_moments(tmp_path: Path) -> None:
    await crash(tmp_path, 200, seed=int.from_bytes(os.urandom(4)))
