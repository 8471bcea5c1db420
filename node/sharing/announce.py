"""Telling peers what this node holds: each has a feed of its own, in which only who can name a patient finds anything.

What is pending is never kept apart: it is the difference between the studies as they are and what the feed for that
peer said last. One transaction reads that difference, takes the numbers, makes and signs the batch and keeps it; it is
sent from there, when the peer pulls. So a crash at any moment neither loses an announcement nor uses a number twice.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from node.clock import Clock
from node.config import AnnounceSettings
from node.crypto.announce import entry_keys, padded, seal_entry, sign_batch
from node.crypto.identity import Identity
from node.crypto.oprf import EpochKey
from node.errors.base import LeveretError
from node.errors.trust import PeerNotTrusted
from node.log import Logger
from node.model.audit import NODE_ACTOR, AuditEvent, AuditType
from node.model.feed import RULE_SET, Batch
from node.model.ids import PeerId, StudyInstanceUID, StudyRef
from node.model.instance import StudySummary
from node.model.label import Label
from node.model.linkage import LinkageToken, TokenKind, linkage_tokens
from node.model.trust import PeerPolicy, TrustState
from node.peers.client import PeerClients
from node.peers.handlers_feed import NUDGE
from node.store import audit, feeds, restored, trust
from node.store.engine import Database, Read, Write
from node.store.feeds import Announced, OwnFeed
from node.store.study_queries import StudyQuery, find_studies

STUDIES_PER_BATCH = 341  # three entries each make 1023: a full batch of 1024, and a short hold on the writer
_DAY_SECONDS = 86_400
NUDGE_SECONDS = 5.0  # a nudge is a courtesy: who misses it pulls later by himself


class ConsentOnFile(Protocol):
    """What consents on record say about an announcement."""

    async def covers(self, rx: Read, peer: PeerId, study: StudySummary) -> bool:
        """Whether a consent lets ``peer`` have ``study`` now."""


@dataclass(frozen=True, slots=True)
class AnnounceReport:
    """What ``announce_now`` did."""

    peers: int  # that were told something
    batches: int
    studies: int  # announcements, withdrawals included


@dataclass(slots=True)
class _Plan:
    """What the next batch says."""

    entries: list[tuple[LinkageToken, Label]] = field(default_factory=list)
    states: list[tuple[StudyInstanceUID, Announced]] = field(default_factory=list)

    def say(self, label: Label, tokens: Sequence[LinkageToken]) -> None:
        """One entry under each token; under an initial no more than that something exists."""
        for token in tokens:
            self.entries.append((token, label.existence() if token.kind is TokenKind.INITIAL else label))


class Announcer:
    """Keeps the feeds of this node up to date. ``run`` does so at fixed times, ``announce_now`` at once."""

    def __init__(
        self,
        *,
        db: Database,
        identity: Identity,
        clients: PeerClients,
        clock: Clock,
        settings: AnnounceSettings,
        log: Logger,
        consents: ConsentOnFile | None = None,
    ) -> None:
        self._db = db
        self._identity = identity
        self._clients = clients
        self._clock = clock
        self._settings = settings
        self._log = log
        self._consents = consents
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Announce what is pending every ``interval`` seconds; ends by cancellation."""
        while True:
            try:
                await self.announce_now()
            except LeveretError as error:
                self._log.warning("announcing failed", code=error.code)
            await asyncio.sleep(max(1, self._settings.interval))

    async def announce_now(self) -> AnnounceReport:
        """Make the batches that are pending for every trusted peer, and tell those peers that there is something."""
        batches = studies = 0
        news: list[PeerId] = []
        async with self._turn:
            await self._end_old_epochs()
            async with self._db.read() as rx:
                trusted = [row.peer_id for row in await trust.peers(rx) if row.state is TrustState.TRUSTED]
            for peer in trusted:
                said = [made for made in await self._catch_up(peer) if made]
                batches += len(said)
                studies += sum(said)
                if said:
                    news.append(peer)
        async with asyncio.TaskGroup() as group:
            for peer in news:
                group.create_task(self._nudge(peer))
        return AnnounceReport(len(news), batches, studies)

    async def _catch_up(self, peer: PeerId) -> list[int]:
        """Make batches until nothing is pending; how many studies each step told (0: it made no batch)."""
        told: list[int] = []
        while (made := await self._step(peer)) is not None:
            told.append(made)
        return told

    async def _step(self, peer: PeerId) -> int | None:
        """Tell ``peer`` of the next changes in one transaction; None: nothing is left, or it is not trusted."""
        async with self._db.write() as tx:
            row = await trust.peer(tx, peer)
            if row is None or row.state is not TrustState.TRUSTED:
                return None
            if await restored.is_under_review(tx):
                return None  # who opted out since the backup is not known here: a person looks first
            now = self._clock.now()
            feed = await feeds.own_feed(tx, peer) or await feeds.start_feed(tx, peer, now)
            terms = self._terms(row.policy)
            changes = await feeds.changes(tx, feed.mark if feed.terms == terms else 0, STUDIES_PER_BATCH)
            if not changes:
                return await self._say_epoch(tx, feed, now)
            await feeds.set_mark(tx, peer, changes[-1][0], terms)
            plan = await self._plan(tx, peer, [study for _, study in changes], row.policy)
            for study, state in plan.states:
                await feeds.set_announced(tx, peer, study, state)
            if not plan.entries:
                return 0
            await feeds.add_batch(tx, feed, await self._seal(tx, feed, plan.entries, now), now)
            event = AuditEvent(
                AuditType.ANNOUNCED, now, peer=peer, detail={"sequence": feed.sequence, "studies": len(plan.states)}
            )
            await audit.append(tx, event)
            return len(plan.states)

    async def _say_epoch(self, tx: Write, feed: OwnFeed, now: int) -> int | None:
        """A new epoch with nothing to tell: a batch of dummies, so that the peer drops what it knows of the old one."""
        if feed.is_told or feed.epoch == 1:  # nothing was ever told before the first
            return None
        await feeds.add_batch(tx, feed, await self._seal(tx, feed, (), now), now)
        return 0

    async def begin_epochs(self, peer: PeerId | None = None, *, by: str) -> int:
        """Begin a new epoch of the feed for ``peer``, or for every trusted peer; how many. All is told anew soon.

        Raises:
            PeerNotTrusted: there is no feed for it.
        """
        async with self._turn, self._db.write() as tx:
            trusted = [row.peer_id for row in await trust.peers(tx) if row.state is TrustState.TRUSTED]
            if peer is not None and peer not in trusted:
                raise PeerNotTrusted
            begun = 0
            for one in trusted if peer is None else (peer,):
                begun += await self._begin_epoch(tx, one, by)
        await self._db.truncate_wal()  # the old keys are not left there either
        return begun

    async def _end_old_epochs(self) -> None:
        """Begin new epochs where the present one is older than the settings allow."""
        if not self._settings.epoch_days:
            return
        oldest = self._clock.now() - self._settings.epoch_days * _DAY_SECONDS
        async with self._db.write() as tx:
            for row in await trust.peers(tx):
                feed = await feeds.own_feed(tx, row.peer_id)
                if row.state is TrustState.TRUSTED and feed is not None and feed.epoch_at <= oldest:
                    await self._begin_epoch(tx, row.peer_id, NODE_ACTOR)

    async def _begin_epoch(self, tx: Write, peer: PeerId, by: str) -> bool:
        feed, now = await feeds.own_feed(tx, peer), self._clock.now()
        if feed is None:
            return False  # the first one has not begun yet, or a restore waits for a person
        await feeds.begin_epoch(tx, feed, now)
        detail: dict[str, str | int] = {"epoch": feed.epoch + 1}
        await audit.append(tx, AuditEvent(AuditType.EPOCH_BEGUN, now, by, peer=peer, detail=detail))
        return True

    def _terms(self, policy: PeerPolicy) -> str:
        """The settings that shape announcements for a peer: when they change, all is looked at again."""
        detail = self._settings.label_detail or policy.label_detail
        on_file = [policy.accept_directive, policy.purposes] if self._consents is not None else []
        return msgspec.json.encode([RULE_SET, detail, sorted(self._settings.shared_issuers), *on_file]).decode()

    async def _plan(self, rx: Read, peer: PeerId, studies: Sequence[StudyInstanceUID], policy: PeerPolicy) -> _Plan:
        told = await feeds.announced(rx, peer, studies)
        allowed = await feeds.announceable(rx, studies)
        found = await find_studies(rx, StudyQuery(study_uids=tuple(allowed))) if allowed else []
        summaries = {summary.study_instance_uid: summary for summary in found}
        plan = _Plan()
        for study in studies:
            before, summary = told.get(study), summaries.get(study)
            if summary is not None:
                consent = self._consents is not None and await self._consents.covers(rx, peer, summary)
                detail = consent or self._settings.label_detail or policy.label_detail
                self._plan_study(plan, before, summary, detail=detail, consent=consent)
            elif before is not None and not before.withdrawn:
                _withdraw(plan, study, before)
        return plan

    def _plan_study(
        self, plan: _Plan, before: Announced | None, study: StudySummary, *, detail: bool, consent: bool
    ) -> None:
        """Announce ``study`` under its patient's tokens, and take it back under those that are not its any more."""
        tokens = linkage_tokens(study.demographics, study.patient, self._settings.shared_issuers)
        uid, kinds = study.study_instance_uid, {token.value: token.kind for token in tokens}
        ref = before.ref if before else StudyRef.new()
        after = Announced(ref, study.revision, detail, consent, withdrawn=not tokens, tokens=kinds)
        if after == before or (before is None and not tokens):
            return
        if before is not None:
            gone = [LinkageToken(kind, value) for value, kind in before.tokens.items() if value not in kinds]
            plan.say(Label(ref=ref, withdrawn=True), gone)
        plan.say(Label.of_study(study, ref, detail=detail, consent=consent), tokens)
        plan.states.append((uid, after))

    async def _seal(self, tx: Write, feed: OwnFeed, entries: Sequence[tuple[LinkageToken, Label]], now: int) -> bytes:
        """The signed batch: each entry takes its token's next number."""
        hashes = [feeds.token_hash(token.value) for token, _ in entries]
        following = await feeds.take_numbers(tx, feed.peer, Counter(hashes))
        numbered: list[tuple[bytes, Label, int]] = []
        for name, (token, label) in zip(hashes, entries, strict=True):
            numbered.append((token.value, label, following[name]))
            following[name] += 1
        return await asyncio.to_thread(_sealed, self._identity, feed, numbered, now)

    async def _nudge(self, peer: PeerId) -> None:
        try:
            await self._clients.get(peer).call("POST", NUDGE, seconds=NUDGE_SECONDS)
        except LeveretError as error:
            self._log.info("nudge not delivered", peer=peer.log, code=error.code)


