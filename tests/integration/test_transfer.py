"""Two facilities in one process: a released study travels whole or not at all, and always to an end."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from support.ct import CtStudy
from support.sharing_node import ACTOR, SharingNode, befriend, sharing_node
from support.tasks import until

from node.crypto.identity import Identity
from node.crypto.jws import JwsType, verify_jws
from node.errors.sharing import NoSuchTransfer
from node.errors.storage import DiskFull, IndexBusy
from node.model.audit import AuditType
from node.model.ids import RequestId, SOPInstanceUID, StudyInstanceUID, StudyRef
from node.model.transfer import Direction, TransferState
from node.model.trust import TrustState
from node.peers.messages import decode_receipt
from node.sharing import incoming, serve, stream, transfer
from node.sharing.inbound import Step
from node.store import feeds, followed, transfers
from node.store.study_queries import StudyQuery

Two = tuple[SharingNode, SharingNode]
STUDY = CtStudy(instances=12, rows=32)
LARGE = CtStudy(instances=4, rows=1024)


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    """A holder and a recipient that trust each other."""
    async with AsyncExitStack() as stack:
        north, lake = [await stack.enter_async_context(sharing_node(name, tmp_path)) for name in ("north", "lake")]
        await befriend(north, lake)
        yield north, lake


async def ask(north: SharingNode, lake: SharingNode, study: CtStudy = STUDY) -> RequestId:
    code = await north.code_for(study)
    return await lake.requests.ask(lake.order(north, study, code), by=ACTOR)


async def brought(lake: SharingNode, request_id: RequestId, at_least: int) -> None:
    async def enough() -> bool:
        return (await lake.requests.transfer(request_id)).instances_done >= at_least

    await until(enough)


async def outgoing(north: SharingNode, request_id: RequestId) -> TransferState:
    return (await north.requests.transfer(request_id)).state


async def slow_down(north: SharingNode, lake: SharingNode, rate: int) -> None:
    await north.trust.set_policy(lake.peer_id, {"max_rate": str(rate)})


async def test_a_study_travels_with_a_code(two: Two) -> None:
    north, lake = two
    held = await north.hold(STUDY)
    request_id = await ask(north, lake)
    view = await lake.requests.wait(request_id)
    assert (view.state, view.code) == ("COMPLETED", "")
    assert await lake.bytes_of(held) == held
    total = sum(map(len, held.values()))
    moved = view.transfer
    assert (moved.instances_done, moved.instances_total, moved.bytes_done, moved.bytes_total) == (12, 12, total, total)
    assert total / 2 < moved.wire_bytes < total  # 12 bits of noise in 16
    assert moved.seconds > 0
    (study,) = await lake.store.studies()
    (original,) = await north.store.studies()
    assert study.origin == north.peer_id
    assert study.patient == original.patient, "the origin's issuer stays"
    assert (study.revision, study.revision_open) == (1, False)


async def test_both_sides_log_it_and_keep_the_receipt(two: Two) -> None:
    north, lake = two
    await north.hold(STUDY)
    request_id = await ask(north, lake)
    await lake.requests.wait(request_id)

    async def acknowledged() -> bool:
        return await outgoing(north, request_id) is TransferState.COMPLETED and bool(
            await lake.events(AuditType.RECEIPT_SENT)
        )

    await until(acknowledged)
    async with north.db.read() as rx:
        token = await transfers.receipt_of(rx, request_id)
        released = await transfers.release_of(rx, request_id)
    assert token
    assert released
    receipt = decode_receipt(verify_jws(token, JwsType.RECEIPT, lake.identity.public_key, max_bytes=4096))
    assert (receipt.request_id, receipt.manifest, receipt.instances) == (request_id, released.digest, 12)
    for node, kinds in (
        (north, ("SHARE_CODE_CREATED", "REQUEST_DECIDED", "RELEASED", "RECEIPT_RECEIVED")),
        (lake, ("REQUEST_SENT", "STUDY_RECEIVED", "RECEIPT_SENT")),
    ):
        for kind in kinds:
            (event,) = await node.events(AuditType[kind])
            assert event.request in {None, request_id}
    (released_event,) = await north.events(AuditType.RELEASED)
    assert released_event.study == StudyInstanceUID(STUDY.study_uid)
    assert released_event.patient == north.patient(STUDY)


async def test_nothing_is_shown_before_all_is_there(two: Two) -> None:
    north, lake = two
    await north.hold(STUDY)
    await slow_down(north, lake, 100_000)
    request_id = await ask(north, lake)
    await brought(lake, request_id, 2)
    assert await lake.store.studies() == []
    await slow_down(north, lake, 0)
    assert (await lake.requests.wait(request_id)).state == "COMPLETED"
    assert len(await lake.store.studies()) == 1


@pytest.mark.parametrize("form", ["in many pieces", "in one piece once it is packed", "not packed"])
async def test_large_instances_pass_through_in_pieces(two: Two, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """With smaller limits, so that each instance is a large one at both ends."""
    study = replace(LARGE, smooth=form == "in one piece once it is packed")
    monkeypatch.setattr(incoming, "PIECE_BYTES", 500_000 if study.smooth else 300_000)
    monkeypatch.setattr(incoming, "MEMORY_BYTES", 2_000_000)
    monkeypatch.setattr(stream, "WHOLE_BYTES", 200_000)
    if form == "not packed":
        monkeypatch.setattr(incoming, "CODECS", ())
    north, lake = two
    held = await north.hold(study)
    view = await lake.requests.wait(await ask(north, lake, study))
    assert view.state == "COMPLETED"
    assert await lake.bytes_of(held) == held
    assert (view.transfer.wire_bytes > view.transfer.bytes_total) == (form == "not packed")


async def test_blocks_are_kept_as_the_holder_packed_them(two: Two) -> None:
    north, lake = two
    held = await north.hold(LARGE)
    await lake.requests.wait(await ask(north, lake, LARGE))
    uids = [SOPInstanceUID(uid) for uid in held]
    theirs, ours = await north.store.readers(uids), await lake.store.readers(uids)
    for uid in uids:
        layout, blocks = await ours[uid].read_packed(0, 10**7)
        assert layout is not None
        assert (layout, blocks) == await theirs[uid].read_packed(0, 10**7)


async def test_a_large_instance_that_is_cut_leaves_nothing_half(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "PIECE_BYTES", 300_000)
    north, lake = two
    held = await north.hold(LARGE)
    await slow_down(north, lake, 2_000_000)
    request_id = await ask(north, lake, LARGE)
    await brought(lake, request_id, 1)
    for _ in range(3):
        await asyncio.sleep(0.2)
        lake.clients.trust_changed(north.peer_id, TrustState.SUSPENDED)  # cuts its connections off
    await slow_down(north, lake, 0)
    assert (await lake.requests.wait(request_id)).state == "COMPLETED"
    assert await lake.bytes_of(held) == held


async def test_streams_that_share_little_memory_wait_for_each_other(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """At either side less than one group of instances fits, let alone those of three streams."""
    monkeypatch.setattr(stream, "LANE_BYTES", 50_000)
    monkeypatch.setattr(stream, "GROUP_BYTES", 70_000)
    monkeypatch.setattr(incoming, "MEMORY_BYTES", 100_000)
    north, lake = two
    held = await north.hold(STUDY)
    assert (await lake.requests.wait(await ask(north, lake))).state == "COMPLETED"
    assert await lake.bytes_of(held) == held


async def test_max_rate_holds_for_all_streams_together(two: Two) -> None:
    north, lake = two
    await north.hold(STUDY)
    await slow_down(north, lake, 200_000)
    request_id = await ask(north, lake)
    view = await lake.requests.wait(request_id)
    assert view.state == "COMPLETED"
    assert view.transfer.seconds >= view.transfer.bytes_total / 200_000 - 0.5


async def test_what_is_held_is_not_sent_again(two: Two) -> None:
    north, lake = two
    held = await north.hold(STUDY)
    await lake.requests.wait(await ask(north, lake))
    again = await lake.requests.wait(await ask(north, lake))
    assert (again.state, again.transfer.wire_bytes) == ("COMPLETED", 0)
    assert (again.transfer.instances_done, await lake.bytes_of(held)) == (12, held)


async def test_several_studies_in_one_request(two: Two) -> None:
    north, lake = two
    second = CtStudy(instances=3, rows=16, seed=2)
    held = await north.hold(STUDY, second)
    code = await north.code_for(STUDY)
    both = (StudyInstanceUID(STUDY.study_uid), StudyInstanceUID(second.study_uid))
    order = lake.order(north, STUDY, code, targets=both)
    view = await lake.requests.wait(await lake.requests.ask(order, by=ACTOR))
    assert view.state == "COMPLETED"
    assert set(view.transfer.studies) == set(both)
    assert await lake.bytes_of(held) == held


async def test_each_ref_of_a_request_is_known_for_its_study_afterwards(two: Two) -> None:
    north, lake = two
    second, third = CtStudy(instances=2, rows=16, seed=2), CtStudy(instances=2, rows=16, seed=3)
    await north.hold(STUDY, second, third)
    announced = {StudyRef.new(): StudyInstanceUID(study.study_uid) for study in (STUDY, second)}
    async with north.db.write() as tx:
        for ref, uid in announced.items():
            await feeds.set_announced(tx, lake.peer_id, uid, feeds.Announced(ref, 1))
    order = lake.order(
        north, STUDY, await north.code_for(STUDY), targets=(*announced, StudyInstanceUID(third.study_uid))
    )
    assert (await lake.requests.wait(await lake.requests.ask(order, by=ACTOR))).state == "COMPLETED"
    assert len(await lake.store.studies()) == 3
    async with lake.db.read() as rx:
        assert await followed.learned_refs(rx, north.peer_id, announced) == announced


async def test_a_later_revision_brings_only_what_is_new(two: Two) -> None:
    north, lake = two
    held = await north.hold(CtStudy(instances=4, rows=16))
    await lake.requests.wait(await ask(north, lake, CtStudy(instances=4, rows=16)))
    more = await north.hold(CtStudy(instances=6, rows=16))
    view = await lake.requests.wait(await ask(north, lake, CtStudy(instances=6, rows=16)))
    assert view.state == "COMPLETED"
    assert await lake.bytes_of(more) == more
    new = sum(len(data) for uid, data in more.items() if uid not in held)
    assert new / 2 < view.transfer.wire_bytes < new
    (study,) = await lake.store.studies()
    assert study.revision == 2


async def test_the_follower_sees_progress_and_the_end(two: Two) -> None:
    north, lake = two
    await north.hold(STUDY)
    await slow_down(north, lake, 200_000)
    request_id = await ask(north, lake)
    views = [view async for view in lake.requests.follow(request_id)]
    assert views[-1].state == "COMPLETED"
    done = [view.transfer.instances_done for view in views]
    assert done == sorted(done)
    assert len(set(done)) > 2
    assert all(not view.settled for view in views[:-1])


async def test_transfers_are_listed_newest_first(two: Two) -> None:
    north, lake = two
    await north.hold(STUDY)
    first = await ask(north, lake)
    await lake.requests.wait(first)
    second = await ask(north, lake)
    await lake.requests.wait(second)
    assert [t.request_id for t in await lake.requests.transfers()] == [second, first]
    assert {t.direction for t in await north.requests.transfers()} == {Direction.OUT}
    with pytest.raises(NoSuchTransfer):
        await lake.requests.transfer(RequestId.new())


@pytest.mark.parametrize("side", ["recipient", "holder"])
async def test_cancelled_at_either_side_nothing_is_left(two: Two, side: str) -> None:
    north, lake = two
    await north.hold(STUDY)
    await slow_down(north, lake, 50_000)
    request_id = await ask(north, lake)
    await brought(lake, request_id, 1)
    node = lake if side == "recipient" else north
    assert (await node.requests.cancel(request_id, by=ACTOR)).state is TransferState.CANCELLED
    view = await lake.requests.wait(request_id)
    assert (view.state, view.code) == ("FAILED", "transfer_cancelled")

    async def told() -> bool:
        return await outgoing(north, request_id) is TransferState.CANCELLED

    await until(told)
    assert await lake.store.staged(request_id) == {}
    assert await lake.store.studies() == []


async def test_a_revoked_code_ends_the_transfer_within_a_second(two: Two) -> None:
    north, lake = two
    await north.hold(STUDY)
    await slow_down(north, lake, 20_000)  # an instance takes longer than the second
    request_id = await ask(north, lake)
    await until(lambda: _has_wire_bytes(north))
    (consent,) = await north.share_codes.page()
    started = time.monotonic()
    await north.share_codes.revoke(consent.consent_id, by=ACTOR)
    await until(lambda: _idle(north))
    assert time.monotonic() - started < 1.0
    view = await lake.requests.wait(request_id)
    assert (view.state, view.code) == ("FAILED", "consent_revoked")
    assert await lake.store.staged(request_id) == {}


async def _has_wire_bytes(north: SharingNode) -> bool:
    return any(live.streams and live.wire_bytes for live in north.objects._live.values())


async def _idle(north: SharingNode) -> bool:
    return not any(live.streams for live in north.objects._live.values())


async def test_a_revoked_peer_gets_nothing_more_within_a_second(two: Two) -> None:
    north, lake = two
    await north.hold(STUDY)
    await slow_down(north, lake, 50_000)
    request_id = await ask(north, lake)
    await brought(lake, request_id, 1)
    started = time.monotonic()
    await north.trust.revoke(lake.peer_id)
    await until(lambda: _idle(north))
    assert time.monotonic() - started < 1.0

    async def suspended() -> bool:
        found = await lake.requests.transfer(request_id)
        return found.state is TransferState.SUSPENDED and found.code == "not_trusted_by_peer"

    await until(suspended)
    assert await lake.store.studies() == []
    await befriend(north, lake)
    view = await lake.requests.wait(request_id)
    assert (view.state, view.code) == ("FAILED", "release_expired"), "trusted again, it does not go on"
    assert await lake.store.studies() == []


async def test_a_suspended_peer_goes_on_when_it_is_resumed(two: Two) -> None:
    north, lake = two
    held = await north.hold(STUDY)
    await slow_down(north, lake, 50_000)
    request_id = await ask(north, lake)
    await brought(lake, request_id, 1)
    await north.trust.suspend(lake.peer_id)
    await asyncio.sleep(0.3)
    await north.trust.set_policy(lake.peer_id, {"max_rate": "0"})
    await north.trust.resume(lake.peer_id)
    assert (await lake.requests.wait(request_id)).state == "COMPLETED"
    assert await lake.bytes_of(held) == held


async def test_an_expired_release_is_refused(two: Two) -> None:
    north, lake = two
    await north.hold(STUDY)
    await slow_down(north, lake, 50_000)
    request_id = await ask(north, lake)
    await brought(lake, request_id, 1)
    north.clock.offset = 15 * 86_400
    view = await lake.requests.wait(request_id)
    assert (view.state, view.code) == ("FAILED", "release_expired")
    await north.objects._expire()
    assert await outgoing(north, request_id) is TransferState.FAILED


async def test_an_expired_release_ends_in_the_middle_of_an_instance(two: Two) -> None:
    north, lake = two
    await north.hold(STUDY)
    await slow_down(north, lake, 5_000)  # an instance takes seven seconds
    request_id = await ask(north, lake)
    await until(lambda: _has_wire_bytes(north))
    started = time.monotonic()
    north.clock.offset = 15 * 86_400
    await until(lambda: _idle(north))
    assert time.monotonic() - started < serve.TICK_SECONDS + stream.STOP_SECONDS + 0.5
    view = await lake.requests.wait(request_id)
    assert (view.state, view.code) == ("FAILED", "release_expired")


async def test_a_full_disk_does_not_end_the_object_server(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "TICK_SECONDS", 0.02)
    north, lake = two
    await north.hold(STUDY)
    monkeypatch.setattr(transfers, "set_progress", AsyncMock(side_effect=DiskFull))
    serving = asyncio.create_task(north.objects.run())
    async with north.objects.open(lake.peer_id, await _released(north, lake), [0]) as source:
        await source.run(AsyncMock())
        await asyncio.sleep(0.2)
    assert not serving.done()
    assert "disk_full" in north.logged.getvalue()
    serving.cancel()
    await asyncio.wait((serving,))


async def test_an_index_that_cannot_be_read_for_a_moment_fails_no_transfer(two: Two) -> None:
    north, lake = two
    held = await north.hold(STUDY)
    lake.inbound.next_step = _now_and_then_busy(lake)  # type: ignore[method-assign, assignment]
    view = await lake.requests.wait(await ask(north, lake))
    assert (view.state, view.code) == ("COMPLETED", "")
    assert await lake.bytes_of(held) == held


def _now_and_then_busy(lake: SharingNode) -> Callable[[RequestId], Awaitable[Step]]:
    next_step, calls = lake.inbound.next_step, itertools.count()

    async def step(request_id: RequestId) -> Step:
        if next(calls) % 2:
            raise IndexBusy
        return await next_step(request_id)

    return step


async def _released(north: SharingNode, lake: SharingNode) -> RequestId:
    """A release that nobody pulls."""
    lake.engine.begin = lambda _request_id: None  # type: ignore[method-assign, assignment]
    request_id = await ask(north, lake)
    await lake.inbound.ask(request_id, seconds=5)
    return request_id


async def test_a_standing_transfer_is_suspended_at_the_holder(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(transfer, "FIRST_RETRY_SECONDS", 30.0)
    north, lake = two
    await north.hold(STUDY)
    await slow_down(north, lake, 50_000)
    request_id = await ask(north, lake)
    await brought(lake, request_id, 1)
    lake.clients.trust_changed(north.peer_id, TrustState.SUSPENDED)  # cuts its connections off

    async def standing() -> bool:
        return await outgoing(north, request_id) is TransferState.SUSPENDED

    await until(standing)
    seen = await north.requests.transfer(request_id)
    assert 0 < seen.instances_done < 12


class Place:
    """Where a node that is stopped and started again lives."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.directory, self.identity = name, directory, Identity.generate()
        self._stack = AsyncExitStack()

    async def start(self, **options: object) -> SharingNode:
        return await self._stack.enter_async_context(
            sharing_node(self.name, self.directory, identity=self.identity, **options)  # type: ignore[arg-type]
        )

    async def stop(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()


@pytest.mark.parametrize("side", ["recipient", "holder"])
async def test_either_side_restarted_it_resumes(tmp_path: Path, side: str) -> None:
    here, there = Place("north", tmp_path), Place("lake", tmp_path)
    north, lake = await here.start(), await there.start()
    await befriend(north, lake)
    try:
        held = await north.hold(STUDY)
        await slow_down(north, lake, 60_000)
        request_id = await ask(north, lake)
        await brought(lake, request_id, 3)
        if side == "recipient":
            await there.stop()
            await slow_down(north, lake, 0)
            lake = await there.start()
        else:
            port = north.server.address.port
            await here.stop()

            async def suspended() -> bool:
                return (await lake.requests.transfer(request_id)).state is TransferState.SUSPENDED

            await until(suspended)
            assert await lake.store.studies() == []
            north = await here.start(port=port)
            await slow_down(north, lake, 0)
        before = len(await lake.store.staged(request_id))
        assert before >= 3, "resumed, not restarted"
        view = await lake.requests.wait(request_id)
        assert view.state == "COMPLETED"
        assert await lake.bytes_of(held) == held
        assert view.transfer.wire_bytes < 2 * view.transfer.bytes_total
        assert (await lake.store.studies(StudyQuery()))[0].instances == 12
    finally:
        await there.stop()
        await here.stop()


async def test_a_holder_that_cannot_be_reached_fails_the_request_in_time(tmp_path: Path) -> None:
    here, there = Place("north", tmp_path), Place("lake", tmp_path)
    north, lake = await here.start(), await there.start()
    try:
        await befriend(north, lake)
        await north.hold(STUDY)
        code = await north.code_for(STUDY)
        await here.stop()
        started = time.monotonic()
        order = lake.order(north, STUDY, code, timeout=2)
        view = await lake.requests.wait(await lake.requests.ask(order, by=ACTOR))
        assert (view.state, view.code) == ("FAILED", "peer_unreachable")
        assert time.monotonic() - started > 1.5, "it kept trying"
    finally:
        await there.stop()
        await here.stop()


async def test_an_unsent_request_goes_out_after_a_restart(tmp_path: Path) -> None:
    here, there = Place("north", tmp_path), Place("lake", tmp_path)
    north = await here.start()
    lake = await there.start(engine=False)
    try:
        await befriend(north, lake)
        held = await north.hold(STUDY)
        request_id = await ask(north, lake)
        await there.stop()
        lake = await there.start()
        assert (await lake.requests.wait(request_id)).state == "COMPLETED"
        assert await lake.bytes_of(held) == held
    finally:
        await there.stop()
        await here.stop()
