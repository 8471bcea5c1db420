"""Pairing: invite on one side, join on the other, and the join message in between (docs/protocol/pairing.md).

The inviter learns the joiner's key over a connection on which the joiner pinned the inviter's certificate, together
with a MAC under the invitation's secret over both keys: so the key it learns belongs to whoever holds the invitation.
Whether that is the right facility, the two operators find out by comparing the safety phrase.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from node.clock import Clock
from node.crypto.identity import Identity, public_key_of_certificate
from node.crypto.pairing import check_join_mac, join_mac, new_invitation_secret, safety_phrase
from node.crypto.tls import ServerTls
from node.errors.base import LeveretError
from node.errors.peers import PeerProtocolViolation, PeerRefusesUs, RemoteRefusal
from node.errors.trust import (
    InvalidExpiry,
    InvitationExpired,
    InvitationForOtherNode,
    InvitationUsed,
    OwnInvitation,
    PairingRefused,
)
from node.log import Logger
from node.model.audit import NODE_ACTOR, AuditEvent, AuditType, Outcome
from node.model.ids import PeerId
from node.model.trust import Invitation, Peer, TrustEvent, TrustState, next_state
from node.peers.buckets import TokenBuckets
from node.peers.client import PeerClients
from node.peers.wire import decode
from node.sharing.cards import peer_of_card, read_card
from node.sharing.invitations import ID_BYTES, ReadInvitation, read_invitation, write_invitation
from node.sharing.trust import TrustList
from node.store import trust as store
from node.store.audit import append
from node.store.engine import Database

DEFAULT_SECONDS = 7 * 24 * 3600
MAX_SECONDS = 30 * 24 * 3600
MAX_AUTO_CONFIRM_SECONDS = 3600  # an invitation that lets somebody in without a second look must not lie around
_REMEMBER_SECONDS = 24 * 3600  # after expiry, so that an operator still sees what became of it
_REFUSALS_BURST, _REFUSALS_PER_SECOND = 20.0, 1 / 60  # audit events about strangers, who must not fill the disk
_LONGEST_SLEEP = 60.0  # wall clocks jump; so expiry is looked at once a minute at least


class _Join(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Joiner → inviter."""

    invitation: bytes
    card: str
    mac: bytes


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inviter → joiner."""

    state: TrustState
    card: str


class MadeInvitation(msgspec.Struct, frozen=True):
    """What ``invite`` hands out: the text for the file, and what the operator should know of it."""

    invitation_id: str
    text: str
    expires_at: int
    auto_confirm: bool


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of ``join``: the inviter, TRUSTED here; ``confirmed`` tells whether it trusts this node already."""

    peer: Peer
    confirmed: bool


_REFUSALS: dict[str, type[LeveretError]] = {
    cls.code: cls for cls in (InvitationExpired, InvitationUsed, InvitationForOtherNode, PairingRefused)
}


