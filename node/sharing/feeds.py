"""Following the feeds of peers: pull what is new, believe nothing that is not proved, keep the rest as it was.

A batch is taken over alone and whole, in one transaction, after its signature, its ends and its place in the chain were
checked. Whatever a peer sends instead is refused: the position stays, what was known before stays in use.
"""

import asyncio
from collections.abc import Sequence

from node.clock import Clock
from node.crypto.announce import verify_batch
from node.crypto.identity import public_key_of_certificate
from node.errors.announce import FeedFork, FeedOversized, FeedRefused
from node.errors.base import LeveretError, Retryable
from node.errors.feeds import BatchMalformed
from node.errors.vault import FeedFrozen, FeedNotFrozen
from node.log import Logger
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.feed import (
    MAX_BATCH_BYTES,
    MIN_BATCH_BYTES,
    SIGNATURE_BYTES,
    TAG_BYTES,
    Batch,
    batch_hash,
    decode_batch,
)
from node.model.feed_chain import check_ends, follow
from node.model.ids import PeerId
from node.model.trust import TrustState
from node.peers.client import PeerClients
from node.peers.handlers_feed import FEED, FRAME_BYTES
from node.peers.ports import PeerDirectory
from node.store import audit, followed
from node.store.engine import Database
from node.store.followed import Fork

PULL_SECONDS = 300.0  # between pulls that nobody asked for
MAX_ANSWER_BYTES = 12 * 1024 * 1024  # an honest answer has 8 MiB of batches, and a batch is half of that at most
MAX_PULLS = 2000  # answers in one go; the next go continues: nobody keeps this node busy for ever
MAX_ENTRIES_KEPT = 16 * 1024 * 1024  # of one peer's epoch: 4 GiB, five million studies


