"""Live connections of the server, by peer: what to abort when trust ends, what to cut when it idles or drips."""

import asyncio
import ssl
from collections import Counter
from dataclasses import dataclass, field

from node.clock import Clock
from node.crypto.tls import is_pairing, peer_key_of
from node.model.ids import PeerId
from node.model.trust import TrustState
from node.peers import limits
from node.peers.ports import PeerDirectory


@dataclass(eq=False, slots=True)
class Connection:
    """One accepted TLS connection. ``peer`` is None in the pairing context, where nobody is known yet."""

    transport: asyncio.Transport
    peer: PeerId | None
    remote: str
    opened: float  # monotonic, as are all times here
    waiting_since: float  # for a complete request head
    serving: int = field(default=0)  # requests under way


class Connections:
    """The registry. Everything is immediate; nothing here waits."""

    def __init__(self, directory: PeerDirectory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._live: dict[asyncio.BaseTransport, Connection] = {}
        self._per_peer: Counter[PeerId | None] = Counter()

    def enter(self, transport: asyncio.Transport, remote: str) -> Connection | None:
        """Enter a connection whose handshake is done; None if its peer may not have it (the caller aborts it)."""
        tls = transport.get_extra_info("ssl_object")
        peer = self._peer_of(tls)
        if peer is None and not is_pairing(tls):
            return None
        if peer is not None and self._directory.state_of(peer) is not TrustState.TRUSTED:
            return None  # the list changed during the handshake
        most = limits.PAIRING_CONNECTIONS if peer is None else limits.CONNECTIONS_PER_PEER
        if self._per_peer[peer] >= most or len(self._live) >= limits.CONNECTIONS:
            return None
        now = self._clock.monotonic()
        connection = Connection(transport, peer, remote, opened=now, waiting_since=now)
        self._live[transport] = connection
        self._per_peer[peer] += 1
        return connection

    @staticmethod
    def _peer_of(tls: ssl.SSLObject) -> PeerId | None:
        if is_pairing(tls):
            return None
        key = peer_key_of(tls)
        return None if key is None else PeerId.of_public_key(key)

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is lost."""
        if self._live.pop(connection.transport, None) is not None:
            self._per_peer[connection.peer] -= 1
            if not self._per_peer[connection.peer]:
                del self._per_peer[connection.peer]

    def of(self, transport: asyncio.BaseTransport | None) -> Connection | None:
        """The entry of a transport; None if it has none (any more)."""
        return None if transport is None else self._live.get(transport)

    def begin(self, connection: Connection) -> None:
        """A request head is complete."""
        connection.serving += 1

    def end(self, connection: Connection) -> None:
        """The request is answered."""
        connection.serving -= 1
        connection.waiting_since = self._clock.monotonic()

    def abort(self, peer: PeerId) -> int:
        """Cut every connection of ``peer`` off, at once; returns how many."""
        return self._abort([c for c in self._live.values() if c.peer == peer])

    def abort_all(self) -> int:
        """Cut everything off."""
        return self._abort(list(self._live.values()))

    def sweep(self) -> int:
        """Cut off what waits too long for a request head, and pairing connections past their time."""
        now = self._clock.monotonic()
        return self._abort([c for c in self._live.values() if _is_overdue(c, now)])

    def _abort(self, doomed: list[Connection]) -> int:
        for connection in doomed:
            connection.transport.abort()
            self.leave(connection)
        return len(doomed)

    def count(self, peer: PeerId) -> int:
        """Live connections that ``peer`` has opened."""
        return self._per_peer[peer]

    def __len__(self) -> int:
        return len(self._live)


def _is_overdue(connection: Connection, now: float) -> bool:
    if connection.peer is None and now - connection.opened > limits.PAIRING_SECONDS:
        return True
    return not connection.serving and now - connection.waiting_since > limits.REQUEST_HEAD_SECONDS
