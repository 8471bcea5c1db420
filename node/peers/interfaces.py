"""Which addresses of this machine others may reach a listener at."""

import ipaddress

import ifaddr

from node.model.trust import Address

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


def own_addresses(listen: Address) -> tuple[Address, ...]:
    """``listen`` itself, or where it stands for all interfaces, the machine's addresses of that family, best first.

    Loopback and link-local ones are left out, unless a machine has nothing else.
    """
    if listen.host not in WILDCARDS:
        return (listen,)
    is_v6 = ":" in listen.host
    found = [ipaddress.ip_address(text) for adapter in ifaddr.get_adapters() for text in _texts(adapter, is_v6=is_v6)]
    reachable = [ip for ip in found if not ip.is_loopback and not ip.is_link_local]
    return tuple(Address(str(ip), listen.port) for ip in reachable or found)


def _texts(adapter: ifaddr.Adapter, *, is_v6: bool) -> list[str]:
    if is_v6:
        return [ip.ip[0] for ip in adapter.ips if isinstance(ip.ip, tuple)]
    return [ip.ip for ip in adapter.ips if isinstance(ip.ip, str)]
