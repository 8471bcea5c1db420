"""Instances read ahead of whoever takes them, so that the disk and the processor work while the network does."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

from node.model.instance import StoredInstance
from node.store.objects import ObjectStore
from node.store.reading import ObjectReader

_T = TypeVar("_T")

READERS_AT_ONCE = 200  # instances whose place is looked up with one question to the index
AHEAD = 3  # instances whose first mebibyte is on its way while another is answered


class Begun:
    """An instance whose first bytes are being read already."""

    def __init__(self, instance: StoredInstance, reader: ObjectReader) -> None:
        self.instance = instance
        self.reader = reader
        self._pieces = reader.chunks()
        self._first = asyncio.create_task(_next(self._pieces), name="read-ahead")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The whole data set; raises ObjectDamaged."""
        if (first := await self._first) is not None:
            yield first
            async for piece in self._pieces:
                yield piece

    async def stop(self) -> None:
        """Read no more; whoever wanted it has gone, so that neither its bytes nor its error matter."""
        self._first.cancel()
        await asyncio.wait({self._first})
        if not self._first.cancelled():
            self._first.exception()
        await self._pieces.aclose()


async def _next(pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(pieces, None)


async def read_ahead(store: ObjectStore, found: Sequence[StoredInstance]) -> AsyncGenerator[Begun, None]:
    """The instances in their order, those that come next begun already. Close it, for it owns what it began.

    Raises:
        UnknownInstance: one was deleted meanwhile.
    """
    begun: deque[Begun] = deque()
    try:
        async with contextlib.aclosing(readers_of(store, found)) as readers:
            async for instance, reader in readers:
                begun.append(Begun(instance, reader))
                if len(begun) > AHEAD:
                    yield begun[0]
                    await begun.popleft().stop()
        while begun:
            yield begun[0]
            await begun.popleft().stop()
    finally:
        for one in begun:
            await one.stop()


async def in_order(work: AsyncGenerator[Coroutine[Any, Any, _T], None]) -> AsyncGenerator[_T, None]:
    """What the coroutines return, in their order; those that come next run already. Close it, for it owns them."""
    tasks: deque[asyncio.Task[_T]] = deque()
    try:
        async with contextlib.aclosing(work) as coming:
            async for one in coming:
                tasks.append(asyncio.create_task(one, name="read-ahead"))
                if len(tasks) > AHEAD:
                    yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # of something that nobody waits for any more


async def readers_of(
    store: ObjectStore, found: Sequence[StoredInstance]
) -> AsyncGenerator[tuple[StoredInstance, ObjectReader], None]:
    """The instances with their readers, many looked up at once."""
    for first in range(0, len(found), READERS_AT_ONCE):
        some = found[first : first + READERS_AT_ONCE]
        readers = await store.readers([i.header.sop_instance_uid for i in some])
        for instance in some:
            reader = readers.get(instance.header.sop_instance_uid)
            yield instance, reader or await store.reader(instance.header.sop_instance_uid)
