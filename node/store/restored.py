"""What a restore leaves in the index: that it happened, what it ended, and what others knew and this node forgot.

A restored index is older than what peers have seen of it. So whatever must never happen twice begins anew (feeds, the
log, the card), whatever was promised ends (share codes, releases under way, sessions, invitations), and until a person
has looked nothing is released unseen and nothing is announced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from node.errors.vault import RestoredFromBackup
from node.model.decide import ReviewReason
from node.model.ids import PeerId
from node.model.transfer import Direction, TransferEvent
from node.store import audit, feeds, transfers
from node.store.engine import Read, Write


class Heard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one peer had seen of this node; zeros: nothing. ``code`` is why it could not be asked."""

    code: str = ""
    log_incarnation: int = 0
    log_size: int = 0
    feed_incarnation: int = 0
    feed_sequence: int = 0


@dataclass(frozen=True, slots=True)
class Restoration:
    """One restore."""

    number: int
    restored_at: int
    backup_at: int  # 0: not known
    log_end: int  # the position at which the restored log ended
    codes: int  # share codes that became void
    transfers: int  # outgoing transfers that ended
    asked_at: int | None  # None: peers were not asked yet
    heard: Mapping[str, Heard]  # by PeerId in its compact form
    reviewed_at: int | None
    reviewed_by: str


@dataclass(frozen=True, slots=True)
class ToReview:
    """How much there is to look through."""

    peers: int  # that are trusted
    permissions: int  # directives in force that permit
    keys: int  # of patients
    opt_outs: int
    sensitive: int
    users: int  # that may sign in


_COLUMNS = "id, restored_at, backup_at, log_end, codes, transfers, asked_at, heard, reviewed_at, reviewed_by"

# What ends with a restore, besides releases and feeds. A table that is not there in this version has nothing to end.
_CLEARED = (
    "DELETE FROM session",
    # Links that were taken back after the backup would be open again: all of them end.
    "UPDATE health_link SET revoked_at = coalesce(revoked_at, ?1), key = NULL",
    "DELETE FROM health_link_token",
    # A letter of the portal that was used after the backup would be good once more.
    "UPDATE portal_invitation SET withdrawn_at = ?1 WHERE used_at IS NULL AND withdrawn_at IS NULL",
    "DELETE FROM portal_mail",
    # An offer that was taken back after the backup would be told once more, with the patient's name in it.
    "UPDATE offer SET state = 'EXPIRED', untold = 0 WHERE direction = 'out' AND state IN ('QUEUED', 'OFFERED')",
    "UPDATE invitation SET withdrawn_at = ?1 WHERE redeemed_by IS NULL AND withdrawn_at IS NULL",
    # Peers may have seen later cards than the one that stands here: the next has a number above any of them.
    "UPDATE own_card SET sequence = max(sequence, ?1), facts = x''",
)


async def mark(tx: Write, *, now: int, backup_at: int = 0, log_ends: bool = True) -> Restoration:
    """The index was just put back to an older state: end what was promised; everything waits for a person.

    ``log_ends``: nothing may be logged until the peers were asked (``heard``).
    """
    codes = await tx.execute(
        "UPDATE share_code SET revoked_at = ?1 WHERE revoked_at IS NULL AND expires_at > ?1 AND used < uses", (now,)
    )
    outgoing = await transfers.unfinished(tx, Direction.OUT)
    for transfer in outgoing:
        await transfers.move(tx, transfer.request_id, TransferEvent.FAIL, at=now, code=RestoredFromBackup.code)
    await tx.execute(
        "UPDATE request_received SET reasons = trim(reasons || ' ' || ?1)"
        " WHERE state = 'REVIEW' AND instr(' ' || reasons || ' ', ' ' || ?1 || ' ') = 0",
        (ReviewReason.RESTORED.value,),
    )
    for statement in _CLEARED:
        await tx.execute(statement, (now,) if "?1" in statement else ())
    for (peer,) in await tx.fetch_all("SELECT peer FROM announce_feed WHERE seed IS NOT NULL"):
        await feeds.destroy_feed(tx, PeerId(bytes(peer)))
    edge = await audit.read_edge(tx)
    number = await tx.insert(
        "INSERT INTO restoration (restored_at, backup_at, log_end, codes, transfers, asked_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (now, backup_at, edge.end, codes, len(outgoing), None if log_ends else now),
    )
    found = await _get(tx, number)
    assert found is not None, "it was just written"
    return found


