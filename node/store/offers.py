"""Offers of this node and to it."""

from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec

from node.model.consent import ConsentId
from node.model.ids import PeerId, RequestId, StudyInstanceUID
from node.model.messenger import retry_in
from node.model.offer import OfferEvent, OfferId, OfferState, next_offer_state
from node.model.transfer import Direction
from node.store.engine import Read, Row, Write

_COLUMNS = (
    "offer_id, direction, peer, state, token, consent_id, request_id, reason, made_by, created_at, expires_at, untold,"
    " attempts, code, studies"
)
_OPEN = "direction = 'out' AND state IN ('QUEUED', 'OFFERED')"


@dataclass(frozen=True, slots=True)
class Offer:
    """One offer as it stands; ``token`` is the holder's JWS."""

    offer_id: OfferId
    direction: Direction
    peer: PeerId
    state: OfferState
    token: str = field(repr=False)
    studies: tuple[StudyInstanceUID, ...]
    consent_id: ConsentId | None = None
    request_id: RequestId | None = None
    reason: str = field(default="", repr=False)
    made_by: str = ""
    created_at: int = 0
    expires_at: int = 0
    untold: bool = False
    attempts: int = 0
    code: str = ""


async def add(tx: Write, one: Offer) -> bool:
    """Keep an offer; False if its id is known."""
    changed = await tx.execute(
        f"INSERT INTO offer ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",  # noqa: S608 - fixed texts
        (
            one.offer_id.value,
            one.direction.value,
            one.peer.digest,
            one.state.value,
            one.token,
            one.consent_id.value if one.consent_id else None,
            one.request_id.value if one.request_id else None,
            one.reason,
            one.made_by,
            one.created_at,
            one.expires_at,
            int(one.untold),
            one.attempts,
            one.code,
            msgspec.json.encode([str(study) for study in one.studies]).decode(),
        ),
    )
    return changed == 1


