"""Whom this facility trusts, and pairing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Annotated

import msgspec

from node.api.paging import MAX_OFFSET, Window, cut
from node.api.rest.access import EVERYBODY, OPERATION, OVERSIGHT
from node.api.rest.shapes.system import (
    InvitationMade,
    NearbyList,
    NearbyShown,
    PeerJoined,
    PeerList,
    PeerShown,
    PolicyShown,
)
from node.api.routing import Call, Route
from node.model.ids import PeerId
from node.model.trust import Peer
from node.peers.discovery import NearbyNode
from node.peers.presence import Presence
from node.sharing.pairing import Pairing
from node.sharing.trust import TrustList

_MAX_INVITATION = 32 * 1024  # characters; one has about 2000, more when an e-mail wrapped it


class NewInvitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An invitation to make; ``expires_in`` in seconds."""

    expires_in: Annotated[int, msgspec.Meta(ge=1, le=MAX_OFFSET)] | None = None
    auto_confirm: bool = False


class Join(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The text of an invitation."""

    invitation: Annotated[str, msgspec.Meta(max_length=_MAX_INVITATION)]


class PolicyChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings as typed, ``key`` to ``value``."""

    settings: Annotated[dict[str, Annotated[str, msgspec.Meta(max_length=200)]], msgspec.Meta(max_length=32)]


class PeersResource:
    """``peers``. ``{peer}`` in a path is a PeerId, its first characters, or the facility's name."""

    def __init__(
        self,
        *,
        trust: TrustList,
        pairing: Pairing,
        presence: Presence,
        nearby: Callable[[], Sequence[NearbyNode]],
    ) -> None:
        self._trust = trust
        self._pairing = pairing
        self._presence = presence
        self._nearby = nearby

    def routes(self) -> Iterable[Route]:
        """The routes."""
        peers, peer = "/api/v1/peers", "/api/v1/peers/{peer}"
        return [
            Route("GET", peers, self.list, EVERYBODY, "All peers and how they stand", query=Window, answer=PeerList),
            Route(
                "GET",
                f"{peers}/nearby",
                self.nearby,
                OVERSIGHT,
                "Nodes seen on the local network",
                query=Window,
                answer=NearbyList,
            ),
            Route(
                "POST",
                f"{peers}/invitations",
                self.invite,
                OPERATION,
                "Make an invitation",
                NewInvitation,
                201,
                answer=InvitationMade,
            ),
            Route("POST", f"{peers}/joined", self.join, OPERATION, "Use an invitation", Join, 201, answer=PeerJoined),
            Route(
                "POST",
                f"{peer}/confirm",
                self.confirm,
                OPERATION,
                "Trust a peer that used an invitation",
                answer=PeerShown,
            ),
            Route("POST", f"{peer}/suspend", self.suspend, OPERATION, "Shut a peer out for now", answer=PeerShown),
            Route("POST", f"{peer}/resume", self.resume, OPERATION, "Trust a suspended peer again", answer=PeerShown),
            Route("POST", f"{peer}/revoke", self.revoke, OPERATION, "Stop trusting a peer", answer=PeerShown),
            Route("GET", f"{peer}/policy", self.policy, OVERSIGHT, "What a peer is allowed", answer=PolicyShown),
            Route(
                "POST",
                f"{peer}/policy",
                self.set_policy,
                OPERATION,
                "Change what a peer is allowed",
                PolicyChange,
                answer=PolicyShown,
            ),
        ]

    async def list(self, call: Call) -> PeerList:
        """All peers by name."""
        found, more = cut(call, self._trust.peers())
        return {"peers": [self._shown(peer) for peer in found], "next": more}

    async def nearby(self, call: Call) -> NearbyList:
        """Who announces itself on the local network."""
        found, more = cut(call, self._nearby())
        return {"nearby": [self._shown_nearby(node) for node in found], "next": more}

    async def invite(self, call: Call) -> InvitationMade:
        """An invitation; its text is shown this once."""
        wanted: NewInvitation = call.body
        made = await self._pairing.invite(
            seconds=wanted.expires_in, auto_confirm=wanted.auto_confirm, actor=call.caller.actor
        )
        return {"invitation": made.text, "expires_at": made.expires_at, "auto_confirm": made.auto_confirm}

    async def join(self, call: Call) -> PeerJoined:
        """Join the maker of an invitation."""
        body: Join = call.body
        joined = await self._pairing.join(body.invitation, actor=call.caller.actor)
        return {**self._shown(joined.peer), "confirmed": joined.confirmed}

    async def confirm(self, call: Call) -> PeerShown:
        """PENDING → TRUSTED."""
        return self._shown(await self._trust.confirm(self._named(call), actor=call.caller.actor))

    async def suspend(self, call: Call) -> PeerShown:
        """TRUSTED → SUSPENDED."""
        return self._shown(await self._trust.suspend(self._named(call), actor=call.caller.actor))

    async def resume(self, call: Call) -> PeerShown:
        """SUSPENDED → TRUSTED."""
        return self._shown(await self._trust.resume(self._named(call), actor=call.caller.actor))

    async def revoke(self, call: Call) -> PeerShown:
        """→ REVOKED."""
        return self._shown(await self._trust.revoke(self._named(call), actor=call.caller.actor))

    async def policy(self, call: Call) -> PolicyShown:
        """The policy as it stands."""
        return self._shown_policy(self._trust.get(self._named(call)))

    async def set_policy(self, call: Call) -> PolicyShown:
        """Change some of its settings."""
        change: PolicyChange = call.body
        peer = await self._trust.set_policy(self._named(call), change.settings, actor=call.caller.actor)
        return self._shown_policy(peer)

    def _named(self, call: Call) -> PeerId:
        return self._trust.find(call.parameter("peer"))

    def _shown(self, peer: Peer) -> PeerShown:
        return {
            "peer_id": peer.peer_id.full,
            "name": peer.name,
            "trust": peer.state,
            "safety_phrase": peer.safety_phrase,
            "connected": self._presence.connected(peer.peer_id),
            "last_seen": peer.last_seen,
            "since": peer.since,
            "problem": self._presence.problem(peer.peer_id),
            "addresses": [str(address) for address in peer.card.addresses],
        }

    @staticmethod
    def _shown_policy(peer: Peer) -> PolicyShown:
        return {"peer_id": peer.peer_id.full, "name": peer.name, "policy": asdict(peer.policy)}

    def _shown_nearby(self, node: NearbyNode) -> NearbyShown:
        return {
            "peer_id": node.peer_id.full,
            "addresses": [str(address) for address in node.addresses],
            "version": node.version,
            "trust": self._trust.state_of(node.peer_id),
            "seen_at": node.seen_at,
        }
