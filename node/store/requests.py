"""Requests that peers made here, and those that this node made."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from node.model.consent import ConsentId, ConsentKind
from node.model.ids import PeerId, RequestId, StudyInstanceUID
from node.model.request import RequestEvent, RequestState, next_request_state
from node.store.engine import Read, Row, Write


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request of a peer and how it was decided."""

    request_id: RequestId
    peer: PeerId
    digest: bytes
    body: bytes = field(repr=False)
    consent_id: ConsentId | None
    consent_kind: ConsentKind | None
    state: RequestState
    code: str
    cause: str  # why it was refused, for this facility alone
    reasons: tuple[str, ...]
    received_at: int
    decided_at: int
    decided_by: str
    scope: tuple[StudyInstanceUID, ...] = ()  # what a yes would release, as it was put up for review


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request of this node and what the holder answered."""

    request_id: RequestId
    peer: PeerId
    body: bytes = field(repr=False)
    proof: bytes | None = field(repr=False)  # as ``peers.proofs`` encodes it
    state: RequestState
    code: str
    user: str
    timeout: int
    created_at: int
    fallbacks: tuple[PeerId, ...] = ()  # who is asked instead if ``peer`` cannot be reached
    continued_as: RequestId | None = None  # the request that was made instead


_RECEIVED = (
    "request_id, peer, digest, body, consent_id, consent_kind, state, code, cause, reasons, received_at, decided_at,"
    " decided_by, scope"  # in order
)
_SENT = "request_id, peer, body, proof, state, code, user, timeout, created_at, fallbacks, continued_as"


async def add_received(tx: Write, r: ReceivedRequest) -> None:
    """Record a request with its decision; ConstraintViolated if the id is taken."""
    await tx.execute(
        f"INSERT INTO request_received ({_RECEIVED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - fixed texts
        (
            r.request_id.value,
            r.peer.digest,
            r.digest,
            r.body,
            None if r.consent_id is None else r.consent_id.value,
            "" if r.consent_kind is None else r.consent_kind.value,
            r.state.value,
            r.code,
            r.cause,
            " ".join(r.reasons),
            r.received_at,
            r.decided_at,
            r.decided_by,
            _json(r.scope),
        ),
    )


async def get_received(rx: Read, request_id: RequestId) -> ReceivedRequest | None:
    """A peer's request."""
    sql = f"SELECT {_RECEIVED} FROM request_received WHERE request_id = ?"  # noqa: S608 - fixed texts
    row = await rx.fetch_one(sql, (request_id.value,))
    return None if row is None else _received(row)


async def in_review(rx: Read, limit: int = 1000) -> list[ReceivedRequest]:
    """Requests that wait for a person, oldest first."""
    sql = f"SELECT {_RECEIVED} FROM request_received WHERE state = 'REVIEW' ORDER BY received_at LIMIT ?"  # noqa: S608 - fixed texts
    return [_received(row) for row in await rx.fetch_all(sql, (limit,))]


async def count_in_review(rx: Read) -> int:
    """How many requests wait for a person."""
    return int(await rx.fetch_value("SELECT COUNT(*) FROM request_received WHERE state = 'REVIEW'") or 0)


async def in_review_of(rx: Read, peer: PeerId) -> list[ReceivedRequest]:
    """All of one peer's requests that wait for a person."""
    sql = f"SELECT {_RECEIVED} FROM request_received WHERE state = 'REVIEW' AND peer = ?"  # noqa: S608 - fixed texts
    return [_received(row) for row in await rx.fetch_all(sql, (peer.digest,))]


async def move_received(
    tx: Write,
    row: ReceivedRequest,
    event: RequestEvent,
    *,
    at: int,
    by: str,
    code: str = "",
    cause: str = "",
) -> None:
    """Move a peer's request by the table; ``cause`` is for this facility alone. Raises IllegalTransition."""
    state = next_request_state(row.state, event)
    await tx.execute(
        "UPDATE request_received SET state = ?, code = ?, cause = ?, decided_at = ?, decided_by = ?"
        " WHERE request_id = ?",
        (state.value, code, cause, at, by, row.request_id.value),
    )


async def put_up_again(
    tx: Write, request_id: RequestId, *, reasons: Sequence[str], scope: Sequence[StudyInstanceUID]
) -> None:
    """A request that waits for a person is put up for review afresh: with these reasons and this scope."""
    await tx.execute(
        "UPDATE request_received SET reasons = ?, scope = ? WHERE request_id = ? AND state = 'REVIEW'",
        (" ".join(reasons), _json(scope), request_id.value),
    )


async def rest_on(tx: Write, request_id: RequestId, consent_id: ConsentId, kind: ConsentKind) -> None:
    """From now on a peer's request rests on this consent."""
    await tx.execute(
        "UPDATE request_received SET consent_id = ?, consent_kind = ? WHERE request_id = ?",
        (consent_id.value, kind.value, request_id.value),
    )


async def released_under(rx: Read, consent_id: ConsentId) -> list[RequestId]:
    """The requests that were permitted under a consent."""
    rows = await rx.fetch_all(
        "SELECT request_id FROM request_received WHERE consent_id = ? AND state = 'PERMITTED'", (consent_id.value,)
    )
    return [RequestId(bytes(row[0])) for row in rows]


async def in_review_under(rx: Read, consent_id: ConsentId) -> list[ReceivedRequest]:
    """The requests that wait for a person and rest on this consent."""
    sql = f"SELECT {_RECEIVED} FROM request_received WHERE state = 'REVIEW' AND consent_id = ?"  # noqa: S608 - fixed texts
    return [_received(row) for row in await rx.fetch_all(sql, (consent_id.value,))]


