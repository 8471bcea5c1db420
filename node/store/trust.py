"""The trust list's rows: peers, invitations, and this node's own card."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields
from typing import Any

from node.model.ids import PeerId
from node.model.trust import Invitation, PeerPolicy, TrustState
from node.store.engine import Read, Row, Write

_POLICY = tuple(f.name for f in fields(PeerPolicy))
_FLAGS = frozenset(f.name for f in fields(PeerPolicy) if f.type is bool)
_PEER_COLUMNS = "peer, state, since, certificate, safety_phrase, card, last_seen, " + ", ".join(_POLICY)
_INVITATION_COLUMNS = (
    "invitation, secret, created_at, expires_at, auto_confirm, bound_to, redeemed_by, withdrawn_at IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class PeerRow:
    """A peer as it is kept: its card is still the signed token."""

    peer_id: PeerId
    state: TrustState
    since: int
    certificate: bytes
    safety_phrase: str
    card: str
    last_seen: int | None = None
    policy: PeerPolicy = field(default_factory=PeerPolicy)


@dataclass(frozen=True, slots=True)
class OwnCardRow:
    """What this node last said about itself."""

    sequence: int
    expires_at: int
    facts: bytes
    card: str


async def peers(rx: Read) -> list[PeerRow]:
    """Every peer ever paired with."""
    return [_peer(row) for row in await rx.fetch_all(f"SELECT {_PEER_COLUMNS} FROM peer ORDER BY peer")]  # noqa: S608 - constants


async def peer(rx: Read, peer_id: PeerId) -> PeerRow | None:
    """One peer; None if it never paired."""
    row = await rx.fetch_one(f"SELECT {_PEER_COLUMNS} FROM peer WHERE peer = ?", (peer_id.digest,))  # noqa: S608 - constants
    return None if row is None else _peer(row)


async def put_peer(tx: Write, row: PeerRow, card_sequence: int) -> None:
    """Add a peer, or change its state and card; policy and ``last_seen`` of a known one stay."""
    policy = astuple(row.policy)
    await tx.execute(
        f"INSERT INTO peer (peer, state, since, certificate, safety_phrase, card, card_sequence, {', '.join(_POLICY)})"  # noqa: S608 - constants
        f" VALUES (?, ?, ?, ?, ?, ?, ?{', ?' * len(policy)})"
        " ON CONFLICT (peer) DO UPDATE SET state = excluded.state, since = excluded.since, card = excluded.card,"
        " certificate = excluded.certificate, safety_phrase = excluded.safety_phrase,"
        " card_sequence = excluded.card_sequence",
        (
            row.peer_id.digest,
            row.state.value,
            row.since,
            row.certificate,
            row.safety_phrase,
            row.card,
            card_sequence,
            *policy,
        ),
    )


async def set_state(tx: Write, peer_id: PeerId, state: TrustState, since: int) -> None:
    """Enter another state."""
    await tx.execute("UPDATE peer SET state = ?, since = ? WHERE peer = ?", (state.value, since, peer_id.digest))


async def set_policy(tx: Write, peer_id: PeerId, policy: PeerPolicy) -> None:
    """Replace the policy for a peer."""
    assignments = ", ".join(f"{name} = ?" for name in _POLICY)
    await tx.execute(f"UPDATE peer SET {assignments} WHERE peer = ?", (*astuple(policy), peer_id.digest))  # noqa: S608 - constants


async def set_card(tx: Write, peer_id: PeerId, card: str, sequence: int) -> bool:
    """Keep a newer card; False if the one that is kept is as new."""
    return bool(
        await tx.execute(
            "UPDATE peer SET card = ?, card_sequence = ? WHERE peer = ? AND card_sequence < ?",
            (card, sequence, peer_id.digest, sequence),
        )
    )


async def set_last_seen(tx: Write, seen: Mapping[PeerId, int]) -> None:
    """Note when peers were last heard of."""
    await tx.execute_many(
        "UPDATE peer SET last_seen = ? WHERE peer = ?", [(at, peer_id.digest) for peer_id, at in seen.items()]
    )


async def add_invitation(tx: Write, invitation: Invitation) -> None:
    """Keep a new invitation."""
    await tx.execute(
        "INSERT INTO invitation (invitation, secret, created_at, expires_at, auto_confirm, bound_to)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            invitation.invitation_id,
            invitation.secret,
            invitation.created_at,
            invitation.expires_at,
            invitation.auto_confirm,
            invitation.bound_to.digest if invitation.bound_to else None,
        ),
    )


async def invitation(rx: Read, invitation_id: bytes) -> Invitation | None:
    """One invitation; None if this node never made it, or forgot it."""
    row = await rx.fetch_one(
        f"SELECT {_INVITATION_COLUMNS} FROM invitation WHERE invitation = ?",  # noqa: S608 - constants
        (invitation_id,),
    )
    return None if row is None else _invitation(row)


async def invitations(rx: Read) -> list[Invitation]:
    """All that are remembered, newest first."""
    rows = await rx.fetch_all(f"SELECT {_INVITATION_COLUMNS} FROM invitation ORDER BY created_at DESC, invitation")  # noqa: S608 - constants
    return [_invitation(row) for row in rows]


async def redeem_invitation(tx: Write, invitation_id: bytes, peer_id: PeerId, at: int) -> bool:
    """Use an invitation up; False if somebody did before."""
    return bool(
        await tx.execute(
            "UPDATE invitation SET redeemed_by = ?, redeemed_at = ? WHERE invitation = ? AND redeemed_by IS NULL",
            (peer_id.digest, at, invitation_id),
        )
    )


async def withdraw_invitation(tx: Write, invitation_id: bytes, at: int) -> bool:
    """Close an invitation that nobody redeemed; False if there is none such."""
    return bool(
        await tx.execute(
            "UPDATE invitation SET withdrawn_at = ? WHERE invitation = ? AND redeemed_by IS NULL"
            " AND withdrawn_at IS NULL",
            (at, invitation_id),
        )
    )


async def forget_invitations(tx: Write, expired_before: int) -> int:
    """Delete what expired before a time, secrets included; returns how many."""
    return await tx.execute("DELETE FROM invitation WHERE expires_at < ?", (expired_before,))


async def own_card(rx: Read) -> OwnCardRow | None:
    """The last card; None for a new node."""
    row = await rx.fetch_one("SELECT sequence, expires_at, facts, card FROM own_card WHERE id = 1")
    return None if row is None else OwnCardRow(row[0], row[1], bytes(row[2]), row[3])


async def put_own_card(tx: Write, row: OwnCardRow) -> None:
    """Replace the card."""
    await tx.execute(
        "INSERT INTO own_card (id, sequence, expires_at, facts, card) VALUES (1, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence, expires_at = excluded.expires_at,"
        " facts = excluded.facts, card = excluded.card",
        (row.sequence, row.expires_at, row.facts, row.card),
    )


def _peer(row: Row) -> PeerRow:
    values: dict[str, Any] = {
        key: bool(value) if key in _FLAGS else value for key, value in zip(_POLICY, row[7:], strict=True)
    }
    policy = PeerPolicy(**values)
    return PeerRow(PeerId(bytes(row[0])), TrustState(row[1]), row[2], bytes(row[3]), row[4], row[5], row[6], policy)


def _invitation(row: Row) -> Invitation:
    return Invitation(
        invitation_id=bytes(row[0]),
        secret=bytes(row[1]),
        created_at=row[2],
        expires_at=row[3],
        auto_confirm=bool(row[4]),
        bound_to=PeerId(bytes(row[5])) if row[5] is not None else None,
        redeemed_by=PeerId(bytes(row[6])) if row[6] is not None else None,
        withdrawn=bool(row[7]),
    )
