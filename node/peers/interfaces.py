"""Which addresses of this machine others may reach a listener at."""

import ipaddress

import ifaddr

from node.model.trust import Address

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


def own_addresses(listen: Address) -> tuple[Address, ...]:
    """``listen`` itself, or where it stands for all interfaces, the machine's addresses that it covers, IPv4 first.

    Loopback and link-local ones are left out, unless a machine has nothing else.
    """
    if listen.host not in WILDCARDS:
        return (listen,)
    texts = [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    found = sorted(map(ipaddress.ip_address, texts), key=lambda ip: ip.version)
    covered = [ip for ip in found if ip.version == 4 or listen.host == "::"]  # noqa: PLR2004 - IPv4
    reachable = [ip for ip in covered if not ip.is_loopback and not ip.is_link_local]
    return tuple(Address(str(ip), listen.port) for ip in reachable or covered)