async def emergencies_in_review(rx: Read) -> int:
    """How many requests by break-glass wait for a person."""
    value = await rx.fetch_value(
        "SELECT COUNT(*) FROM request_received WHERE state = 'REVIEW' AND consent_kind = 'emergency'"
    )
    return int(value or 0)


async def released_since(rx: Read, peer: PeerId, since: int) -> int:
    """How many requests of a peer were permitted since then."""
    value = await rx.fetch_value(
        "SELECT COUNT(*) FROM request_received WHERE peer = ? AND state = 'PERMITTED' AND decided_at >= ?",
        (peer.digest, since),
    )
    return int(value or 0)


async def forget_refused(tx: Write, code: str, before: int) -> int:
    """Delete the requests that were refused with ``code`` and came before then; how many there were."""
    return await tx.execute(
        "DELETE FROM request_received WHERE state = 'REFUSED' AND code = ? AND received_at < ?", (code, before)
    )


async def add_sent(tx: Write, r: SentRequest) -> None:
    """Record a request before it is sent."""
    await tx.execute(
        f"INSERT INTO request_sent ({_SENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",  # noqa: S608 - fixed texts
        (
            r.request_id.value,
            r.peer.digest,
            r.body,
            r.proof,
            r.state.value,
            r.code,
            r.user,
            r.timeout,
            r.created_at,
            " ".join(peer.compact for peer in r.fallbacks),
        ),
    )


async def continue_as(tx: Write, request_id: RequestId, other: RequestId) -> None:
    """The holder was not reached: another one is asked instead, by that request."""
    await tx.execute("UPDATE request_sent SET continued_as = ? WHERE request_id = ?", (other.value, request_id.value))


async def get_sent(rx: Read, request_id: RequestId) -> SentRequest | None:
    """A request of this node."""
    row = await rx.fetch_one(f"SELECT {_SENT} FROM request_sent WHERE request_id = ?", (request_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _sent(row)


async def sent_page(rx: Read, *, limit: int, offset: int = 0) -> list[SentRequest]:
    """Requests of this node, newest first."""
    sql = f"SELECT {_SENT} FROM request_sent ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?"  # noqa: S608 - fixed texts
    return [_sent(row) for row in await rx.fetch_all(sql, (limit, offset))]


async def sent_underway(rx: Read, limit: int = 200) -> list[SentRequest]:
    """Requests of this node that may still bring something, newest first."""
    columns = ", ".join(f"r.{name}" for name in _SENT.split(", "))
    sql = (
        f"SELECT {columns} FROM request_sent r JOIN transfer t ON t.request_id = r.request_id"  # noqa: S608 - fixed texts
        " WHERE t.direction = 'in' AND t.state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"
        " AND r.state IN ('ASKED', 'REVIEW', 'PERMITTED') ORDER BY r.created_at DESC LIMIT ?"
    )
    return [_sent(row) for row in await rx.fetch_all(sql, (limit,))]


async def sent_by(rx: Read, user: str, limit: int) -> list[SentRequest]:
    """The newest requests of one user."""
    sql = f"SELECT {_SENT} FROM request_sent WHERE user = ? ORDER BY created_at DESC, rowid DESC LIMIT ?"  # noqa: S608 - fixed texts
    return [_sent(row) for row in await rx.fetch_all(sql, (user, limit))]


async def move_sent(tx: Write, row: SentRequest, event: RequestEvent, *, code: str = "") -> RequestState:
    """Move this node's request by the table; raises IllegalTransition. Once answered, the proof is forgotten."""
    state = next_request_state(row.state, event)
    await tx.execute(
        "UPDATE request_sent SET state = ?, code = ? WHERE request_id = ?", (state.value, code, row.request_id.value)
    )
    if state is not RequestState.REVIEW:
        await tx.execute("UPDATE request_sent SET proof = NULL WHERE request_id = ?", (row.request_id.value,))
    return state


async def is_taken(rx: Read, request_id: RequestId) -> bool:
    """Whether any request or transfer of this node, in either direction, has this id."""
    value = await rx.fetch_value(
        "SELECT EXISTS (SELECT 1 FROM request_received WHERE request_id = ?1)"
        " OR EXISTS (SELECT 1 FROM request_sent WHERE request_id = ?1)",
        (request_id.value,),
    )
    return bool(value)


def _received(row: Row) -> ReceivedRequest:
    return ReceivedRequest(
        request_id=RequestId(bytes(row[0])),
        peer=PeerId(bytes(row[1])),
        digest=bytes(row[2]),
        body=bytes(row[3]),
        consent_id=None if row[4] is None else ConsentId(bytes(row[4])),
        consent_kind=ConsentKind(row[5]) if row[5] else None,
        state=RequestState(row[6]),
        code=row[7],
        cause=row[8],
        reasons=tuple(row[9].split()),
        received_at=row[10],
        decided_at=row[11],
        decided_by=row[12],
        scope=tuple(StudyInstanceUID(uid) for uid in msgspec.json.decode(row[13], type=list[str])),
    )


def _json(scope: Sequence[StudyInstanceUID]) -> str:
    return msgspec.json.encode([str(study) for study in scope]).decode()


def _sent(row: Row) -> SentRequest:
    return SentRequest(
        request_id=RequestId(bytes(row[0])),
        peer=PeerId(bytes(row[1])),
        body=bytes(row[2]),
        proof=None if row[3] is None else bytes(row[3]),
        state=RequestState(row[4]),
        code=row[5],
        user=row[6],
        timeout=row[7],
        created_at=row[8],
        fallbacks=tuple(PeerId.parse(text) for text in row[9].split()),
        continued_as=None if row[10] is None else RequestId(bytes(row[10])),
    )
