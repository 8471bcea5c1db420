"""Ingest straight into the store: 530 KB instances, encrypted, durable and indexed, at several degrees of concurrency.

Run ``make bench ARGS='-k store'``. The figures stand in docs/performance.md.
"""

import asyncio
import os
import time
from pathlib import Path

import pytest
from support.store import header, opened_store

INSTANCE_BYTES = 530_000
INSTANCES = 1000
DISTINCT = 8  # data sets kept in memory; each instance still gets its own UID and key


@pytest.mark.bench
@pytest.mark.parametrize("concurrency", [1, 4, 16, 32])
async def test_ingest(tmp_path: Path, concurrency: int) -> None:
    datasets = [os.urandom(INSTANCE_BYTES) for _ in range(DISTINCT)]
    todo = iter(range(INSTANCES))
    async with opened_store(tmp_path) as (store, _db):

        async def sender() -> None:
            for number in todo:
                await store.put(header(instance=number), datasets[number % DISTINCT])

        started, cpu = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(sender())
        durable = time.perf_counter() - started
        await store.indexed()
        indexed, cpu = time.perf_counter() - started, time.process_time() - cpu
        assert (await store.totals()).instances == INSTANCES
    megabytes = INSTANCES * INSTANCE_BYTES / 1e6
    print(
        f"\nstore ingest, {concurrency} at a time: {megabytes / durable:.0f} MB/s, {INSTANCES / durable:.0f}/s"
        f" durable; indexed after {indexed - durable:.3f} s more; {cpu:.2f} CPU s"
    )


@pytest.mark.bench
async def test_read_back(tmp_path: Path) -> None:
    data = os.urandom(INSTANCE_BYTES)
    async with opened_store(tmp_path) as (store, _db):
        headers = [header(instance=number) for number in range(INSTANCES)]
        for one in headers:
            await store.put(one, data)
        await store.indexed()
        started = time.perf_counter()
        for one in headers:
            reader = await store.reader(one.sop_instance_uid)
            async for _piece in reader.chunks():
                pass
        seconds = time.perf_counter() - started
        readers = await store.readers([one.sop_instance_uid for one in headers])
        started = time.perf_counter()
        for reader in readers.values():
            async for _piece in reader.chunks():
                pass
        together = time.perf_counter() - started
    megabytes = INSTANCES * INSTANCE_BYTES / 1e6
    print(f"\nstore read: {megabytes / seconds:.0f} MB/s one by one, {megabytes / together:.0f} MB/s together")


@pytest.mark.bench
async def test_stream(tmp_path: Path) -> None:
    piece = os.urandom(256 * 1024)
    pieces = 2048  # 512 MiB

    async def stream() -> object:
        for _ in range(pieces):
            yield piece

    async with opened_store(tmp_path) as (store, _db):
        started = time.perf_counter()
        await store.put_stream(header(instance=1), stream())  # type: ignore[arg-type]
        seconds = time.perf_counter() - started
    print(f"\nstore stream of 512 MiB: {pieces * len(piece) / seconds / 1e6:.0f} MB/s")
