"""Epochs end by command and by age: the old key is destroyed, what was asked under it is void, all is told anew."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.locating import ACTOR, Site, site, trust_each_other
from support.pages import occurs

from node.crypto.announce import verify_batch
from node.crypto.oprf import Question
from node.errors.announce import EpochOver
from node.errors.trust import PeerNotTrusted
from node.model.audit import AuditType
from node.model.feed import TAG_BYTES
from node.model.ids import PeerId
from node.peers.handlers_feed import Questions
from node.store import feeds, followed

KEY = bytes(range(32))
DAY = 86_400


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Site, Site]]:
    """A holder, whose key is known, and a reader."""
    async with site(tmp_path, "north", key=KEY) as north, site(tmp_path, "lake") as lake:
        await trust_each_other(north, lake)
        yield north, lake


async def batches(holder: Site, peer: Site) -> set[tuple[int, int, bytes]]:
    """(incarnation, sequence, tag) of everything that was signed for ``peer`` and is kept."""
    found = set()
    for (data,) in await holder.rows("SELECT data FROM announce_batch WHERE peer = ?", peer.peer_id.digest):
        batch = verify_batch(bytes(data), holder.identity.public_key)
        found |= {(batch.incarnation, batch.sequence, entry[:TAG_BYTES]) for entry in batch.entries}
    return found


async def own(holder: Site, peer: Site) -> feeds.OwnFeed:
    async with holder.db.read() as rx:
        feed = await feeds.own_feed(rx, peer.peer_id)
    assert feed is not None
    return feed


async def test_a_new_epoch_ends_all_that_was_asked_and_tells_everything_anew(
    pair: tuple[Site, Site], tmp_path: Path
) -> None:
    north, lake = pair
    await north.hold()
    await north.announcer.announce_now()
    (prior,) = await lake.priors_at(north)
    before, told = await own(north, lake), await batches(north, lake)
    assert await lake.rows("SELECT count(*) FROM feed_answer") != [(0,)]
    assert await north.announcer.begin_epochs(by=ACTOR) == 1
    after = await own(north, lake)
    assert (after.epoch, after.sequence) == (before.epoch + 1, 0)
    assert after.incarnation > before.incarnation
    assert not occurs(tmp_path / "north.db", KEY, before.seed), "destroyed, not only replaced"
    question = Question.blind(b"token")
    old = Questions(before.incarnation, before.epoch, "TREAT", "0" * 32, [question.blinded] * 3)
    with pytest.raises(EpochOver):
        await north.desk.answer(lake.peer_id, old)
    await north.announcer.announce_now()
    await lake.reader.pull(north.peer_id)
    assert await lake.rows("SELECT count(*) FROM feed_answer") == [(0,)], "what was cached is of no use any more"
    assert not told & await batches(north, lake)
    (again,) = await lake.priors_at(north)
    assert again.ref == prior.ref, "a request may still name it"
    assert len(await north.events(AuditType.QUESTIONS_ANSWERED)) == 2, "asked again"
    (event,) = await north.events(AuditType.EPOCH_BEGUN)
    assert (event.actor, event.peer, event.detail) == (ACTOR, lake.peer_id, {"epoch": 2})


async def test_an_epoch_with_nothing_to_tell_is_told_all_the_same(pair: tuple[Site, Site]) -> None:
    north, lake = pair
    study = await north.hold()
    await north.announcer.announce_now()
    assert len(await lake.priors_at(north)) == 1
    async with north.db.write() as tx:
        await feeds.set_sensitive(tx, study, 0)
    await north.announcer.begin_epochs(by=ACTOR)
    await north.announcer.announce_now()
    assert await lake.priors_at(north) == ()
    async with lake.db.read() as rx:
        known = await followed.followed(rx, north.peer_id)
    assert known is not None
    assert known.position.epoch == 2
    assert (await north.announcer.announce_now()).batches == 0, "once"


async def test_epochs_end_by_age_each_for_itself(tmp_path: Path) -> None:
    async with (
        site(tmp_path, "north", settings={"epoch_days": 2}) as north,
        site(tmp_path, "lake") as lake,
        site(tmp_path, "hill") as hill,
    ):
        await trust_each_other(north, lake)
        await north.hold()
        await north.announcer.announce_now()
        north.clock.time += DAY
        await trust_each_other(north, hill)
        await north.announcer.announce_now()
        north.clock.time += DAY
        await north.announcer.announce_now()
        assert [(await own(north, peer)).epoch for peer in (lake, hill)] == [2, 1]
        assert len(await lake.priors_at(north)) == len(await hill.priors_at(north)) == 1
        north.clock.time += DAY
        await north.announcer.announce_now()
        assert [(await own(north, peer)).epoch for peer in (lake, hill)] == [2, 2]


async def test_one_peer_alone_and_no_stranger(pair: tuple[Site, Site], tmp_path: Path) -> None:
    north, lake = pair
    async with site(tmp_path, "hill") as hill:
        await trust_each_other(north, hill)
        await north.hold()
        await north.announcer.announce_now()
        assert await north.announcer.begin_epochs(lake.peer_id, by=ACTOR) == 1
        assert [(await own(north, peer)).epoch for peer in (lake, hill)] == [2, 1]
        with pytest.raises(PeerNotTrusted):
            await north.announcer.begin_epochs(PeerId(b"x" * 32), by=ACTOR)


async def test_revoking_destroys_the_key(pair: tuple[Site, Site], tmp_path: Path) -> None:
    north, lake = pair
    await north.hold()
    await north.announcer.announce_now()
    seed = (await own(north, lake)).seed
    await north.trust.revoke(lake.peer_id)
    await north.db.truncate_wal()
    assert not occurs(tmp_path / "north.db", KEY, seed)
    assert await north.rows("SELECT count(*) FROM announce_batch") == [(0,)]
