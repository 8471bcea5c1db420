"""Pulling a release: several streams of whole instances at once, each checked, encrypted and staged as it comes.

Memory is bounded by a budget that is taken before an instance is read and given back when it is durable, so a slow disk
slows the network down. Any trouble ends the whole attempt; what was durable by then is not asked for again.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from node.dicom.pool import ParserPool
from node.errors.base import Retryable
from node.model.release import ReleaseManifest
from node.model.transfer import travel_order
from node.peers.client import PeerClients
from node.peers.handlers_requests import MAX_INDEXES
from node.sharing.incoming import Count, IncomingStream, Stager
from node.store.objects import ObjectStore

BATCH_BYTES = 64 * 1024 * 1024  # asked for in one stream, so that no stream is left with all the rest
LEAST_BATCH_BYTES = 16 * 1024 * 1024  # each stream has a connection of its own, which takes a handshake


@dataclass(frozen=True, slots=True)
class PullParts:
    """What a pull works with."""

    store: ObjectStore
    parsers: ParserPool
    clients: PeerClients
    streams: int


class Pull:
    """One attempt to bring the missing instances of a release into the staging area."""

    def __init__(self, parts: PullParts, manifest: ReleaseManifest, count: Count) -> None:
        self._clients = parts.clients
        self._streams = parts.streams
        self._manifest = manifest
        self._count = count
        self._stager = Stager(parts.store, parts.parsers, manifest, count)
        self._queue: deque[int] = deque()
        self._left = 0  # bytes in the queue

    async def run(self, missing: Sequence[int]) -> None:
        """Bring the instances with these indexes; when it returns, all of them are durable.

        Raises:
            A Retryable error: the network, the peer or the disk; try again later.
            RemoteRefusal: the holder does not go on. ReleaseMismatch, FrameError: it sends what it did not promise.
        """
        series = [entry.series_instance_uid for _, entry in self._manifest.instances]
        self._queue = deque(travel_order(series, missing))
        self._left = sum(self._size(index) for index in missing)
        trouble: Exception | None = None
        try:
            async with asyncio.TaskGroup() as puts:
                try:
                    await self._all_streams(min(self._streams, len(missing)), puts)
                except ExceptionGroup as group:
                    trouble = worst(group)  # what has arrived whole is staged all the same: each attempt gets on
        except ExceptionGroup as group:
            raise worst(group) from group
        if trouble is not None:
            raise trouble

    async def _all_streams(self, count: int, puts: asyncio.TaskGroup) -> None:
        async with asyncio.TaskGroup() as streams:
            for _ in range(count):
                streams.create_task(self._work(puts))

    async def _work(self, puts: asyncio.TaskGroup) -> None:
        while self._queue:
            client = self._clients.get(self._manifest.holder)
            await IncomingStream(client, self._manifest, self._stager, self._count, puts).run(self._next_batch())

    def _next_batch(self) -> list[int]:
        """The next indexes for one stream: fewer towards the end, so that all streams end together."""
        limit = max(LEAST_BATCH_BYTES, min(BATCH_BYTES, self._left // (2 * self._streams)))
        batch: list[int] = []
        size = 0
        while self._queue and len(batch) < MAX_INDEXES and (not batch or size < limit):
            batch.append(self._queue.popleft())
            size += self._size(batch[-1])
        self._left -= size
        return batch

    def _size(self, index: int) -> int:
        return self._manifest.instances[index][1].size


def worst(group: ExceptionGroup[Exception]) -> Exception:
    """The one error that says most of a group: one that no retry heals before one that a retry may heal."""
    leaves: list[Exception] = []
    todo: list[Exception] = [group]
    while todo:
        one = todo.pop(0)
        if isinstance(one, ExceptionGroup):
            todo.extend(one.exceptions)
        else:
            leaves.append(one)
    return next((leaf for leaf in leaves if not isinstance(leaf, Retryable)), leaves[0])