def _withdraw(plan: _Plan, study: StudyInstanceUID, before: Announced) -> None:
    """An ordinary entry under each token that the study stands under; nothing links it to the old ones."""
    plan.say(
        Label(ref=before.ref, withdrawn=True), [LinkageToken(kind, value) for value, kind in before.tokens.items()]
    )
    plan.states.append((study, Announced(before.ref, before.revision, withdrawn=True)))


def _sealed(identity: Identity, feed: OwnFeed, entries: Sequence[tuple[bytes, Label, int]], now: int) -> bytes:
    """CPU work of a batch, about 0.1 ms an entry; runs in a thread."""
    key = EpochKey.from_seed(feed.seed)
    outputs: dict[bytes, bytes] = {}  # several studies of one patient share their tokens
    sealed: list[bytes] = []
    for token, label, number in entries:
        if token not in outputs:
            outputs[token] = key.evaluate_known(token)
        keys = entry_keys(
            outputs[token],
            holder=identity.peer_id,
            peer=feed.peer,
            incarnation=feed.incarnation,
            epoch=feed.epoch,
            index=number,
        )
        sealed.append(seal_entry(keys, label))
    batch = Batch(
        holder=identity.peer_id,
        recipient=feed.peer,
        incarnation=feed.incarnation,
        epoch=feed.epoch,
        sequence=feed.sequence,
        previous=feed.head,
        created_at=now,
        voprf_key=key.public_key,
        entries=padded(sealed),
    )
    return sign_batch(identity, batch)
