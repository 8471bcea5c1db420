"""Two nodes on the loopback interface find each other; hostile records find nobody."""

import asyncio
import gc
import socket
import time
from collections.abc import Callable

import pytest
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from node.clock import SystemClock
from node.crypto.identity import Identity
from node.log import make_logger
from node.model.ids import PeerId
from node.model.trust import Address
from node.peers import limits
from node.peers.discovery import SERVICE, Discovery, NearbyNode, node_of, peer_in
from node.peers.interfaces import own_addresses

NORTH, LAKE = Identity.from_seed(b"N" * 32).peer_id, Identity.from_seed(b"L" * 32).peer_id
HILL = Identity.from_seed(b"H" * 32).peer_id
LOOPBACK = "127.0.0.1"


def _discovery(peer: PeerId, port: int, host: str = LOOPBACK) -> Discovery:
    return Discovery(
        own=peer, listen=Address(host, port), version="0.1.0", clock=SystemClock(), log=make_logger(level="ERROR")
    )


def _nearby(discovery: Discovery) -> list[NearbyNode]:
    """Of the nodes of this test; another on this machine may be found too."""
    return [node for node in discovery.nearby() if node.peer_id in {NORTH, LAKE, HILL}]


async def _until(check: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


async def test_two_nodes_find_each_other_and_miss_each_other() -> None:
    async with _discovery(NORTH, 18443) as north:
        async with _discovery(LAKE, 18444) as lake:
            await _until(lambda: _nearby(north) and _nearby(lake))
            (seen,) = _nearby(north)
            assert (seen.peer_id, seen.addresses, seen.version) == (LAKE, (Address(LOOPBACK, 18444),), "0.1.0")
            assert [node.peer_id for node in _nearby(lake)] == [NORTH], "not itself"
            assert list(lake.addresses_of(NORTH)) == [Address(LOOPBACK, 18443)]
            assert list(lake.addresses_of(LAKE)) == []
        await _until(lambda: not _nearby(north))


async def test_hostile_records_are_ignored() -> None:
    zeroconf = AsyncZeroconf(interfaces=[LOOPBACK], ip_version=IPVersion.V4Only)
    names = ["not-a-peer", LAKE.compact[:-1] + "A", HILL.compact.lower(), "x" * 63, "../../etc"]
    records = [
        AsyncServiceInfo(
            SERVICE,
            f"{name}.{SERVICE}",
            addresses=[socket.inet_aton(LOOPBACK)],
            port=1,
            properties={"v": "<script>", "name": "PATIENT^NAME", "x": "y" * 200},
            server=f"{name}.local.",
        )
        for name in (*names, LAKE.compact)
    ]
    try:
        async with _discovery(NORTH, 18443) as north:
            for record in records:
                await zeroconf.async_register_service(record, cooperating_responders=True, strict=False)
            await _until(lambda: _nearby(north))
            await asyncio.sleep(0.2)
            (seen,) = _nearby(north)
            assert (seen.peer_id, seen.version) == (LAKE, ""), "a version that is none is not shown"
    finally:
        await zeroconf.async_close()


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # zeroconf forgets its listening socket when an interface fails
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
async def test_a_machine_without_multicast_goes_without() -> None:
    async with _discovery(NORTH, 18443, host="203.0.113.7") as lost:
        assert lost.nearby() == []
    gc.collect()


def test_only_the_one_spelling_of_a_peer_id_counts() -> None:
    assert peer_in(f"{LAKE.compact}.{SERVICE}") == LAKE
    for name in (LAKE.full, LAKE.compact.lower(), LAKE.compact + "A", "", "\0", f"a.{LAKE.compact}", LAKE.short):
        assert peer_in(f"{name}.{SERVICE}") is None


@pytest.mark.parametrize("port", [None, 0, 65536, -1])
def test_records_without_a_usable_port_name_no_place(port: int | None) -> None:
    info = AsyncServiceInfo(SERVICE, f"{LAKE.compact}.{SERVICE}", addresses=[bytes(4)], port=port)
    assert node_of(LAKE, info, 0) is None


def test_records_name_some_addresses_at_most() -> None:
    name = f"{LAKE.compact}.{SERVICE}"
    assert node_of(LAKE, AsyncServiceInfo(SERVICE, name, port=1), 0) is None
    many = AsyncServiceInfo(SERVICE, name, port=1, addresses=[bytes([10, 0, 0, i]) for i in range(50)])
    node = node_of(LAKE, many, 0)
    assert node is not None
    assert len(node.addresses) == limits.NEARBY_ADDRESSES


def test_own_addresses_are_what_others_can_reach() -> None:
    assert own_addresses(Address("10.1.2.3", 5)) == (Address("10.1.2.3", 5),)
    everywhere = own_addresses(Address("0.0.0.0", 5))
    assert everywhere
    assert all(address.port == 5 and ":" not in address.host for address in everywhere)
