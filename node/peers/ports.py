"""What this room needs from above; ``sharing`` implements it."""

from collections.abc import Sequence
from typing import Protocol

from node.model.ids import PeerId
from node.model.trust import Address, TrustState


class PeerDirectory(Protocol):
    """The trust list as it stands now, in memory: every method but ``take_card`` is immediate."""

    def state_of(self, peer: PeerId) -> TrustState | None:
        """The peer's state; None for a stranger."""

    def trusted(self) -> Sequence[PeerId]:
        """All TRUSTED peers."""

    def certificate_of(self, peer: PeerId) -> bytes:
        """The certificate (DER) to pin; raises UnknownPeer."""

    def addresses_of(self, peer: PeerId) -> Sequence[Address]:
        """Where to try it, best first."""

    def saw(self, peer: PeerId) -> None:
        """The peer proved its identity just now, on a connection in either direction."""

    def own_card(self) -> str:
        """This node's current card (compact JWS)."""

    async def take_card(self, peer: PeerId, token: str) -> None:
        """Keep the card that ``peer`` showed if it is newer than the known one; raises InvalidCard."""


class TrustListener(Protocol):
    """Told of every change of the trust list, after it is durable."""

    def trust_changed(self, peer: PeerId, state: TrustState) -> None:
        """``peer`` is in ``state`` now; immediate, must not raise."""


class PairingDesk(Protocol):
    """Takes what a stranger sends in the pairing context."""

    async def redeem(self, body: bytes) -> bytes:
        """Answer a join message (both JSON, docs/protocol/pairing.md); raises the error to refuse with."""
