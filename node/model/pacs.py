"""DICOM systems of the facility: what an operator enters about each. Pure."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from node.errors.dimse import InvalidPacs
from node.errors.trust import InvalidAddress
from node.model.trust import Address

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# AE (PS3.5 section 6.2): 16 characters of the default repertoire, no backslash or control, no space at either end.
_TITLE = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Pacs:
    """One system. ``calls_from``: addresses and networks that it calls from, besides those of ``host``.

    ``tls``: this node speaks TLS to it; ``ca`` is PEM, the authority it is signed by or its own certificate.
    ``same_association``: it takes reports of storage commitment on the association on which it asked.

    Raises InvalidPacs.
    """

    name: str
    ae_title: str
    host: str
    port: int
    calls_from: tuple[str, ...] = ()
    tls: bool = False
    ca: str = ""
    same_association: bool = False
    added_at: int = 0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidPacs("a name has letters, digits, '-', '_' and '.' only, 64 at most")
        check_title(self.ae_title)
        try:
            Address.parse(f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")
        except InvalidAddress as exc:
            raise InvalidPacs("a host is a name or an IP address, without a scheme; a port is 1 to 65535") from exc
        for network in self.calls_from:
            parse_network(network)


@dataclass(frozen=True, slots=True)
class AllowedCaller:
    """An entry of ``[dicom] allow_ae``: an AE title, from anywhere or from one address or network."""

    ae_title: str
    network: IpNetwork | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``TITLE`` or ``TITLE@10.1.2.0/24``; raises InvalidPacs."""
        title, at, network = text.strip().rpartition("@") if "@" in text else (text.strip(), "", "")
        return cls(check_title(title.strip()), parse_network(network.strip()) if at else None)

    def is_it(self, ae_title: str, address: str) -> bool:
        """Whether the caller with this title and address is meant."""
        ip = parse_address(address)
        return self.ae_title == ae_title and (self.network is None or (ip is not None and ip in self.network))


def check_title(title: str) -> str:
    """``title`` if it is an AE title; raises InvalidPacs."""
    if not _TITLE.fullmatch(title):
        raise InvalidPacs("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title


def parse_address(text: str) -> IpAddress | None:
    """An IP address as a socket gives it, IPv4 out of its IPv6 wrapping; None if it is a name."""
    try:
        ip = ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def parse_network(text: str) -> IpNetwork:
    """An address or a network (``10.1.0.0/16``); raises InvalidPacs."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise InvalidPacs("an address or a network such as 10.1.0.0/16 is needed") from None
