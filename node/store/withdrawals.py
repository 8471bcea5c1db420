"""What was withdrawn here and whom it was told, one queue a destination; and what others withdrew."""

from dataclasses import dataclass, field

from node.model.ids import PeerId, RequestId, StudyInstanceUID
from node.model.lifecycle import HiddenReason
from node.model.messenger import retry_in
from node.model.withdrawal import (
    MAX_RELEASES,
    Held,
    Notice,
    NoticeId,
    NoticeOutcome,
    NoticeState,
    WithdrawalId,
    WithdrawalKind,
)
from node.store.engine import Read, Row, Write


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Something that this node withdrew."""

    withdrawal_id: WithdrawalId
    study: StudyInstanceUID
    kind: WithdrawalKind
    reason: HiddenReason | None
    words: str = field(repr=False)
    instances: int
    made_at: int
    made_by: str


@dataclass(frozen=True, slots=True)
class QueuedNotice:
    """A notice and how far it has come."""

    notice_id: NoticeId
    withdrawal_id: WithdrawalId
    study: StudyInstanceUID
    peer: PeerId
    token: str = field(repr=False)
    state: NoticeState
    code: str
    outcome: NoticeOutcome | None
    settled_at: int | None
    attempts: int  # of this destination, in a row, that failed
    attempt_at: int | None  # when the destination is tried next


@dataclass(frozen=True, slots=True)
class ReceivedNotice:
    """A notice that an origin sent here, and what was done."""

    notice_id: NoticeId
    peer: PeerId
    study: StudyInstanceUID
    kind: WithdrawalKind
    reason: HiddenReason | None
    words: str = field(repr=False)
    instances: int
    outcome: NoticeOutcome
    token: str = field(repr=False)
    ack: str = field(repr=False)
    received_at: int


async def recipients(rx: Read, study: StudyInstanceUID) -> dict[PeerId, tuple[RequestId, ...]]:
    """To whom ``study`` was released, and under which requests, the last ones first."""
    rows = await rx.fetch_all(
        "SELECT t.peer, t.request_id FROM transfer t JOIN transfer_study s ON s.request_id = t.request_id"
        " WHERE s.study_uid = ? AND t.direction = 'out' ORDER BY t.created_at DESC, t.rowid DESC",
        (str(study),),
    )
    found: dict[PeerId, tuple[RequestId, ...]] = {}
    for peer, request in rows:
        known = found.get(PeerId(bytes(peer)), ())
        found[PeerId(bytes(peer))] = (*known, RequestId(bytes(request)))[:MAX_RELEASES]
    return found


async def is_told(rx: Read, study: StudyInstanceUID, peer: PeerId, kind: WithdrawalKind, *, since: int) -> bool:
    """Whether a notice of this kind about ``study`` was written for ``peer`` since then."""
    value = await rx.fetch_value(
        "SELECT EXISTS (SELECT 1 FROM withdrawal w JOIN withdrawal_notice n ON n.withdrawal = w.withdrawal"
        " WHERE w.study_uid = ? AND n.peer = ? AND w.kind = ? AND w.made_at >= ?)",
        (str(study), peer.digest, kind.value, since),
    )
    return bool(value)


async def add(tx: Write, w: Withdrawal) -> None:
    """Write a withdrawal down."""
    await tx.execute(
        "INSERT INTO withdrawal (withdrawal, study_uid, kind, reason, words, instances, made_at, made_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            w.withdrawal_id.value,
            str(w.study),
            w.kind.value,
            w.reason.value if w.reason else "",
            w.words,
            w.instances,
            w.made_at,
            w.made_by,
        ),
    )


async def add_notice(tx: Write, withdrawal_id: WithdrawalId, notice: Notice, token: str) -> None:
    """Queue a signed notice for its recipient, behind those that wait already."""
    await tx.execute(
        "INSERT INTO withdrawal_notice (notice, withdrawal, peer, token, state) VALUES (?, ?, ?, ?, 'QUEUED')",
        (notice.notice_id.value, withdrawal_id.value, notice.recipient.digest, token),
    )


async def waiting(rx: Read) -> dict[PeerId, int]:
    """The destinations with something in their queue, and when each may be tried."""
    rows = await rx.fetch_all(
        "SELECT q.peer, coalesce(d.attempt_at, 0) FROM (SELECT DISTINCT peer FROM withdrawal_notice"
        " WHERE state = 'QUEUED') q LEFT JOIN withdrawal_destination d ON d.peer = q.peer"
    )
    return {PeerId(bytes(row[0])): row[1] for row in rows}


async def first_queued(rx: Read, peer: PeerId) -> QueuedNotice | None:
    """What ``peer`` must be told next."""
    row = await rx.fetch_one(
        f"{_NOTICES} WHERE n.peer = ? AND n.state = 'QUEUED' ORDER BY n.position LIMIT 1", (peer.digest,)
    )
    return None if row is None else _notice(row)


async def settle(
    tx: Write, notice: QueuedNotice, state: NoticeState, *, at: int, code: str = "", ack: str | None = None,
    outcome: NoticeOutcome | None = None,
) -> None:  # fmt: skip
    """The recipient has answered; its queue goes on at once."""
    await tx.execute(
        "UPDATE withdrawal_notice SET state = ?, code = ?, ack = ?, outcome = ?, settled_at = ? WHERE notice = ?",
        (state.value, code, ack, outcome.value if outcome else "", at, notice.notice_id.value),
    )
    await tx.execute("DELETE FROM withdrawal_destination WHERE peer = ?", (notice.peer.digest,))


async def postpone(tx: Write, notice: QueuedNotice, *, code: str, now: int) -> None:
    """The destination could not be told: later again, ever later."""
    await tx.execute(
        "INSERT INTO withdrawal_destination (peer, attempts, attempt_at) VALUES (?, ?, ?)"
        " ON CONFLICT (peer) DO UPDATE SET attempts = excluded.attempts, attempt_at = excluded.attempt_at",
        (notice.peer.digest, notice.attempts + 1, now + retry_in(notice.attempts)),
    )
    await tx.execute("UPDATE withdrawal_notice SET code = ? WHERE notice = ?", (code, notice.notice_id.value))


async def page(rx: Read, *, limit: int = 1000, study: StudyInstanceUID | None = None) -> list[Withdrawal]:
    """What this node withdrew, last first."""
    rows = await rx.fetch_all(
        "SELECT withdrawal, study_uid, kind, reason, words, instances, made_at, made_by FROM withdrawal"
        " WHERE ?1 IS NULL OR study_uid = ?1 ORDER BY made_at DESC, rowid DESC LIMIT ?2",
        (study and str(study), limit),
    )
    return [
        Withdrawal(
            WithdrawalId(bytes(r[0])),
            StudyInstanceUID(r[1]),
            WithdrawalKind(r[2]),
            HiddenReason(r[3]) if r[3] else None,
            r[4],
            r[5],
            r[6],
            r[7],
        )
        for r in rows
    ]


async def notices_of(rx: Read, withdrawal_id: WithdrawalId) -> list[QueuedNotice]:
    """Whom a withdrawal was told, in the order of the queues."""
    rows = await rx.fetch_all(f"{_NOTICES} WHERE n.withdrawal = ? ORDER BY n.position", (withdrawal_id.value,))
    return [_notice(row) for row in rows]


async def unsettled(rx: Read) -> tuple[int, int]:
    """How many notices wait to be delivered, and how many recipients refused one."""
    row = await rx.fetch_one(
        "SELECT coalesce(sum(state = 'QUEUED'), 0), coalesce(sum(state = 'REFUSED'), 0) FROM withdrawal_notice"
    )
    assert row is not None
    return row[0], row[1]


async def add_received(tx: Write, n: ReceivedNotice) -> None:
    """Write down what an origin withdrew; ConstraintViolated if the id is taken."""
    await tx.execute(
        f"INSERT INTO withdrawal_received ({_RECEIVED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - fixed texts
        (
            n.notice_id.value,
            n.peer.digest,
            str(n.study),
            n.kind.value,
            n.reason.value if n.reason else "",
            n.words,
            n.instances,
            n.outcome.value,
            n.token,
            n.ack,
            n.received_at,
        ),
    )


async def received(rx: Read, notice_id: NoticeId) -> ReceivedNotice | None:
    """A notice that came before."""
    row = await rx.fetch_one(f"SELECT {_RECEIVED} FROM withdrawal_received WHERE notice = ?", (notice_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _received(row)


async def received_page(rx: Read, *, limit: int = 1000) -> list[ReceivedNotice]:
    """What others withdrew, last first."""
    sql = f"SELECT {_RECEIVED} FROM withdrawal_received ORDER BY received_at DESC, rowid DESC LIMIT ?"  # noqa: S608 - fixed texts
    return [_received(row) for row in await rx.fetch_all(sql, (limit,))]


async def what_is_known(rx: Read, notice: Notice) -> Held:
    """What this node, as the recipient, knows about the study of ``notice``."""
    released = False
    for release in notice.releases:
        released = released or bool(
            await rx.fetch_value(
                "SELECT EXISTS (SELECT 1 FROM transfer t WHERE t.request_id = ?1 AND t.direction = 'in' AND t.peer = ?2"
                " AND (EXISTS (SELECT 1 FROM transfer_study s WHERE s.request_id = ?1 AND s.study_uid = ?3)"
                "  OR NOT EXISTS (SELECT 1 FROM transfer_study s WHERE s.request_id = ?1)))",
                (release.value, notice.holder.digest, str(notice.study)),
            )
        )
    row = await rx.fetch_one(
        "SELECT origin FROM study WHERE uid = ?1 UNION ALL SELECT origin FROM withdrawn_study WHERE uid = ?1 LIMIT 1",
        (str(notice.study),),
    )
    origin = None if row is None or row[0] is None else PeerId(bytes(row[0]))
    return Held(released, row is not None, origin)


_RECEIVED = "notice, peer, study_uid, kind, reason, words, instances, outcome, token, ack, received_at"

_NOTICES = (
    "SELECT n.notice, n.withdrawal, w.study_uid, n.peer, n.token, n.state, n.code, n.outcome, n.settled_at,"
    " coalesce(d.attempts, 0), d.attempt_at FROM withdrawal_notice n JOIN withdrawal w ON w.withdrawal = n.withdrawal"
    " LEFT JOIN withdrawal_destination d ON d.peer = n.peer"
)


def _notice(row: Row) -> QueuedNotice:
    return QueuedNotice(
        NoticeId(bytes(row[0])),
        WithdrawalId(bytes(row[1])),
        StudyInstanceUID(row[2]),
        PeerId(bytes(row[3])),
        row[4],
        NoticeState(row[5]),
        row[6],
        NoticeOutcome(row[7]) if row[7] else None,
        row[8],
        row[9],
        row[10],
    )


def _received(row: Row) -> ReceivedNotice:
    return ReceivedNotice(
        NoticeId(bytes(row[0])),
        PeerId(bytes(row[1])),
        StudyInstanceUID(row[2]),
        WithdrawalKind(row[3]),
        HiddenReason(row[4]) if row[4] else None,
        row[5],
        row[6],
        NoticeOutcome(row[7]),
        row[8],
        row[9],
        row[10],
    )
