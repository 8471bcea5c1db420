"""Requests decided a second, audit included, and how long a log of a million events takes to prove itself.

Run ``make bench ARGS='-k decisions'``. The figures stand in docs/performance.md.
"""

import asyncio
import hashlib
import secrets
import time
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.sharing_node import SharingNode, befriend, sharing_node

from node.crypto import sharecode
from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws
from node.crypto.tlog import Frontier, leaf_hash
from node.model.audit import AuditEvent, AuditType
from node.model.consent import PurposeOfUse
from node.model.ids import RequestId, StudyInstanceUID
from node.model.request import CodeProof, ReleaseRequest, Subject
from node.peers import limits
from node.peers.messages import encode_body, encode_request
from node.sharing.audit import AuditLog
from node.store.audit import encode
from node.store.engine import Database

REQUESTS = 400
AT_ONCE = 8
EVENTS = 1_000_000
BATCH = 20_000
STUDY = CtStudy(instances=4, rows=16)


def token(north: SharingNode, asker: Identity, code: str) -> str:
    request = ReleaseRequest(
        RequestId.new(), north.peer_id, asker.peer_id, "dr.who", "clinician", PurposeOfUse.TREAT, Subject(),
        (StudyInstanceUID(STUDY.study_uid),),
    )  # fmt: skip
    body, parsed = encode_body(request), sharecode.parse(code)
    mac = sharecode.proof(parsed.mac_key, hashlib.sha256(body).digest(), north.peer_id, asker.peer_id)
    payload = encode_request(body, CodeProof(parsed.lookup_id, mac), north.clock.now())
    return sign_jws(asker, JwsType.REQUEST, payload)


@pytest.mark.bench
async def test_requests_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUESTS_BURST", 1e6)
    async with sharing_node("north", tmp_path) as north, sharing_node("lake", tmp_path, engine=False) as lake:
        await befriend(north, lake)
        await north.hold(STUDY)
        codes = [await north.code_for(STUDY, uses=100) for _ in range(REQUESTS // 100)]
        tokens = iter([token(north, lake.identity, codes[n % len(codes)]) for n in range(REQUESTS)])

        async def ask() -> None:
            for one in tokens:
                await north.holder.receive(lake.peer_id, one)

        started, cpu = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(ask())
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        assert len(await north.events(AuditType.RELEASED)) == REQUESTS
    print(f"\nrequests verified, decided, released and audited: {REQUESTS / seconds:.0f}/s, {cpu:.2f} CPU s")


@pytest.mark.bench
async def test_a_million_events_prove_themselves(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "index.db", secrets.token_bytes(32))
    tree, event = Frontier(), AuditEvent(AuditType.STUDY_READ, 1_764_000_000, "user:somebody")
    for first in range(0, EVENTS, BATCH):
        rows = []
        for number in range(first, first + BATCH):
            body = encode(event, number.to_bytes(16))
            rows.append((number, event.at, event.type.value, body, leaf_hash(body)))
            tree.append(rows[-1][-1])
        async with db.write() as tx:
            await tx.execute_many(
                "INSERT INTO audit_event (position, at, type, body, leaf) VALUES (?, ?, ?, ?, ?)", rows
            )
    async with db.write() as tx:
        await tx.execute("INSERT INTO audit_frontier (id, frontier) VALUES (1, ?)", (tree.serialise(),))
    log = AuditLog(db, Identity.generate(), StandingClock())
    started = time.perf_counter()
    await log.checkpoint()
    signed = time.perf_counter() - started
    started, cpu = time.perf_counter(), time.process_time()
    proof = await log.verify()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert proof.ok, proof.problems
    assert proof.size == EVENTS
    started = time.perf_counter()
    for position in range(0, EVENTS, EVENTS // 50):
        await log.inclusion(position)
    path = (time.perf_counter() - started) / 50
    await db.close()
    print(
        f"\naudit verify of {EVENTS} events: {seconds:.1f} s ({cpu:.1f} CPU s);"
        f" the first checkpoint {signed:.1f} s, an inclusion proof {1000 * path:.1f} ms"
    )


class StandingClock:
    """The machine's clock is not what is measured."""

    def now(self) -> int:
        return 1_764_000_000

    def monotonic(self) -> float:
        return 0.0
