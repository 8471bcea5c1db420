"""Peers co-sign each other's logs: what grows is signed, what shrinks or forks is refused, kept as evidence, told."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from support.peered import Peered

from node.clock import SystemClock
from node.crypto.identity import Identity
from node.crypto.notes import checkpoint_body, parse_note, sign_note, verify_cosignature
from node.crypto.tlog import consistency_proof, leaf_hash, root_of
from node.errors.audit import WitnessRefused
from node.errors.crypto_identity import BadSignature, MalformedNote
from node.errors.peers import MalformedMessage, RemoteRefusal
from node.errors.sharing import TooManyRequests
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PeerId
from node.model.trust import TrustEvent
from node.peers.handlers_witness import MAX_PROOF, WITNESS, AddCheckpoint, Held, Witness, WitnessPort, routes
from node.sharing.audit import AuditLog, origin_of, witness_name
from node.sharing.witness import WitnessDesk, Witnesses, WitnessParts
from node.store import restored
from node.store import witness as rows
from node.store.audit import LogPart
from node.store.engine import Database

FIRST = LogPart(1, 0)


class Facility(Peered):
    """A node with an audit log that co-signs and has co-signed."""

    def __init__(self, name: str, db: Database, identity: Identity, port: WitnessPort | None) -> None:
        clock = SystemClock()
        super().__init__(name, db, identity, clock)
        parts = WitnessParts(db, identity, self.trust, self.clients, clock, self.log)
        self.audit = AuditLog(db, identity, clock)
        self.desk, self.witnesses = WitnessDesk(parts), Witnesses(parts)
        self.server.add_routes(routes(port or self.desk))

    async def grow(self, count: int) -> None:
        for number in range(count):
            await self.audit.record(AuditEvent(AuditType.STUDY_READ, number))
        await self.audit.checkpoint()

    async def cosigners(self) -> list[tuple[str, int]]:
        return [(one.peer.full, one.size) for one in (await self.audit.verify()).cosigned]


@contextlib.asynccontextmanager
async def facility(
    name: str, folder: Path, identity: Identity | None = None, port: WitnessPort | None = None
) -> AsyncIterator[Facility]:
    db = await Database.open(folder / f"{name}.db", bytes(range(32)))
    node = Facility(name, db, identity or Identity.generate(), port)
    try:
        await node.trust.load()
        async with node.clients, node.server:
            await node.trust.publish(name, [node.server.address])
            yield node
    finally:
        await db.close()


async def befriend(one: Facility, other: Facility) -> None:
    for here, there in ((one, other), (other, one)):
        async with here.db.write() as tx:
            await here.trust.enter(tx, there.trust.own_card(), TrustEvent.IMPORT, "phrase", "node")


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Facility, Facility]]:
    async with AsyncExitStack() as stack:
        north = await stack.enter_async_context(facility("north", tmp_path))
        lake = await stack.enter_async_context(facility("lake", tmp_path))
        await befriend(north, lake)
        yield north, lake


async def test_each_head_is_cosigned_and_verifies(two: tuple[Facility, Facility]) -> None:
    north, lake = two
    for size in (1, 2, 300, 800):
        await north.grow(size)
        await north.witnesses.round()
        proof = await north.audit.verify()
        assert proof.ok, proof.problems
        assert [(one.peer, one.size) for one in proof.cosigned] == [(lake.peer_id, proof.size)]
    assert await north.witnesses.contradicted_by() == []
    async with lake.db.read() as rx:
        held = await rows.witnessed(rx, north.peer_id)
    assert held is not None
    assert held.size == (await north.audit.verify()).size


async def test_a_cosignature_is_what_c2sp_says(two: tuple[Facility, Facility]) -> None:
    north, lake = two
    await north.grow(3)
    await north.witnesses.round()
    async with north.db.read() as rx:
        ((one, head),) = await rows.newest_of_each(rx, FIRST)
    assert verify_cosignature(head.note + one.line, witness_name(lake.peer_id), lake.identity.public_key) == one.at
    with pytest.raises(BadSignature):
        verify_cosignature(head.note + one.line, witness_name(north.peer_id), north.identity.public_key)


async def test_nothing_is_asked_again_that_is_signed(two: tuple[Facility, Facility]) -> None:
    north, lake = two
    await north.grow(3)
    await north.witnesses.round()
    before = await lake.events()
    await north.witnesses.round()
    assert await lake.events() == before
    assert await north.cosigners() == [(lake.peer_id.full, (await north.audit.verify()).size)]


async def test_a_log_that_was_cut_is_caught_by_its_witness_and_by_verify(
    two: tuple[Facility, Facility], tmp_path: Path
) -> None:
    """The whole index is put back to an older state, as a restored backup or a rewriter would do it."""
    north, lake = two
    await north.grow(20)
    await north.witnesses.round()
    async with facility("north-again", tmp_path, north.identity) as again:
        await befriend(again, lake)
        await again.grow(5)
        assert (await again.audit.verify()).ok, "alone it cannot know"
        (problem,) = await again.witnesses.contradicted_by()
        assert "this log has fewer" in problem
        await again.witnesses.round()
        (event,) = await again.events(AuditType.OWN_LOG_CONFLICT)
        assert event.peer == lake.peer_id
        async with again.db.read() as rx:
            assert await restored.is_under_review(rx), "put back without a word: treated as a restore"
        await again.witnesses.round()
        assert len(await again.events(AuditType.OWN_LOG_CONFLICT)) == 1, "told once"
        assert await again.cosigners() == []
        await again.audit.checkpoint()
        await again.witnesses.round()
        assert [peer for peer, _ in await again.cosigners()] == [lake.peer_id.full], "it goes on in a new tree"
        assert await again.witnesses.contradicted_by() == []
        proof = await again.audit.verify()
        assert (proof.ok, len(proof.gaps)) == (True, 1)
    (accusation,) = await lake.events(AuditType.PEER_LOG_CONFLICT)
    assert accusation.peer == north.peer_id
    async with lake.db.read() as rx:
        (conflict,) = await rows.conflicts(rx)
    assert conflict.kind == "shrank"


async def test_a_rewritten_log_is_caught(two: tuple[Facility, Facility], tmp_path: Path) -> None:
    north, lake = two
    await north.grow(20)
    await north.witnesses.round()
    async with facility("north-again", tmp_path, north.identity) as again:
        await befriend(again, lake)
        await again.grow(30)
        (problem,) = await again.witnesses.contradicted_by()
        assert "another log" in problem
        await again.witnesses.round()
        assert len(await again.events(AuditType.OWN_LOG_CONFLICT)) == 1
    async with lake.db.read() as rx:
        (conflict,) = await rows.conflicts(rx)
    assert conflict.kind == "forked"
    assert parse_note(conflict.held).text != parse_note(conflict.given).text


LEAVES = [leaf_hash(bytes([n])) for n in range(40)]


def shown(owner: Facility, size: int, old: int, leaves: list[bytes] = LEAVES) -> AddCheckpoint:
    body = checkpoint_body(origin_of(owner.identity), size, root_of(leaves[:size]))
    proof = consistency_proof(leaves[:size], old) if 0 < old < size else []
    return AddCheckpoint(old, [h.hex() for h in proof], sign_note(owner.identity, origin_of(owner.identity), body))


async def ask(owner: Facility, witness: Facility, asked: AddCheckpoint) -> Witness:
    return await owner.clients.get(witness.peer_id).call("POST", WITNESS, body=asked, response_type=Witness)


async def test_a_witness_says_where_a_proof_must_start(two: tuple[Facility, Facility]) -> None:
    north, lake = two
    assert (await ask(north, lake, shown(north, 7, 0))).line
    assert await ask(north, lake, shown(north, 9, 3)) == Witness(7, None)
    assert (await ask(north, lake, shown(north, 9, 7))).line
    assert (await ask(north, lake, shown(north, 9, 9))).line, "a lost answer is given again"


@pytest.mark.parametrize("wrong", ["proof", "root", "smaller", "other root of one size"])
async def test_what_does_not_continue_is_refused(two: tuple[Facility, Facility], wrong: str) -> None:
    north, lake = two
    assert (await ask(north, lake, shown(north, 7, 0))).line
    others = [*LEAVES[:3], leaf_hash(b"rewritten"), *LEAVES[4:]]
    bad = {
        "proof": replace_proof(shown(north, 12, 7)),
        "root": shown(north, 12, 7, others),
        "smaller": shown(north, 5, 0),
        "other root of one size": shown(north, 7, 7, others),
    }[wrong]
    with pytest.raises(RemoteRefusal) as refused:
        await ask(north, lake, bad)
    assert refused.value.remote_code == "witness_refused"
    async with lake.db.read() as rx:
        assert (await rows.witnessed(rx, north.peer_id)).size == 7  # type: ignore[union-attr]  # it is there
        assert len(await rows.conflicts(rx)) == 1
    assert (await ask(north, lake, shown(north, 12, 7))).line, "the true log goes on"


def replace_proof(asked: AddCheckpoint) -> AddCheckpoint:
    return AddCheckpoint(asked.old, ["00" * 32, *asked.proof[1:]], asked.checkpoint)


async def test_the_evidence_of_a_peer_has_an_end(two: tuple[Facility, Facility]) -> None:
    """One fork is proof enough; a peer that signs them by the thousand fills neither the index nor the log."""
    north, lake = two
    assert (await ask(north, lake, shown(north, 7, 0))).line
    for number in range(rows.MAX_CONFLICTS + 3):
        others = [leaf_hash(f"fork {number}".encode()), *LEAVES[1:]]
        with pytest.raises(RemoteRefusal):
            await ask(north, lake, shown(north, 7, 7, others))
    async with lake.db.read() as rx:
        assert len(await rows.conflicts(rx)) == rows.MAX_CONFLICTS
    assert len(await lake.events(AuditType.PEER_LOG_CONFLICT)) == rows.MAX_CONFLICTS


async def test_a_peer_cannot_make_a_witness_work_for_ever(
    two: tuple[Facility, Facility], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.peers.limits.WITNESS_BURST", 3.0)
    north, lake = two
    desk = WitnessDesk(WitnessParts(lake.db, lake.identity, lake.trust, lake.clients, SystemClock(), lake.log))
    for _ in range(3):
        assert (await desk.add(north.peer_id, shown(north, 7, 7 if _ else 0))).size == 7
    with pytest.raises(TooManyRequests):
        await desk.add(north.peer_id, shown(north, 7, 0))


class Liar:
    """A witness that says of every log that it has seen more of it, or another one."""

    def __init__(self, answer: Witness | None) -> None:
        self.answer = answer

    async def add(self, peer: PeerId, asked: AddCheckpoint) -> Witness:
        if self.answer is None:
            raise WitnessRefused(f"{peer.short} {asked.old}")
        return self.answer

    async def held(self, peer: PeerId) -> Held:
        return Held(f"nothing that {peer.short} signed")


@pytest.mark.parametrize("answer", [Witness(10**6, None), None])
async def test_a_witness_accuses_nobody_by_its_word_alone(tmp_path: Path, answer: Witness | None) -> None:
    async with AsyncExitStack() as stack:
        north = await stack.enter_async_context(facility("north", tmp_path))
        liar = await stack.enter_async_context(facility("lake", tmp_path, port=Liar(answer)))
        await befriend(north, liar)
        await north.grow(5)
        await north.witnesses.round()
        assert await north.events(AuditType.OWN_LOG_CONFLICT) == []


async def test_nobody_speaks_for_another_log(two: tuple[Facility, Facility]) -> None:
    north, lake = two
    stolen = shown(lake, 4, 0)
    with pytest.raises(RemoteRefusal) as refused:
        await ask(north, lake, stolen)
    assert refused.value.remote_code in {BadSignature.code, MalformedNote.code}


async def test_a_signature_of_another_key_is_none(two: tuple[Facility, Facility]) -> None:
    north, lake = two
    origin = origin_of(north.identity)
    forged = sign_note(Identity.generate(), origin, checkpoint_body(origin, 4, root_of(LEAVES[:4])))
    with pytest.raises(RemoteRefusal) as refused:
        await ask(north, lake, AddCheckpoint(0, [], forged))
    assert refused.value.remote_code == BadSignature.code


async def test_limits_are_kept(two: tuple[Facility, Facility]) -> None:
    north, lake = two
    good = shown(north, 4, 0)
    for bad in (
        AddCheckpoint(0, ["00" * 32] * (MAX_PROOF + 1), good.checkpoint),
        AddCheckpoint(0, ["zz"], good.checkpoint),
        AddCheckpoint(-1, [], good.checkpoint),
        AddCheckpoint(0, [], "x" * 100_000),
    ):
        with pytest.raises(RemoteRefusal) as refused:
            await ask(north, lake, bad)
        assert refused.value.remote_code in {MalformedMessage.code, "body_too_large"}


async def test_a_stranger_has_no_head(two: tuple[Facility, Facility]) -> None:
    north, lake = two
    held = await north.clients.get(lake.peer_id).call("GET", WITNESS, response_type=Held)
    assert held == Held("")
