"""A node that was put back to an older state: nothing it said is said again, and what others remember is honoured."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.clocks import HandClock
from support.ct import CtStudy
from support.locating import ACTOR, Site, enter, site, trust_each_other
from support.sharing_node import befriend, sharing_node

from node.crypto.announce import verify_batch
from node.crypto.identity import Identity
from node.errors.audit import LogAwaitsPeers
from node.errors.peers import RemoteRefusal
from node.errors.vault import NothingToReview
from node.model.access import Caller, Role
from node.model.audit import AuditEvent, AuditType
from node.model.feed import TAG_BYTES
from node.model.ids import StudyInstanceUID
from node.model.instance import Demographics
from node.model.offer import OfferState
from node.model.request import RequestState, Subject
from node.sharing.audit import CosignedHead
from node.sharing.restored import STRIDE, Restored, recover
from node.store import audit, backup, feeds, requests, restored

KEY = bytes(range(32))
STUDY = CtStudy(instances=2, rows=16)
WHO = Subject(demographics=Demographics(STUDY.patient_name, STUDY.birth_date, STUDY.sex))
SEED = Identity.from_seed(b"n" * 32)


@asynccontextmanager
async def north(folder: Path, name: str = "north", **options: Any) -> AsyncIterator[Site]:
    """The node that is backed up; under another name, from a copy of its index."""
    async with site(folder, name, key=KEY, identity=SEED, **options) as one:
        yield one


async def grow(one: Site, count: int) -> None:
    for number in range(count):
        await one.audit.record(AuditEvent(AuditType.STUDY_READ, number))
    await one.audit.checkpoint()


async def said(one: Site) -> set[tuple[bytes, int, int]]:
    """(peer, incarnation, sequence) of every batch that is kept."""
    found = set()
    for peer, data in await one.rows("SELECT peer, data FROM announce_batch"):
        batch = verify_batch(bytes(data), one.identity.public_key)
        found.add((bytes(peer), batch.incarnation, batch.sequence))
    return found


async def tags(one: Site) -> set[bytes]:
    batches = [bytes(data) for (data,) in await one.rows("SELECT data FROM announce_batch")]
    return {e[:TAG_BYTES] for data in batches for e in verify_batch(data, one.identity.public_key).entries}


async def put_back(one: Site, *, clock: HandClock | None = None) -> None:
    """Mark it, as ``leveret restore`` does, and do what the first start does."""
    async with one.db.write() as tx:
        await restored.mark(tx, now=(clock or one.clock).now(), backup_at=1)
    await recover(one.db, one.identity, one.trust, one.clients, clock=clock or one.clock, log=one.log)


async def test_three_facilities_and_a_restore_from_yesterday(tmp_path: Path) -> None:
    async with site(tmp_path, "lake") as lake, site(tmp_path, "hill") as hill:
        async with north(tmp_path) as holder:
            await trust_each_other(holder, lake, hill)
            await holder.hold()
            await holder.announcer.announce_now()
            await grow(holder, 20)
            await backup.snapshot(holder.db, tmp_path / "again.db")
            await holder.hold(date="20260303")
            await holder.announcer.announce_now()
            await grow(holder, 30)
            await holder.witnesses.round()
            async with holder.db.read() as rx:
                lost_end = (await audit.read_edge(rx)).end
            assert len(await lake.priors_at(holder)) == 2
            before, used = await said(holder), await tags(holder)
            clock = holder.clock
        async with north(tmp_path, "again", clock=clock) as again:
            await again.trust.load()
            await again.trust.publish("again", [again.server.address])
            for peer in (lake, hill):
                await enter(peer, again)  # as a renewed card would tell its address
            await put_back(again)
            (restart,) = await again.events(AuditType.LOG_RESTARTED)
            assert restart.detail["highest_seen"] == lost_end
            assert (restart.detail["asked"], restart.detail["answered"]) == (2, 2)
            proof = await again.audit.verify()
            assert proof.ok, proof.problems
            assert (proof.base % STRIDE, proof.base > lost_end) == (0, True)
            await again.audit.checkpoint()
            await again.witnesses.round()
            assert {one.peer for one in (await again.audit.verify()).cosigned} == {lake.peer_id, hill.peer_id}
            assert await again.witnesses.contradicted_by() == []
            assert not await again.events(AuditType.OWN_LOG_CONFLICT)
            for witness in (lake, hill):
                (event,) = await witness.events(AuditType.PEER_LOG_RESTARTED)
                assert (event.peer, event.detail["size"]) == (again.peer_id, lost_end)
                assert not await witness.events(AuditType.PEER_LOG_CONFLICT)

            await announced_anew(again, lake, before, used)


async def announced_anew(again: Site, lake: Site, before: set[tuple[bytes, int, int]], used: set[bytes]) -> None:
    """Nothing before a person has looked; then everything that the restored index has, in feeds that begin anew."""
    await again.hold(date="20260404")
    assert ((await again.announcer.announce_now()).peers, await said(again)) == (0, set())
    desk = Restored(again.db, again.clock, again.log)
    view = await desk.view()
    assert view is not None
    assert view.to_review.peers == 2
    await desk.confirm(by=ACTOR)
    with pytest.raises(NothingToReview):
        await desk.confirm(by=ACTOR)
    assert await desk.view() is None
    await again.announcer.announce_now()
    assert await said(again)
    assert not before & await said(again)
    assert not used & await tags(again)
    refs = {prior.ref for prior in await lake.priors_at(again)}
    assert len(refs) == 2, "what was lost is not announced any more"
    async with again.db.read() as rx:
        assert None not in {await feeds.resolve_ref(rx, lake.peer_id, ref) for ref in refs}


async def test_the_same_backup_twice_and_a_clock_that_went_back(tmp_path: Path) -> None:
    """Two lives after one backup; the second has a clock of before the first. The peer's memory decides."""
    async with site(tmp_path, "lake") as lake:
        async with north(tmp_path) as holder:
            await trust_each_other(holder, lake)
            await holder.hold()
            await holder.announcer.announce_now()
            await grow(holder, 5)
            for name in ("second", "third"):
                await backup.snapshot(holder.db, tmp_path / f"{name}.db")
            await holder.witnesses.round()
            await lake.reader.pull(holder.peer_id)
            clock = holder.clock
            everything = await said(holder)
        clock.time += 1000
        heads: list[tuple[int, int]] = []
        for name, at in (("second", clock), ("third", HandClock())):
            async with north(tmp_path, name, clock=at) as again:
                await again.trust.load()
                await again.trust.publish(name, [again.server.address])
                await enter(lake, again)
                await put_back(again)
                await Restored(again.db, again.clock, again.log).confirm(by=ACTOR)
                await again.announcer.announce_now()
                assert not everything & await said(again)
                everything |= await said(again)
                await lake.reader.pull(again.peer_id)
                await again.audit.checkpoint()
                await again.witnesses.round()
                (head,) = (await again.audit.verify()).cosigned
                assert isinstance(head, CosignedHead)
                async with again.db.read() as rx:
                    part = (await audit.read_edge(rx)).part
                heads.append((part.incarnation, part.base))
                assert await again.witnesses.contradicted_by() == []
        assert heads[0] < heads[1], "the third life goes on after the second, of which it knows nothing itself"
        assert heads[1][1] > heads[0][1]
        assert not await lake.events(AuditType.PEER_LOG_CONFLICT)
        assert not await lake.events(AuditType.FEED_REFUSED)


