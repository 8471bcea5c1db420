"""Addresses of a link's files: 256 random bits, good once, for an hour at most. Kept in memory alone.

A restart forgets them, which the specification allows for: who finds an address gone asks for the manifest again.
"""

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from node.clock import Clock
from node.model.health_link import HealthLinkId

TICKET_SECONDS = 3600  # by the specification at most
TICKET_BYTES = 32
MAX_TICKETS = 10_000  # in memory; the oldest go


@dataclass(frozen=True, slots=True)
class Ticket:
    """Which file, for whom, until when."""

    link_id: HealthLinkId
    content_type: str
    recipient: str
    expires_at: int


class Tickets:
    """The tickets of one node."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_digest: OrderedDict[bytes, Ticket] = OrderedDict()

    def issue(self, link_id: HealthLinkId, content_type: str, recipient: str) -> str:
        """The random part of a new address."""
        text = secrets.token_urlsafe(TICKET_BYTES)
        expires_at = self._clock.now() + TICKET_SECONDS
        self._by_digest[_digest(text)] = Ticket(link_id, content_type, recipient, expires_at)
        while len(self._by_digest) > MAX_TICKETS:
            self._by_digest.popitem(last=False)
        return text

    def redeem(self, text: str) -> Ticket | None:
        """What the address is for, this once; None: it is no address, or over."""
        ticket = self._by_digest.pop(_digest(text), None)
        return ticket if ticket is not None and self._clock.now() < ticket.expires_at else None

    def end(self, link_id: HealthLinkId) -> None:
        """The link is over: so are its addresses."""
        over = [digest for digest, ticket in self._by_digest.items() if ticket.link_id == link_id]
        for digest in over:
            del self._by_digest[digest]


def _digest(text: str) -> bytes:
    """Looked up by hash, so that the time a look-up takes tells nothing about what was nearly right."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
