"""The audit log proves itself, and a changed, cut or rewritten one does not."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.crypto.identity import Identity
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.sharing.audit import AuditLog
from node.store import audit as rows
from node.store.engine import Database

KEY = bytes(range(32))


class Ticking:
    def __init__(self) -> None:
        self._seconds = itertools.count(1_700_000_000)

    def now(self) -> int:
        return next(self._seconds)

    def monotonic(self) -> float:
        return float(self.now())


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "index.db", KEY)
    yield database
    await database.close()


@pytest.fixture
def log(db: Database) -> AuditLog:
    return AuditLog(db, Identity.from_seed(bytes(32)), Ticking())


def event(number: int) -> AuditEvent:
    return AuditEvent(
        AuditType.RELEASED,
        at=number,
        actor="user:alice",
        outcome=Outcome.REFUSED,
        peer=PeerId.of_public_key(bytes(32)),
        patient=PatientKey("issuer", "1234"),
        study=StudyInstanceUID("1.2.3"),
        request=RequestId(bytes(16)),
        purpose="TREAT",
        code="not_released",
        detail={"instances": 3},
    )


async def test_an_event_reads_back_as_it_was_written(log: AuditLog) -> None:
    await log.record(event(5))
    (row,) = await log.page()
    assert row.event == event(5)
    assert row.position == 0


async def test_a_log_with_checkpoints_proves_itself(log: AuditLog) -> None:
    for number in range(1, 40):
        await log.record(event(number))
        if number % 7 == 0:
            await log.checkpoint()
    proof = await log.verify()
    assert proof.ok, proof.problems
    assert (proof.size, proof.checkpoints) == (39, 5)


async def test_the_same_event_never_has_the_same_leaf(log: AuditLog) -> None:
    await log.record(event(1))
    await log.record(event(1))
    first, second = await log.page()
    assert first.leaf != second.leaf


@pytest.mark.parametrize(
    ("sabotage", "complaint"),
    [
        ("UPDATE audit_event SET body = replace(body, 'alice', 'mally') WHERE position = 2", "event 2 was changed"),
        ("DELETE FROM audit_event WHERE position = 4", "events 4 to 4 are missing"),
        ("DELETE FROM audit_event WHERE position >= 6", "the log was cut: 10 events were signed, 6 are left"),
        ("UPDATE audit_checkpoint SET root = zeroblob(32)", "checkpoint at 10: its note says something else"),
        ("UPDATE audit_checkpoint SET note = replace(note, '10', '11')", "checkpoint at 10"),
        ("UPDATE audit_frontier SET frontier = zeroblob(0)", "the stored edge of the tree does not fit"),
    ],
)
async def test_sabotage_is_found(log: AuditLog, db: Database, sabotage: str, complaint: str) -> None:
    for number in range(10):
        await log.record(event(number))
    await log.checkpoint()
    async with db.write() as tx:
        if "replace(body" in sabotage:
            body = await tx.fetch_value("SELECT body FROM audit_event WHERE position = 2")
            await tx.execute("UPDATE audit_event SET body = ? WHERE position = 2", (body.replace(b"alice", b"mally"),))
        else:
            await tx.execute(sabotage)
    proof = await log.verify()
    assert not proof.ok
    assert any(complaint in problem for problem in proof.problems), proof.problems


async def test_rewritten_history_does_not_match_its_signed_head(log: AuditLog, db: Database) -> None:
    """Somebody with the key to the index changes an event *and* its leaf and the edge of the tree."""
    for number in range(10):
        await log.record(event(number))
    await log.checkpoint()
    async with db.write() as tx:
        await tx.execute("DELETE FROM audit_event")
        await tx.execute("DELETE FROM audit_frontier")
        for number in range(10):
            await rows.append(tx, event(number + 100))
    proof = await log.verify()
    assert proof.problems == ("the log up to 10 is not what the checkpoint signed",)


async def test_pages_go_back_in_time(log: AuditLog) -> None:
    for number in range(5):
        await log.record(event(number))
    newest = await log.page(limit=2)
    assert [row.position for row in newest] == [4, 3]
    older = await log.page(before=3, limit=10)
    assert [row.position for row in older] == [2, 1, 0]
    assert await log.page(types=(AuditType.NODE_STARTED,)) == []