class FeedReader:
    """Follows the feed of each trusted peer. ``run`` pulls at start, when nudged and now and then."""

    def __init__(
        self, *, db: Database, me: PeerId, directory: PeerDirectory, clients: PeerClients, clock: Clock, log: Logger
    ) -> None:
        self._db = db
        self._me = me
        self._directory = directory
        self._clients = clients
        self._clock = clock
        self._log = log
        self._turns: dict[PeerId, asyncio.Lock] = {}
        self._due: set[PeerId] = set()
        self._running: set[PeerId] = set()
        self._wake = asyncio.Event()
        # Refusals on record since the feed last went on: each kind once, in whatever order a peer repeats them.
        self._refused: dict[PeerId, set[str]] = {}

    def nudged(self, peer: PeerId) -> None:
        """Pull the feed of ``peer`` soon; immediate. Many nudges make one pull."""
        self._due.add(peer)
        self._wake.set()

    def trust_changed(self, peer: PeerId, state: TrustState) -> None:
        """A peer that has just become trusted may have something to say (``peers.ports.TrustListener``)."""
        if state is TrustState.TRUSTED:
            self.nudged(peer)

    async def run(self) -> None:
        """Pull until cancelled: one pull at a time of each peer, so that a slow peer delays no other."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._due.update(self._directory.trusted())
                try:
                    async with asyncio.timeout(PULL_SECONDS):
                        while True:
                            self._start_due(group)
                            await self._wake.wait()
                            self._wake.clear()
                except TimeoutError:
                    continue

    def _start_due(self, group: asyncio.TaskGroup) -> None:
        for peer in self._due - self._running:
            self._due.discard(peer)
            self._running.add(peer)
            group.create_task(self._pull_quietly(peer))

    async def _pull_quietly(self, peer: PeerId) -> None:
        try:
            await self.pull(peer)
        except Retryable as error:
            self._log.debug("feed not pulled", peer=peer.log, code=error.code)
        except LeveretError as error:
            self._log.warning("feed not pulled", peer=peer.log, code=error.code)
        except Exception as error:  # noqa: BLE001 - a defect that one peer's feed meets must not end the node
            self._log.error("feed not pulled by a defect", peer=peer.log, error=type(error).__name__)
        finally:
            self._running.discard(peer)
            self._wake.set()  # it may have become due again meanwhile

    async def pull(self, peer: PeerId) -> None:
        """Take over all that the feed of ``peer`` has and this node has not.

        Raises:
            FeedFrozen: it forked before, and nobody has said yet that it may be followed again.
            FeedRefused, BatchMalformed, BadSignature: what the peer sent is not believed.
            PeerUnreachable and the other errors of a call.
        """
        async with self._turns.setdefault(peer, asyncio.Lock()):
            async with self._db.read() as rx:
                if await followed.is_frozen(rx, peer):
                    raise FeedFrozen
            try:
                key = public_key_of_certificate(self._directory.certificate_of(peer))
                for _ in range(MAX_PULLS):
                    received = _split(await self._fetch(peer))
                    if not received:
                        break
                    for data in received:
                        await self._take_or_freeze(peer, key, data)
                        self._refused.pop(peer, None)
            except Retryable:
                raise
            except LeveretError as error:
                await self._record(peer, error)
                raise

    async def _fetch(self, peer: PeerId) -> bytes:
        async with self._db.read() as rx:
            known = await followed.followed(rx, peer)
        incarnation = known.position.incarnation if known else 0
        first = known.position.sequence + 1 if known else 0
        path = f"{FEED}?incarnation={incarnation}&from={first}"
        return await self._clients.get(peer).call("GET", path, max_bytes=MAX_ANSWER_BYTES)

    async def forks(self) -> list[Fork]:
        """Feeds that are not followed any more, with the proof."""
        async with self._db.read() as rx:
            return await followed.frozen(rx)

    async def thaw(self, peer: PeerId, *, by: str) -> None:
        """Follow the feed of ``peer`` again, from where it was left; raises FeedNotFrozen."""
        now = self._clock.now()
        async with self._db.write() as tx:
            if not await followed.thaw(tx, peer, by=by, now=now):
                raise FeedNotFrozen
            await audit.append(tx, AuditEvent(AuditType.FEED_THAWED, now, by, peer=peer))
            tx.after_commit(lambda: self.nudged(peer))

    async def _take_or_freeze(self, peer: PeerId, key: bytes, data: bytes) -> None:
        try:
            await self._take(peer, key, data)
        except FeedFork as fork:
            await self._freeze(peer, data, fork)
            raise

    async def _freeze(self, peer: PeerId, data: bytes, error: FeedFork) -> None:
        """Keep both sides of a fork, signed by the peer: it can be shown to anybody."""
        batch, now = decode_batch(data[:-SIGNATURE_BYTES]), self._clock.now()
        async with self._db.write() as tx:
            known = await followed.followed(tx, peer)
            assert known is not None, "nothing contradicts nothing"
            first = await followed.batch_taken(tx, peer, min(batch.sequence, known.position.sequence))
            if not await followed.freeze(tx, Fork(peer, batch.incarnation, batch.sequence, first, data, now)):
                return
            detail: dict[str, str | int] = {"sequence": batch.sequence, "proof": "both" if first else "one"}
            event = AuditEvent(
                AuditType.FEED_FORKED, now, outcome=Outcome.FAILURE, peer=peer, code=error.code, detail=detail
            )
            await audit.append(tx, event)
        self._log.error("a peer's feed forked and is not followed any more", peer=peer.log, code=error.code)

    async def _take(self, peer: PeerId, key: bytes, data: bytes) -> None:
        batch: Batch = await asyncio.to_thread(verify_batch, data, key)
        check_ends(batch, peer, self._me)
        digest = batch_hash(data)
        async with self._db.write() as tx:
            known = await followed.followed(tx, peer)
            position = known.position if known else None
            seen = await followed.batch_hash(tx, peer, batch.sequence)
            after = follow(position, batch, digest, seen)
            if known is not None and after.same_epoch(known.position):
                if known.entries + len(batch.entries) > MAX_ENTRIES_KEPT:
                    raise FeedOversized
                if await followed.known_tags(tx, peer, (entry[:TAG_BYTES] for entry in batch.entries)):
                    raise FeedRefused("a tag is used twice")
            await followed.take_batch(tx, peer, after, data, self._clock.now())

    async def _record(self, peer: PeerId, error: LeveretError) -> None:
        """A refusal is an event for the audit log: once, not each time the peer sends the same again."""
        if error.code in self._refused.get(peer, ()):
            return
        event = AuditEvent(
            AuditType.FEED_REFUSED, self._clock.now(), outcome=Outcome.REFUSED, peer=peer, code=error.code
        )
        async with self._db.write() as tx:
            await audit.append(tx, event)
        self._refused.setdefault(peer, set()).add(error.code)


def _split(body: bytes) -> Sequence[bytes]:
    """The batches of an answer: each is preceded by its length."""
    found: list[bytes] = []
    at = 0
    while at < len(body):
        start = at + FRAME_BYTES
        length = int.from_bytes(body[at:start], "big")
        at = start + length
        if not MIN_BATCH_BYTES <= length <= MAX_BATCH_BYTES or at > len(body):
            raise BatchMalformed("framing")
        found.append(body[start:at])
    return found