async def unasked(rx: Read) -> Restoration | None:
    """The restore after which peers have not been asked yet."""
    return await _newest(rx, "asked_at IS NULL")


async def under_review(rx: Read) -> Restoration | None:
    """The restore after which nobody has looked through things yet."""
    return await _newest(rx, "reviewed_at IS NULL")


async def is_under_review(rx: Read) -> bool:
    """Whether everything waits for a person because this node was restored."""
    return bool(await rx.fetch_value("SELECT EXISTS (SELECT 1 FROM restoration WHERE reviewed_at IS NULL)"))


async def page(rx: Read) -> list[Restoration]:
    """All restores, newest first."""
    rows = await rx.fetch_all(f"SELECT {_COLUMNS} FROM restoration ORDER BY id DESC")  # noqa: S608 - fixed texts
    return [_restoration(row) for row in rows]


async def heard(tx: Write, answers: Mapping[PeerId, Heard], now: int) -> None:
    """The peers were asked, and this is what they had seen; the log may go on."""
    told = msgspec.json.encode({peer.compact: one for peer, one in answers.items()}).decode()
    await tx.execute("UPDATE restoration SET asked_at = ?, heard = ? WHERE asked_at IS NULL", (now, told))


async def reviewed(tx: Write, *, by: str, now: int) -> int:
    """A person has looked through things; how many restores that was about."""
    return await tx.execute(
        "UPDATE restoration SET reviewed_at = ?, reviewed_by = ? WHERE reviewed_at IS NULL", (now, by)
    )


async def to_review(rx: Read, now: int) -> ToReview:
    """How much there is to look through."""
    row = await rx.fetch_one(
        "SELECT (SELECT count(*) FROM peer WHERE state = 'TRUSTED'),"
        " (SELECT count(*) FROM directive WHERE effect = 'PERMIT' AND revoked_at IS NULL"
        " AND coalesce(until, ?1 + 1) > ?1),"
        " (SELECT count(*) FROM patient_key WHERE revoked_at IS NULL),"
        " (SELECT count(*) FROM opt_out), (SELECT count(*) FROM sensitive_study),"
        " (SELECT count(*) FROM user WHERE disabled_at IS NULL)",
        (now,),
    )
    assert row is not None, "counts always answer"
    return ToReview(*row)


async def _get(rx: Read, number: int) -> Restoration | None:
    return await _newest(rx, f"id = {number:d}")


async def _newest(rx: Read, condition: str) -> Restoration | None:
    row = await rx.fetch_one(f"SELECT {_COLUMNS} FROM restoration WHERE {condition} ORDER BY id DESC LIMIT 1")  # noqa: S608 - fixed texts
    return None if row is None else _restoration(row)


def _restoration(row: Sequence[object]) -> Restoration:
    number, restored_at, backup_at, log_end, codes, ended, asked_at, told, reviewed_at, reviewed_by = row
    answers = msgspec.json.decode(str(told), type=dict[str, Heard]) if told else {}
    return Restoration(
        _int(number), _int(restored_at), _int(backup_at), _int(log_end), _int(codes), _int(ended),
        None if asked_at is None else _int(asked_at), answers,
        None if reviewed_at is None else _int(reviewed_at), str(reviewed_by),
    )  # fmt: skip


def _int(value: object) -> int:
    assert isinstance(value, int), "the column is INTEGER"
    return value
