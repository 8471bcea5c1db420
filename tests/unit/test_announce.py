"""What the holder must never do: use a tag, a key or a number twice, or lose an announcement."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.locating import ANNA, Site, site, trust_each_other

from node.crypto.announce import EntryKeys, entry_keys, open_entry, verify_batch
from node.crypto.oprf import EpochKey
from node.errors.feeds import EntryMalformed
from node.errors.storage import ConstraintViolated
from node.model.feed import MIN_ENTRIES, TAG_BYTES, Batch, batch_hash
from node.model.ids import PatientKey
from node.model.label import Label
from node.model.linkage import TokenKind, linkage_tokens
from node.store import feeds


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Site, Site]]:
    async with site(tmp_path, "holder") as holder, site(tmp_path, "peer") as peer:
        await trust_each_other(holder, peer)
        yield holder, peer


async def batches_of(holder: Site, peer: Site) -> list[Batch]:
    data = await holder.desk.batches(peer.peer_id, 0, 0)
    return [verify_batch(one, holder.identity.public_key) for one in data]


async def opened(holder: Site, peer: Site, kind: TokenKind) -> list[tuple[EntryKeys, Label]]:
    """The entries about Anna under one kind of token, by number, from all batches."""
    (token,) = (t for t in linkage_tokens(ANNA, PatientKey("", ""), ()) if t.kind is kind)
    entries = {e[:TAG_BYTES]: e for b in await batches_of(holder, peer) for e in b.entries}
    async with holder.db.read() as rx:
        feed = await feeds.own_feed(rx, peer.peer_id)
    assert feed is not None
    output = EpochKey.from_seed(feed.seed).evaluate_known(token.value)
    found: list[tuple[EntryKeys, Label]] = []
    while True:
        keys = entry_keys(
            output,
            holder=holder.peer_id,
            peer=peer.peer_id,
            incarnation=feed.incarnation,
            epoch=feed.epoch,
            index=len(found),
        )
        if keys.tag not in entries:
            return found
        found.append((keys, open_entry(keys, entries[keys.tag])))


async def test_two_patients_who_share_a_token_and_a_study_told_again_never_share_a_tag_or_key(
    two: tuple[Site, Site],
) -> None:
    holder, peer = two
    one = await holder.hold(patient=PatientKey("HERE", "1"))
    other = await holder.hold(patient=PatientKey("HERE", "2"), instances=7)  # same name, birth date and sex
    await holder.announcer.announce_now()
    await holder.close_revision(one, 30)
    await holder.announcer.announce_now()
    async with holder.db.write() as tx:
        await feeds.set_sensitive(tx, other, 1)
    await holder.announcer.announce_now()

    for kind in (TokenKind.NAME, TokenKind.INITIAL):
        found = await opened(holder, peer, kind)
        assert len(found) == 4, "two studies, one again, one withdrawn"
        assert len({keys.tag for keys, _ in found}) == len({keys.key for keys, _ in found}) == 4
        assert [label.withdrawn for _, label in found] == [False, False, False, True]
    labels = [label for _, label in await opened(holder, peer, TokenKind.NAME)]
    assert {label.instances for label in labels[:2]} == {12, 7}
    assert labels[2].ref in {label.ref for label in labels[:2]}

    entries = [entry for batch in await batches_of(holder, peer) for entry in batch.entries]
    assert len({entry[:TAG_BYTES] for entry in entries}) == len(entries), "no tag twice in the whole feed"
    assert len({entry[TAG_BYTES : TAG_BYTES + 24] for entry in entries}) == len(entries), "nor a nonce"


async def test_a_key_opens_no_other_entry(two: tuple[Site, Site]) -> None:
    holder, peer = two
    await holder.hold()
    await holder.announcer.announce_now()
    (batch,) = await batches_of(holder, peer)
    ((keys, _),) = await opened(holder, peer, TokenKind.NAME)
    for entry in batch.entries:
        if entry[:TAG_BYTES] != keys.tag:
            with pytest.raises(EntryMalformed):
                open_entry(EntryKeys(entry[:TAG_BYTES], keys.key), entry)


async def test_a_feed_is_a_chain_of_padded_batches(two: tuple[Site, Site]) -> None:
    holder, peer = two
    for _ in range(3):
        await holder.hold()
        await holder.announcer.announce_now()
    data = await holder.desk.batches(peer.peer_id, 0, 0)
    chain = await batches_of(holder, peer)
    assert [batch.sequence for batch in chain] == [0, 1, 2]
    assert [batch.previous for batch in chain[1:]] == [batch_hash(one) for one in data[:2]]
    assert {len(batch.entries) for batch in chain} == {MIN_ENTRIES}
    assert len({(batch.incarnation, batch.epoch, batch.voprf_key) for batch in chain}) == 1
    incarnation = chain[0].incarnation
    assert len(await holder.desk.batches(peer.peer_id, incarnation, 2)) == 1
    assert await holder.desk.batches(peer.peer_id, incarnation, 3) == []
    assert len(await holder.desk.batches(peer.peer_id, incarnation + 1, 3)) == 3, "another incarnation: from the start"
    assert await holder.desk.batches(holder.peer_id, 0, 0) == [], "a stranger has no feed"


async def test_announcing_at_once_from_many_sides_announces_once(two: tuple[Site, Site]) -> None:
    holder, peer = two
    for _ in range(5):
        await holder.hold()
    reports = await asyncio.gather(*(holder.announcer.announce_now() for _ in range(8)))
    assert sum(report.studies for report in reports) == 5
    assert len(await batches_of(holder, peer)) == 1
    assert len(await opened(holder, peer, TokenKind.NAME)) == 5


async def test_a_batch_that_was_not_kept_is_announced_later_under_its_own_numbers(
    two: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between sealing and committing: nothing of it was ever sent, so its numbers are free."""
    holder, peer = two
    await holder.hold()

    async def fails(*_facts: object) -> None:
        raise ConstraintViolated("disk")

    with monkeypatch.context() as patch:
        patch.setattr(feeds, "add_batch", fails)
        with pytest.raises(ConstraintViolated):
            await holder.announcer.announce_now()
    assert await holder.rows("SELECT * FROM announce_counter") == []
    assert await holder.rows("SELECT * FROM announced") == []
    await holder.announcer.announce_now()
    assert len(await opened(holder, peer, TokenKind.NAME)) == 1


