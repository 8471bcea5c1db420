"""Nodes nearby, by multicast DNS service discovery (RFC 6762, RFC 6763): proposes, never trusts.

A node announces ``PEERID._leveret._tcp.local.`` with its port, addresses and version, and nothing else: no facility
name, no machine name. Anybody on the network can announce anything under any PeerId; so what is found here is shown
to an operator who thinks of pairing, and tried as a further address of a peer that is trusted already, where TLS pins
the key.
"""

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from zeroconf import Error as ZeroconfError
from zeroconf import InterfaceChoice, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from node.clock import Clock
from node.errors.base import LeveretError
from node.log import Logger
from node.model.ids import PeerId
from node.model.trust import MAX_PORT, Address
from node.peers import limits
from node.peers.interfaces import WILDCARDS, own_addresses

SERVICE = "_leveret._tcp.local."
_VERSION = re.compile(rb"[0-9A-Za-z.+-]{1,32}")
_LOOKUP_MS = 3000


@dataclass(frozen=True, slots=True)
class NearbyNode:
    """Somebody claims that this node is there."""

    peer_id: PeerId
    addresses: tuple[Address, ...]
    version: str  # of the protocol's first part of the program; empty: not said
    seen_at: int


class Discovery:
    """Announces this node and listens for others while its context is open."""

    def __init__(self, *, own: PeerId, listen: Address, version: str, clock: Clock, log: Logger) -> None:
        """Announce ``own`` as listening at ``listen``, on that interface (all, where it stands for all)."""
        self._own = own
        self._listen = listen
        self._version = version
        self._clock = clock
        self._log = log
        self._nodes: dict[PeerId, NearbyNode] = {}
        self._names: asyncio.Queue[tuple[str, ServiceStateChange]] = asyncio.Queue(limits.NEARBY_QUEUE)
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._info: AsyncServiceInfo | None = None
        self._worker: asyncio.Task[None] | None = None

    def nearby(self) -> list[NearbyNode]:
        """Who claims to be there now, this node aside."""
        return sorted(self._nodes.values(), key=lambda node: node.peer_id.digest)

    def addresses_of(self, peer: PeerId) -> Sequence[Address]:
        """Where ``peer`` is said to be."""
        node = self._nodes.get(peer)
        return node.addresses if node else ()

    async def __aenter__(self) -> Self:
        """Begin; on a machine without multicast it says so in the log and stays empty."""
        try:
            self._zeroconf = AsyncZeroconf(interfaces=self._interfaces(), ip_version=IPVersion.V4Only)
            self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE, handlers=[self._heard])
            self._info = self._own_record()
            # Without probing for the name: it is ours by the key behind it, and a squatter must not keep us silent.
            await self._zeroconf.async_register_service(self._info, cooperating_responders=True, strict=False)
        except (OSError, ZeroconfError) as exc:
            self._log.warning("no discovery here", component="discovery", error=type(exc).__name__)
            await self._stop()
            return self
        self._worker = asyncio.get_running_loop().create_task(self._look_up())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye and stop listening."""
        await self._stop()

    async def _stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        if self._zeroconf is not None:
            try:
                if self._info is not None:
                    await (await self._zeroconf.async_unregister_service(self._info))
                if self._browser is not None:
                    await self._browser.async_cancel()
                await self._zeroconf.async_close()
            except (OSError, ZeroconfError) as exc:
                self._log.warning("discovery ended badly", component="discovery", error=type(exc).__name__)
        self._worker = self._browser = self._info = self._zeroconf = None
        self._nodes.clear()

    def _interfaces(self) -> list[str] | InterfaceChoice:
        return InterfaceChoice.All if self._listen.host in WILDCARDS else [self._listen.host]

    def _own_record(self) -> AsyncServiceInfo:
        name = self._own.compact  # 56 characters, where DNS allows 63
        hosts = [a.host for a in own_addresses(self._listen)][: limits.NEARBY_ADDRESSES]
        return AsyncServiceInfo(
            SERVICE,
            f"{name}.{SERVICE}",
            addresses=[socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host) for host in hosts],
            port=self._listen.port,
            properties={"v": self._version},
            server=f"{name}.local.",
        )

    def _heard(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        del zeroconf, service_type
        if not self._names.full():  # a flood loses its own records
            self._names.put_nowait((name, state_change))

    async def _look_up(self) -> None:
        while True:
            name, change = await self._names.get()
            peer = peer_in(name)
            if peer is None or peer == self._own:
                continue
            if change is ServiceStateChange.Removed:
                self._nodes.pop(peer, None)
            elif peer in self._nodes or len(self._nodes) < limits.NEARBY_NODES:
                await self._ask(name, peer)

    async def _ask(self, name: str, peer: PeerId) -> None:
        assert self._zeroconf is not None
        info = AsyncServiceInfo(SERVICE, name)
        try:
            found = await info.async_request(self._zeroconf.zeroconf, _LOOKUP_MS)
        except (OSError, ZeroconfError, ValueError) as exc:
            self._log.info("record ignored", component="discovery", error=type(exc).__name__)
            return
        node = node_of(peer, info, self._clock.now()) if found else None
        if node is not None:
            self._nodes[peer] = node


def peer_in(name: str) -> PeerId | None:
    """The PeerId that a service name claims; None if it is none in the one spelling that nodes use."""
    text = name.removesuffix(f".{SERVICE}")
    try:
        peer = PeerId.parse(text)
    except LeveretError:
        return None
    return peer if peer.compact == text else None


def node_of(peer: PeerId, info: AsyncServiceInfo, now: int) -> NearbyNode | None:
    """What a record claims, as far as it can be; None if it names no place."""
    if info.port is None or not 1 <= info.port <= MAX_PORT:
        return None
    addresses = tuple(Address(host, info.port) for host in info.parsed_addresses() if "%" not in host)
    if not addresses:
        return None
    version = info.properties.get(b"v") or b""
    shown = version.decode() if _VERSION.fullmatch(version) else ""
    return NearbyNode(peer, addresses[: limits.NEARBY_ADDRESSES], shown, now)
