"""A full or dying disk: clean refusals, nothing half-written, reads go on."""

import asyncio
import errno
import os
from pathlib import Path

import pytest
from support.failing_disk import FailingDisk
from support.store import header, instance_uid, opened_store

from node.errors.base import LeveretError
from node.errors.storage import DiskFull, StorageFailed
from node.store.objects import ObjectStore, PutOutcome
from node.store.pack_format import PACK_HEADER_BYTES
from node.store.study_queries import InstanceQuery


def packs(directory: Path) -> list[Path]:
    return sorted(directory.glob("packs/??/*.pack"), key=lambda path: path.stat().st_mtime_ns)


async def intact(store: ObjectStore, bodies: dict[int, bytes]) -> None:
    await store.indexed()
    held = {i.header.sop_instance_uid for i in await store.instances(InstanceQuery())}
    assert {instance_uid(1, number) for number in bodies} == held
    for number, body in bodies.items():
        assert await (await store.reader(instance_uid(1, number))).read() == body


@pytest.mark.parametrize("already", [0, 2])
async def test_no_space_for_a_write(tmp_path: Path, already: int) -> None:
    disk = FailingDisk()
    bodies = {number: os.urandom(20_000) for number in range(already)}
    async with opened_store(tmp_path, disk=disk) as (store, _db):
        for number, body in bodies.items():
            await store.put(header(instance=number), body)
        before = [path.stat().st_size for path in packs(tmp_path)]
        disk.fail("write", errno.ENOSPC)
        with pytest.raises(DiskFull):
            await store.put(header(instance=7), os.urandom(20_000))
        assert [path.stat().st_size for path in packs(tmp_path) if path.stat().st_size] == before
        await intact(store, bodies)
        bodies[7] = b"after"
        assert (await store.put(header(instance=7), bodies[7])).outcome is PutOutcome.STORED
        assert len(packs(tmp_path)) == 1  # the pack goes on
    async with opened_store(tmp_path) as (store, _db):
        await intact(store, bodies)


async def test_no_space_and_the_file_cannot_be_cut(tmp_path: Path) -> None:
    disk = FailingDisk()
    bodies = {1: os.urandom(20_000)}
    async with opened_store(tmp_path, disk=disk) as (store, _db):
        await store.put(header(instance=1), bodies[1])
        disk.fail("write", errno.ENOSPC)
        disk.fail("truncate", errno.EIO)
        with pytest.raises(DiskFull):
            await store.put(header(instance=2), os.urandom(20_000))
        bodies[2] = b"after"
        await store.put(header(instance=2), bodies[2])
        assert len(packs(tmp_path)) == 2
        await intact(store, bodies)
    async with opened_store(tmp_path) as (store, _db):
        await intact(store, bodies)


async def test_below_the_reserve_nothing_is_taken_in(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with opened_store(tmp_path, disk=disk, reserve=1_000_000) as (store, _db):
        await store.put(header(instance=1), b"one")
        disk.space = 1_010_000
        with pytest.raises(DiskFull):
            await store.put(header(instance=2), os.urandom(20_000))

        async def stream() -> object:
            yield os.urandom(2_000_000)

        with pytest.raises(DiskFull):
            await store.put_stream(header(instance=2), stream())  # type: ignore[arg-type]
        assert len(packs(tmp_path)) == 1
        await intact(store, {1: b"one"})
        assert (await store.put(header(instance=1), b"one")).outcome is PutOutcome.SAME
        disk.space = 2**40
        await store.put(header(instance=2), b"two")
        await intact(store, {1: b"one", 2: b"two"})


async def test_a_failed_sync_is_never_asked_again(tmp_path: Path) -> None:
    disk = FailingDisk()
    bodies = {1: os.urandom(20_000)}
    async with opened_store(tmp_path, disk=disk) as (store, _db):
        await store.put(header(instance=1), bodies[1])
        [first] = packs(tmp_path)
        durable = first.stat().st_size
        disk.fail("sync", errno.EIO)
        with pytest.raises(StorageFailed):
            await store.put(header(instance=2), os.urandom(20_000))
        disk.calls.clear()
        bodies[2] = b"after"
        await store.put(header(instance=2), bodies[2])
        assert disk.calls.count("sync") == 1  # of the new pack
        assert len(packs(tmp_path)) == 2
        assert first.stat().st_size == durable
        await intact(store, bodies)
    async with opened_store(tmp_path) as (store, _db):
        await intact(store, bodies)


async def test_an_error_while_many_write(tmp_path: Path) -> None:
    """Whatever was acknowledged is there, whatever was refused is not, at every position of the failure."""
    for operation in ("write", "sync"):
        for after in range(6):
            directory = tmp_path / f"{operation}{after}"
            await asyncio.to_thread(directory.mkdir)
            disk = FailingDisk()
            disk.fail(operation, errno.EIO, after=after)
            bodies: dict[int, bytes] = {}
            async with opened_store(directory, disk=disk) as (store, _db):

                async def put(number: int, store: ObjectStore = store, bodies: dict[int, bytes] = bodies) -> None:
                    body = os.urandom(5_000)
                    try:
                        await store.put(header(instance=number), body)
                    except LeveretError:
                        return
                    bodies[number] = body

                async with asyncio.TaskGroup() as group:
                    for number in range(40):
                        group.create_task(put(number))
                        if number % 5 == 0:
                            await asyncio.sleep(0.002)
                await intact(store, bodies)
            async with opened_store(directory) as (store, _db):
                await intact(store, bodies)


@pytest.mark.parametrize(("operation", "code"), [("write", errno.ENOSPC), ("write", errno.EIO), ("sync", errno.EIO)])
async def test_a_stream_on_a_failing_disk(tmp_path: Path, operation: str, code: int) -> None:
    disk = FailingDisk()
    async with opened_store(tmp_path, disk=disk) as (store, _db):
        disk.fail(operation, code, after=1 if operation == "write" else 0)

        async def stream() -> object:
            for _ in range(4):
                yield bytes(1_000_000)

        with pytest.raises((DiskFull, StorageFailed)):
            await store.put_stream(header(), stream())  # type: ignore[arg-type]
        assert packs(tmp_path) == []
        await store.put(header(), b"after")
        await intact(store, {1: b"after"})


async def test_a_disk_that_always_fails_stops_nothing_but_puts(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with opened_store(tmp_path, disk=disk) as (store, _db):
        await store.put(header(instance=1), b"one")
        disk.fail("write", errno.EIO, always=True)
        for number in range(2, 6):
            with pytest.raises(StorageFailed):
                await store.put(header(instance=number), b"x")
        await intact(store, {1: b"one"})
        disk.heal()
        await store.put(header(instance=2), b"two")
        await intact(store, {1: b"one", 2: b"two"})
    assert all(path.stat().st_size > PACK_HEADER_BYTES for path in packs(tmp_path))