async def test_a_sequence_number_cannot_be_used_twice(two: tuple[Site, Site]) -> None:
    holder, peer = two
    await holder.hold()
    async with holder.db.read() as rx:
        assert await feeds.own_feed(rx, peer.peer_id) is None
    await holder.announcer.announce_now()
    async with holder.db.write() as tx:
        feed = await feeds.own_feed(tx, peer.peer_id)
    assert feed is not None
    stale = feeds.OwnFeed(peer.peer_id, feed.incarnation, 1, feed.seed, 0, feed.head, 0, "")
    with pytest.raises(ConstraintViolated):
        async with holder.db.write() as tx:
            await feeds.add_batch(tx, stale, b"another batch", 1)


async def test_numbers_are_taken_in_runs(two: tuple[Site, Site]) -> None:
    holder, peer = two
    one, two_ = b"1" * 32, b"2" * 32
    async with holder.db.write() as tx:
        assert await feeds.take_numbers(tx, peer.peer_id, {one: 3, two_: 1}) == {one: 0, two_: 0}
        assert await feeds.take_numbers(tx, peer.peer_id, {one: 2}) == {one: 3}
    async with holder.db.write() as tx:
        assert await feeds.take_numbers(tx, peer.peer_id, {one: 1, two_: 5}) == {one: 5, two_: 1}
        assert await feeds.take_numbers(tx, holder.peer_id, {one: 1}) == {one: 0}


async def test_an_incarnation_only_grows_even_if_the_clock_goes_back(two: tuple[Site, Site]) -> None:
    holder, peer = two
    numbers = []
    for now in (100, 50, 50, 2_000):
        async with holder.db.write() as tx:
            numbers.append((await feeds.start_feed(tx, peer.peer_id, now)).incarnation)
    assert numbers == [100, 101, 102, 2_000]


async def test_a_change_of_shared_issuers_is_told(tmp_path: Path) -> None:
    async with site(tmp_path, "holder") as holder, site(tmp_path, "peer") as peer:
        await trust_each_other(holder, peer)
        await holder.hold(patient=PatientKey("NATION", "771"))
        await holder.announcer.announce_now()
        assert [row[0] for row in await holder.rows("SELECT kind FROM announced_token ORDER BY kind")] == [
            "initial",
            "name",
        ]
        holder.announcer._settings = type(holder.settings)(shared_issuers=("NATION",))
        assert (await holder.announcer.announce_now()).studies == 1
        assert (await holder.announcer.announce_now()).studies == 0
        assert "identifier" in [row[0] for row in await holder.rows("SELECT kind FROM announced_token")]


async def test_a_consent_that_changes_makes_its_patient_looked_at_again(tmp_path: Path) -> None:
    allowed: set[str] = set()

    class Consents:
        async def covers(self, _rx: object, _peer: object, study: object) -> bool:
            return getattr(study, "study_instance_uid", "") in allowed

    async with site(tmp_path, "holder", consents=Consents()) as holder, site(tmp_path, "peer") as peer:
        await trust_each_other(holder, peer)
        study = await holder.hold()
        await holder.announcer.announce_now()
        allowed.add(study)
        async with holder.db.write() as tx:
            await feeds.reconsider(tx, PatientKey("HERE", "1"))
        assert (await holder.announcer.announce_now()).studies == 1
        last = (await opened(holder, peer, TokenKind.NAME))[-1][1]
        assert last.consent
        assert last.detail is not None


async def test_no_name_stands_in_a_batch_or_a_counter(two: tuple[Site, Site]) -> None:
    holder, peer = two
    await holder.hold()
    await holder.announcer.announce_now()
    (data,) = await holder.desk.batches(peer.peer_id, 0, 0)
    assert b"LARSEN" not in data
    assert not [r for r in await holder.rows("SELECT token FROM announce_counter") if b"LARSEN" in r[0]]