class Pairing:
    """The use case on both sides; also what the pairing handler calls (``peers.ports.PairingDesk``)."""

    def __init__(
        self,
        *,
        db: Database,
        identity: Identity,
        trust: TrustList,
        clients: PeerClients,
        tls: ServerTls,
        clock: Clock,
        log: Logger,
        name: Callable[[], str],
    ) -> None:
        """``name`` says what this facility is called, for the text of an invitation."""
        self._db = db
        self._identity = identity
        self._trust = trust
        self._clients = clients
        self._tls = tls
        self._clock = clock
        self._log = log
        self._name = name
        self._wake = asyncio.Event()
        self._recorded = TokenBuckets(clock, burst=_REFUSALS_BURST, per_second=_REFUSALS_PER_SECOND)

    async def run(self) -> None:
        """Keep the pairing context open exactly while an invitation is, until cancelled."""
        try:
            while True:
                self._wake.clear()
                pause = await self._look()
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            self._tls.open_pairing(False)

    async def invite(
        self,
        *,
        seconds: int | None = None,
        auto_confirm: bool = False,
        bound_to: PeerId | None = None,
        actor: str = NODE_ACTOR,
    ) -> MadeInvitation:
        """Make an invitation that lives ``seconds``: by default a week; with ``auto_confirm`` an hour, and never more.

        Raises:
            InvalidExpiry: less than a second, or more than 30 days.
        """
        wanted = DEFAULT_SECONDS if seconds is None else seconds
        if not 1 <= wanted <= MAX_SECONDS:
            raise InvalidExpiry
        if auto_confirm:
            wanted = min(wanted, MAX_AUTO_CONFIRM_SECONDS)
        now = self._clock.now()
        invitation = Invitation(
            secrets.token_bytes(ID_BYTES), new_invitation_secret(), now, now + wanted, auto_confirm, bound_to
        )
        async with self._db.write() as tx:
            await store.add_invitation(tx, invitation)
            detail = {"invitation": invitation.invitation_id.hex(), "auto_confirm": str(auto_confirm).lower()}
            event = AuditEvent(type=AuditType.PEER_INVITED, at=now, actor=actor, peer=bound_to, detail=detail)
            await append(tx, event)
        self._tls.open_pairing(True)
        self._wake.set()
        text = write_invitation(self._identity, self._trust.own_card(), self._name(), invitation)
        return MadeInvitation(invitation.invitation_id.hex(), text, invitation.expires_at, auto_confirm)

    async def invitations(self) -> list[Invitation]:
        """Those that are remembered, newest first."""
        async with self._db.read() as rx:
            return await store.invitations(rx)

    async def withdraw(self, invitation_id: bytes) -> bool:
        """Close an invitation that nobody redeemed; False if there is none such."""
        async with self._db.write() as tx:
            done = await store.withdraw_invitation(tx, invitation_id, self._clock.now())
        self._wake.set()
        return done

    async def join(self, text: str, *, actor: str = NODE_ACTOR) -> Joined:
        """Redeem the invitation in ``text``; its maker is TRUSTED here afterwards.

        Nothing is kept unless the other node took the join, so it can be tried again after every error; the same node
        may redeem the same invitation twice.

        Raises:
            InvitationDamaged, OwnInvitation, InvitationForOtherNode, InvitationExpired, InvitationUsed, PairingRefused.
            PeerUnreachable: none of the addresses in it answers (Retryable).
        """
        read = read_invitation(text)
        self._check(read)
        known = self._trust.state_of(read.inviter)
        next_state(known, TrustEvent.IMPORT)  # raises before anything is sent
        inviter_key = public_key_of_certificate(read.card.certificate)
        mac = join_mac(read.invitation.secret, inviter_key, self._identity.public_key)
        message = _Join(read.invitation.invitation_id, self._trust.own_card(), mac)
        answer = await self._redeem_at(read, msgspec.json.encode(message))
        phrase = safety_phrase(read.card.certificate, self._identity.certificate)
        async with self._db.write() as tx:
            await self._trust.enter(tx, answer.card, TrustEvent.IMPORT, phrase, actor)
        return Joined(self._trust.get(read.inviter), answer.state is TrustState.TRUSTED)

    async def redeem(self, body: bytes) -> bytes:
        """Answer a join message from a stranger; raises the error to refuse it with."""
        joiner: PeerId | None = None
        try:
            message = decode(body, _Join)
            card = read_card(message.card)
            joiner = peer_of_card(card)
            state = await self._take(message, joiner, public_key_of_certificate(card.certificate), card.certificate)
        except LeveretError as error:
            await self._record_refusal(joiner, error)
            raise
        self._wake.set()
        # A suspended peer hears what everybody hears who waits for a person.
        shown = state if state is TrustState.TRUSTED else TrustState.PENDING
        return msgspec.json.encode(_Answer(shown, self._trust.own_card()))

    async def _take(self, message: _Join, joiner: PeerId, key: bytes, certificate: bytes) -> TrustState:
        phrase = safety_phrase(self._identity.certificate, certificate)
        async with self._db.write() as tx:
            invitation = await store.invitation(tx, message.invitation)
            if invitation is None or joiner == self._identity.peer_id:
                raise PairingRefused
            # Only who proves the secret is told anything about the invitation.
            try:
                check_join_mac(invitation.secret, self._identity.public_key, key, message.mac)
            except LeveretError as exc:
                raise PairingRefused from exc
            self._admit(invitation, joiner)
            known = self._trust.state_of(joiner)
            if invitation.redeemed_by == joiner and known not in {None, TrustState.REVOKED}:
                assert known is not None
                return known  # the answer was lost; tell it again
            if not await store.redeem_invitation(tx, invitation.invitation_id, joiner, self._clock.now()):
                raise InvitationUsed
            event = TrustEvent.REDEEM_AUTO if invitation.auto_confirm else TrustEvent.REDEEM
            return await self._trust.enter(tx, message.card, event, phrase, f"peer:{joiner.compact}")

    def _admit(self, invitation: Invitation, joiner: PeerId) -> None:
        if invitation.bound_to not in {None, joiner}:
            raise InvitationForOtherNode
        if invitation.withdrawn or invitation.redeemed_by not in {None, joiner}:
            raise InvitationUsed
        if invitation.expires_at <= self._clock.now():
            raise InvitationExpired

    def _check(self, read: ReadInvitation) -> None:
        """What the joiner can tell by itself."""
        if read.inviter == self._identity.peer_id:
            raise OwnInvitation
        if read.invitation.bound_to not in {None, self._identity.peer_id}:
            assert read.invitation.bound_to is not None
            raise InvitationForOtherNode(f"for {read.invitation.bound_to.short}")
        if read.invitation.expires_at <= self._clock.now():
            raise InvitationExpired

    async def _redeem_at(self, read: ReadInvitation, body: bytes) -> _Answer:
        """Send the join message; the inviter's answer with its card verified."""
        try:
            data = await self._clients.pair(read.card.certificate, read.card.addresses, body)
        except PeerRefusesUs as exc:  # it is there, and has no invitation open
            raise InvitationUsed from exc
        except RemoteRefusal as exc:
            raise _REFUSALS.get(exc.remote_code, PairingRefused)(_other_fact(exc)) from exc
        try:
            answer = decode(data, _Answer)
            card = read_card(answer.card)
        except LeveretError as exc:
            raise PeerProtocolViolation("the answer to the join cannot be read") from exc
        if card.certificate != read.card.certificate:
            raise PeerProtocolViolation("the answer to the join comes from another node")
        return answer

    async def _look(self) -> float:
        """Open or close the pairing context; returns the seconds until it must be looked at again."""
        now = self._clock.now()
        try:
            async with self._db.write() as tx:
                await store.forget_invitations(tx, now - _REMEMBER_SECONDS)
                remembered = await store.invitations(tx)
        except LeveretError as error:
            self._log.warning("invitations not looked at", component="pairing", code=error.code)
            return _LONGEST_SLEEP
        still_open = [i.expires_at for i in remembered if i.is_open(now)]
        self._tls.open_pairing(bool(still_open))
        return min([_LONGEST_SLEEP, *(float(at - now) for at in still_open)])

    async def _record_refusal(self, joiner: PeerId | None, error: LeveretError) -> None:
        if not self._recorded.spend(""):
            return
        event = AuditEvent(
            type=AuditType.PAIRING_REFUSED,
            at=self._clock.now(),
            actor=f"peer:{joiner.compact}" if joiner else "stranger",
            outcome=Outcome.REFUSED,
            peer=joiner,
            code=error.code,
        )
        async with self._db.write() as tx:
            await append(tx, event)


def _other_fact(error: RemoteRefusal) -> str:
    return "" if error.remote_code in _REFUSALS else error.remote_code