async def test_what_was_promised_ends_and_what_is_on_file_waits(tmp_path: Path) -> None:
    """Share codes, offers, releases under way and sessions end; a directive stands, and is looked at by a person."""
    async with sharing_node("north", tmp_path) as holder, sharing_node("lake", tmp_path, engine=False) as asker:
        await befriend(holder, asker)
        await holder.hold(STUDY)
        code = await holder.code_for(STUDY)
        uid = StudyInstanceUID(STUDY.study_uid)
        early = await asker.requests.ask(asker.order(holder, STUDY, code, subject=WHO), by=ACTOR)
        await asker.inbound.ask(early, seconds=10)
        await asker.inbound.fetch_manifest(early)
        await holder.offers.make(asker.peer_id, [uid], "second opinion", caller=Caller("user:d", Role.CLINICIAN))
        async with holder.db.write() as tx:
            marked = await restored.mark(tx, now=holder.clock.now(), log_ends=False)
        assert (marked.codes, marked.transfers) == (0, 1), "the code was used up, and its release ends"
        (offer,) = await holder.offers.page()
        assert (offer.offer.state, offer.offer.untold) == (OfferState.EXPIRED, False)
        with pytest.raises(RemoteRefusal) as refused:
            await asker.inbound.fetch_manifest(early)
        assert refused.value.remote_code == "release_expired"
        late = await asker.requests.ask(asker.order(holder, STUDY, None, subject=WHO), by=ACTOR)
        await asker.inbound.ask(late, seconds=10)
        assert (await asker.requests.view(late)).state == "REVIEW"
        (entry,) = await holder.inbox.page()
        assert entry.reasons == ("restored",)
        async with holder.db.write() as tx:
            await restored.reviewed(tx, by=ACTOR, now=holder.clock.now())
        again = await asker.requests.ask(asker.order(holder, STUDY, None, subject=WHO), by=ACTOR)
        await asker.inbound.ask(again, seconds=10)
        async with holder.db.read() as rx:
            row = await requests.get_received(rx, again)
        assert row is not None
        assert row.state is RequestState.PERMITTED


