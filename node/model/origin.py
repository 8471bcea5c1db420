"""How people reach a node: the scheme, host and port of its addresses in letters, links and browsers."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from node.errors.setup import InvalidConfig

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Origin:
    """A web origin (RFC 6454): ``https://images.hospital.example``. IPv6 hosts stand without brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``http[s]://HOST[:PORT][/]``.

        Raises:
            InvalidConfig: anything else; a path, a user or a query is no part of an origin.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as exc:
            raise InvalidConfig("api.public_url is not an address") from exc
        host = (parts.hostname or "").lower()
        if parts.scheme not in _PORTS or parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in text:
            raise InvalidConfig("api.public_url must be https://HOST or https://HOST:PORT, without a path")
        if not (_HOST.fullmatch(host) or is_address(host)) or (port is not None and not 1 <= port <= _MAX_PORT):
            raise InvalidConfig("api.public_url has no host name or address")
        return cls(parts.scheme, host, port or _PORTS[parts.scheme])

    @property
    def is_secure(self) -> bool:
        """Whether it is reached by TLS."""
        return self.scheme == "https"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


def is_address(host: str) -> bool:
    """Whether this is an IP address (without brackets) and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``. A name other than ``localhost`` may lead anywhere."""
    if host == "localhost":
        return True
    return is_address(host) and ipaddress.ip_address(host).is_loopback
