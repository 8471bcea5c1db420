"""What a peer may ask of announcements: its feed, and the evaluation of blinded tokens (``handlers_feed.FeedPort``)."""

import asyncio
from collections.abc import Sequence

from node.clock import Clock
from node.crypto.oprf import EpochKey
from node.errors.announce import EpochOver, QuestionsExhausted, QuestionsRefused
from node.errors.trust import PeerNotTrusted
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.consent import DAY_SECONDS, PurposeOfUse
from node.model.ids import PeerId
from node.model.linkage import MAX_TOKENS
from node.model.trust import TrustState
from node.peers.handlers_feed import FeedPosition, Questions
from node.sharing.feeds import FeedReader
from node.store import audit, feeds, followed, trust
from node.store.engine import Database, Read, Write

QUESTIONS_PER_PATIENT = MAX_TOKENS  # whoever the patient is: fewer would tell what is known of it
MOST_DAILY_QUESTIONS = 200_000  # a day, whatever a policy says: 66,000 patients, 20 s of this node's work
ANSWER_BYTES = 8 * 1024 * 1024  # of batches in one answer; what a reader holds in memory at once
ANSWER_BATCHES = 64

_PURPOSES = frozenset(purpose.value for purpose in PurposeOfUse)


class FeedDesk:
    """Serves this node's feeds, takes nudges, answers questions."""

    def __init__(self, *, db: Database, clock: Clock, reader: FeedReader) -> None:
        self._db = db
        self._clock = clock
        self._reader = reader
        self._exhausted: dict[PeerId, int] = {}  # the day on which a peer's want of quota went on record

    async def batches(self, peer: PeerId, incarnation: int, first: int) -> Sequence[bytes]:
        """Signed batches for ``peer``; a reader that follows another incarnation gets this one from its start."""
        async with self._db.read() as rx:
            feed = await feeds.own_feed(rx, peer)
            if feed is None:
                return []
            start = first if incarnation == feed.incarnation else 0
            return await feeds.batches(rx, peer, start, limit=ANSWER_BATCHES, max_bytes=ANSWER_BYTES)

    async def position(self, peer: PeerId) -> FeedPosition:
        """How far the feed of ``peer`` was followed here."""
        async with self._db.read() as rx:
            known = await followed.followed(rx, peer)
        if known is None:
            return FeedPosition(0, 0, 0)
        return FeedPosition(known.position.incarnation, known.position.epoch, known.position.sequence)

    def nudged(self, peer: PeerId) -> None:
        """``peer`` says that its feed has grown."""
        self._reader.nudged(peer)

    async def answer(self, peer: PeerId, questions: Questions) -> Sequence[bytes]:
        """Evaluate blinded tokens with the key of this epoch; counted and on record before the first is.

        Raises:
            QuestionsRefused: not a whole number of patients, or an unknown purpose.
            EpochOver: asked under another epoch. QuestionsExhausted: no more today.
            InvalidElement: what was asked is no group element.
        """
        if len(questions.elements) % QUESTIONS_PER_PATIENT or questions.purpose not in _PURPOSES:
            raise QuestionsRefused
        async with self._db.read() as rx:  # who asks under no epoch of ours does not get to take the writer
            await _asked_feed(rx, peer, questions)
        async with self._db.write() as tx:
            seed, refusal = await self._admit(tx, peer, questions)
        if refusal is not None:
            raise refusal
        return await asyncio.to_thread(lambda: EpochKey.from_seed(seed).evaluate(questions.elements))

    async def _admit(self, tx: Write, peer: PeerId, questions: Questions) -> tuple[bytes, QuestionsExhausted | None]:
        """The seed to answer with; the refusal for want of quota is returned, so that it goes on record too."""
        row, feed = await _asked_feed(tx, peer, questions)
        now, count = self._clock.now(), len(questions.elements)
        day, limit = now // DAY_SECONDS, min(row.policy.daily_questions, MOST_DAILY_QUESTIONS)
        refusal = None
        if not await feeds.count_questions(tx, peer, day, count, limit):
            refusal = QuestionsExhausted()
            if self._exhausted.get(peer) == day:  # once a day is enough: asking on must not fill the log
                raise refusal
            self._exhausted[peer] = day
        event = AuditEvent(
            AuditType.QUESTIONS_ANSWERED,
            now,
            actor=f"peer:{peer.compact}",
            outcome=Outcome.REFUSED if refusal else Outcome.SUCCESS,
            peer=peer,
            purpose=questions.purpose,
            code=refusal.code if refusal else "",
            detail={"questions": count, "user": questions.user},
        )
        await audit.append(tx, event)
        return feed.seed, refusal


async def _asked_feed(rx: Read, peer: PeerId, questions: Questions) -> tuple[trust.PeerRow, feeds.OwnFeed]:
    """A trusted peer, and the feed for it in the epoch that it asks under; raises PeerNotTrusted, EpochOver."""
    row, feed = await trust.peer(rx, peer), await feeds.own_feed(rx, peer)
    if row is None or row.state is not TrustState.TRUSTED:
        raise PeerNotTrusted
    if feed is None or (feed.incarnation, feed.epoch) != (questions.incarnation, questions.epoch):
        raise EpochOver
    return row, feed
