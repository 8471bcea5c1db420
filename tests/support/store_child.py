"""A process that stores until it is killed: ``store_child.py DIRECTORY FIRST-NUMBER`` (see test_store_crash.py)."""

import asyncio
import hashlib
import itertools
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from node.store.objects import ObjectStore
from support.store import header, opened_store

SENDERS = 8


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 50_000):
        yield data[at : at + 50_000]


async def send(store: ObjectStore, numbers: "itertools.count[int]") -> None:
    for number in numbers:
        data = os.urandom(20_000 + number % 7 * 40_000)
        one = header(study=number % 3, instance=number)
        if number % 11 == 0:
            await store.put_stream(one, pieces(data))
        else:
            await store.put(one, data)
        os.write(1, f"{number} {hashlib.sha256(data).hexdigest()}\n".encode())
        if number % 5 == 0:
            await store.put(one, data)
        if number % 37 == 0:
            await store.close_revision(one.study_instance_uid)


async def main(directory: Path, first: int) -> None:
    async with opened_store(directory) as (store, _db):
        os.write(1, b"ready\n")
        numbers = itertools.count(first)
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(send(store, numbers))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