async def test_nothing_is_logged_before_peers_were_asked(tmp_path: Path) -> None:
    async with north(tmp_path) as holder:
        async with holder.db.write() as tx:
            await restored.mark(tx, now=1)
        with pytest.raises(LogAwaitsPeers):
            await holder.audit.record(AuditEvent(AuditType.NODE_STARTED, 0))
        await recover(holder.db, SEED, holder.trust, holder.clients, clock=holder.clock, log=holder.log)
        assert await holder.audit.record(AuditEvent(AuditType.NODE_STARTED, 0)) == STRIDE + 1


async def test_peers_that_are_away_are_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.sharing.restored.ASK_SECONDS", 0.5)
    async with north(tmp_path) as holder:
        async with site(tmp_path, "lake") as lake:
            await trust_each_other(holder, lake)
        await holder.hold()
        await holder.announcer.announce_now()
        await grow(holder, 3)
        before = await said(holder)
        holder.clock.time += 10
        await put_back(holder)
        (restart,) = await holder.events(AuditType.LOG_RESTARTED)
        assert (restart.detail["asked"], restart.detail["answered"]) == (1, 0)
        await Restored(holder.db, holder.clock, holder.log).confirm(by=ACTOR)
        await holder.announcer.announce_now()
        assert not before & await said(holder)
        assert (await holder.audit.verify()).ok


async def test_a_peer_that_lies_about_what_it_saw_harms_itself_alone(tmp_path: Path) -> None:
    async with north(tmp_path) as holder, site(tmp_path, "lake") as lake, site(tmp_path, "hill") as hill:
        await trust_each_other(holder, lake, hill)
        await holder.hold()
        await holder.announcer.announce_now()
        async with lake.db.write() as tx:  # as if it had followed such a feed, and such a log
            await tx.execute(
                "INSERT INTO feed VALUES (?, ?, 1, zeroblob(32), 5, zeroblob(32), 0, 0)"
                " ON CONFLICT (peer) DO UPDATE SET incarnation = excluded.incarnation",
                (holder.peer_id.digest, 2**63 - 1),
            )
            note = "leveret/nobody/audit\n7\nAAAA\n\n"
            await tx.execute(
                "INSERT INTO witnessed (peer, size, root, note, at) VALUES (?, 7, zeroblob(32), ?, 0)",
                (holder.peer_id.digest, note),
            )
        holder.clock.time += 10
        await put_back(holder)
        await Restored(holder.db, holder.clock, holder.log).confirm(by=ACTOR)
        await holder.announcer.announce_now()
        assert len(await hill.priors_at(holder)) == 1
        incarnations = await holder.rows("SELECT incarnation FROM announce_feed")
        assert all(number < 2**62 for (number,) in incarnations), "no room is left for later ones otherwise"
        assert (await holder.audit.verify()).incarnation < 2**62
