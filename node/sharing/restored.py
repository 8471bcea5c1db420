"""A node that was restored: what it asks its peers before it does anything, and what a person confirms.

The peers are the only ones who know what this node said after the backup was made. So before the log or a feed goes
on, every trusted peer is asked for the highest it has seen of both; one that is away for longer than a start can wait
is done without, because both go on in new trees and incarnations whose numbers, taken from the clock, nobody has seen.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from node.clock import Clock
from node.crypto.identity import Identity
from node.crypto.notes import verify_checkpoint
from node.errors.base import LeveretError
from node.errors.crypto_identity import BadSignature, MalformedNote
from node.errors.peers import RemoteRefusal
from node.errors.vault import NothingToReview
from node.log import Logger
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PeerId
from node.peers.client import PeerClients
from node.peers.handlers_feed import FEED_POSITION, FeedPosition
from node.peers.handlers_witness import MAX_CHECKPOINT_BYTES, WITNESS, Held
from node.peers.ports import PeerDirectory
from node.sharing.audit import incarnation_of, origin_of
from node.store import audit, feeds, restored
from node.store.audit import LogPart
from node.store.engine import Database, Write
from node.store.restored import Heard, Restoration, ToReview

ASK_SECONDS = 10.0  # for one peer, all its addresses included: a start does not wait longer
STRIDE = 1_000_000  # positions of the log: the next tree begins at a multiple, above any that were used and lost
BELIEVED = 2**62  # numbers that peers name beyond this are a fault or a lie


@dataclass(frozen=True, slots=True)
class RestoreView:
    """The restore that waits for a person, and how much there is to look through."""

    restoration: Restoration
    to_review: ToReview


class Restored:
    """What an operator sees and says of a restore."""

    def __init__(self, db: Database, clock: Clock, log: Logger) -> None:
        self._db = db
        self._clock = clock
        self._log = log

    async def view(self) -> RestoreView | None:
        """The restore that waits for a person, if one does."""
        async with self._db.read() as rx:
            found = await restored.under_review(rx)
            return None if found is None else RestoreView(found, await restored.to_review(rx, self._clock.now()))

    async def confirm(self, *, by: str) -> None:
        """Somebody looked things through: releases and announcements go on. Raises NothingToReview."""
        now = self._clock.now()
        async with self._db.write() as tx:
            if not await restored.reviewed(tx, by=by, now=now):
                raise NothingToReview
            await audit.append(tx, AuditEvent(AuditType.RESTORE_REVIEWED, now, by))
        self._log.info("the restore was reviewed", component="restore")


async def recover(
    db: Database, identity: Identity, directory: PeerDirectory, clients: PeerClients, *, clock: Clock, log: Logger
) -> None:
    """After a restore, and before anything else is written: ask the peers, then let the log go on in a new tree."""
    async with db.read() as rx:
        if await restored.unasked(rx) is None:
            return
    answers = await _ask_all(identity, directory, clients)
    now = clock.now()
    async with db.write() as tx:
        await restored.heard(tx, answers, now)
        await restart_log(tx, answers, now)
        for peer, one in answers.items():
            await feeds.seen_incarnation(tx, peer, one.feed_incarnation)
    silent = sum(bool(one.code) for one in answers.values())
    log.warning("restored from a backup: releases and announcements wait for an operator", component="restore")
    log.info("peers were asked what they saw", component="restore", count=len(answers) - silent)


async def restart_log(tx: Write, answers: Mapping[PeerId, Heard], now: int) -> LogPart:
    """Go on in a new tree, whose incarnation and positions nobody can have seen; its first event says why."""
    edge = await audit.read_edge(tx)
    known = {part.incarnation: part.base for part in await audit.parts(tx)}
    seen = [one for one in answers.values() if 0 < one.log_incarnation < BELIEVED]
    incarnation = max(now, edge.part.incarnation + 1, *(one.log_incarnation + 1 for one in seen))
    # Where a tree that this node does not remember began is not known either: it was above every one that it does.
    ends = [known.get(one.log_incarnation, edge.end + STRIDE) + one.log_size for one in seen]
    part = LogPart(incarnation, (max(edge.end, *ends, 0) // STRIDE + 1) * STRIDE)
    await audit.begin_part(tx, part, now)
    detail: dict[str, str | int] = {
        "ended_at": edge.end,
        "goes_on_at": part.base,
        "asked": len(answers),
        "answered": sum(not one.code for one in answers.values()),
        "highest_seen": max((one.log_size for one in seen if one.log_incarnation == edge.part.incarnation), default=0),
    }
    await audit.append(tx, AuditEvent(AuditType.LOG_RESTARTED, now, detail=detail))
    return part


async def _ask_all(identity: Identity, directory: PeerDirectory, clients: PeerClients) -> dict[PeerId, Heard]:
    peers = list(directory.trusted())
    answers = await asyncio.gather(*(_ask(identity, clients, peer) for peer in peers))
    return dict(zip(peers, answers, strict=True))


async def _ask(identity: Identity, clients: PeerClients, peer: PeerId) -> Heard:
    client = clients.get(peer)
    try:
        async with asyncio.timeout(ASK_SECONDS):
            held = await client.call("GET", WITNESS, response_type=Held, max_bytes=MAX_CHECKPOINT_BYTES)
            feed = await client.call("GET", FEED_POSITION, response_type=FeedPosition)
    except TimeoutError:
        return Heard(code="peer_unreachable")
    except LeveretError as error:
        return Heard(code=error.remote_code if isinstance(error, RemoteRefusal) else error.code)
    incarnation, size = 0, 0
    try:
        if held.checkpoint:
            incarnation = incarnation_of(held.checkpoint, identity.peer_id)
            size = verify_checkpoint(held.checkpoint, origin_of(identity, incarnation), identity.public_key).size
    except (MalformedNote, BadSignature) as error:  # nothing that this node signed
        return Heard(error.code, feed_incarnation=feed.incarnation, feed_sequence=feed.sequence)
    return Heard("", incarnation, size, feed.incarnation, feed.sequence)