async def get(rx: Read, offer_id: OfferId) -> Offer | None:
    """One offer."""
    row = await rx.fetch_one(f"SELECT {_COLUMNS} FROM offer WHERE offer_id = ?", (offer_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _offer(row)


async def page(rx: Read, limit: int = 1000) -> list[Offer]:
    """Offers in both directions, newest first."""
    sql = f"SELECT {_COLUMNS} FROM offer ORDER BY created_at DESC, rowid DESC LIMIT ?"  # noqa: S608 - fixed texts
    return [_offer(row) for row in await rx.fetch_all(sql, (limit,))]


async def pending_of(rx: Read, peer: PeerId) -> int:
    """How many offers of this peer wait here."""
    sql = "SELECT COUNT(*) FROM offer WHERE direction = 'in' AND state = 'OFFERED' AND peer = ?"
    return int(await rx.fetch_value(sql, (peer.digest,)) or 0)


async def waiting(rx: Read) -> dict[PeerId, int]:
    """The other sides that must still be told something, and when each may be tried."""
    rows = await rx.fetch_all("SELECT peer, min(attempt_at) FROM offer WHERE untold = 1 GROUP BY peer")
    return {PeerId(bytes(row[0])): row[1] for row in rows}


async def first_untold(rx: Read, peer: PeerId) -> Offer | None:
    """What ``peer`` must be told first."""
    sql = f"SELECT {_COLUMNS} FROM offer WHERE untold = 1 AND peer = ? ORDER BY attempt_at, created_at LIMIT 1"  # noqa: S608 - fixed texts
    row = await rx.fetch_one(sql, (peer.digest,))
    return None if row is None else _offer(row)


async def move(
    tx: Write,
    one: Offer,
    event: OfferEvent,
    *,
    by: str | None = None,
    reason: str = "",
    request_id: RequestId | None = None,
    untold: bool = False,
) -> OfferState:
    """Move it by the table; raises OfferNotPending."""
    state = next_offer_state(one.state, event)
    asked = request_id or one.request_id
    await tx.execute(
        "UPDATE offer SET state = ?, made_by = COALESCE(?, made_by), reason = ?, request_id = ?, untold = ?,"
        " attempts = 0, attempt_at = 0, code = '' WHERE offer_id = ?",
        (
            state.value,
            by,
            reason or one.reason,
            asked.value if asked else None,
            int(untold),
            one.offer_id.value,
        ),
    )
    return state


async def told(tx: Write, one: Offer) -> None:
    """The other side knows."""
    await tx.execute("UPDATE offer SET untold = 0, code = '' WHERE offer_id = ?", (one.offer_id.value,))


async def postpone(tx: Write, one: Offer, code: str, now: int) -> None:
    """The other side could not be told."""
    await tx.execute(
        "UPDATE offer SET attempts = attempts + 1, attempt_at = ?, code = ? WHERE offer_id = ?",
        (now + retry_in(one.attempts), code, one.offer_id.value),
    )


async def has_expired(rx: Read, now: int) -> bool:
    """Whether one was accepted by nobody in time."""
    sql = "SELECT EXISTS (SELECT 1 FROM offer WHERE state IN ('QUEUED', 'OFFERED') AND expires_at <= ?)"
    return bool(await rx.fetch_value(sql, (now,)))


async def expire(tx: Write, now: int) -> int:
    """End those that nobody accepted in time; how many."""
    return await tx.execute(
        "UPDATE offer SET state = 'EXPIRED', untold = 0 WHERE state IN ('QUEUED', 'OFFERED') AND expires_at <= ?",
        (now,),
    )


async def open_under(rx: Read, consent_id: ConsentId) -> list[Offer]:
    """The own offers under this directive that nobody has decided."""
    sql = f"SELECT {_COLUMNS} FROM offer WHERE {_OPEN} AND consent_id = ?"  # noqa: S608 - fixed texts
    return [_offer(row) for row in await rx.fetch_all(sql, (consent_id.value,))]


async def open_of(rx: Read, study: StudyInstanceUID) -> list[Offer]:
    """The own offers of this study, perhaps with others, that nobody has decided."""
    rows = await rx.fetch_all(
        f"SELECT {_COLUMNS} FROM offer WHERE {_OPEN} AND EXISTS (SELECT 1 FROM json_each(studies) WHERE value = ?)",  # noqa: S608 - fixed texts
        (str(study),),
    )
    return [_offer(row) for row in rows]


async def open_to(rx: Read, peer: PeerId | None) -> list[Offer]:
    """The own offers to this peer, or to all, that nobody has decided."""
    sql = f"SELECT {_COLUMNS} FROM offer WHERE {_OPEN} AND (?1 IS NULL OR peer = ?1)"  # noqa: S608 - fixed texts
    return [_offer(row) for row in await rx.fetch_all(sql, (peer and peer.digest,))]


async def accept_released(tx: Write, peer: PeerId, scope: Collection[StudyInstanceUID]) -> None:
    """A release to ``peer``: the open offers whose studies it has are accepted with that."""
    rows = await tx.fetch_all(
        f"SELECT {_COLUMNS} FROM offer WHERE {_OPEN} AND peer = ?",  # noqa: S608 - fixed texts
        (peer.digest,),
    )
    for offer in map(_offer, rows):
        if set(offer.studies) <= set(scope):
            await move(tx, offer, OfferEvent.ACCEPT)


def _offer(row: Row) -> Offer:
    return Offer(
        offer_id=OfferId(bytes(row[0])),
        direction=Direction(row[1]),
        peer=PeerId(bytes(row[2])),
        state=OfferState(row[3]),
        token=row[4],
        studies=tuple(StudyInstanceUID(uid) for uid in msgspec.json.decode(row[14], type=list[str])),
        consent_id=None if row[5] is None else ConsentId(bytes(row[5])),
        request_id=None if row[6] is None else RequestId(bytes(row[6])),
        reason=row[7],
        made_by=row[8],
        created_at=row[9],
        expires_at=row[10],
        untold=bool(row[11]),
        attempts=row[12],
        code=row[13],
    )
