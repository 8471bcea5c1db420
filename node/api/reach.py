"""Under which addresses people reach the local API: what it calls itself, what it answers to, when that is secure."""

import socket

from aiohttp import web

from node.config import ApiSettings
from node.crypto.web_tls import ServerCertificate, WebTls
from node.errors.access import ApiNeedsTls
from node.model.origin import Origin, is_loopback
from node.model.trust import Address
from node.peers.interfaces import WILDCARDS, own_addresses

_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})  # passkeys need the name, scripts use the addresses

SECURE = web.RequestKey("secure", bool)  # the browser's end of the connection is TLS, perhaps a proxy's


class Reach:
    """What ``[api]`` says about addresses."""

    def __init__(self, settings: ApiSettings) -> None:
        """Raises InvalidConfig, InvalidAddress, ApiNeedsTls: an address that cannot be."""
        self.listen = Address.parse(settings.listen, allow_any_port=True)
        self._public = Origin.parse(settings.public_url) if settings.public_url else None
        self.is_tls = bool(settings.tls_certificate or settings.tls_key) or not is_loopback(self.listen.host)
        if self._public is not None and not self._public.is_secure and not is_loopback(self._public.host):
            raise ApiNeedsTls(str(self._public))
        self.tls: WebTls | None = None  # the listener's, once it has one
        self._hostname = "" if is_loopback(self.listen.host) else socket.gethostname().lower()
        self._names = _LOOPBACK_HOSTS | {self.listen.host.lower()} - WILDCARDS | {self._hostname} - {""}
        if self._public is not None:
            self._names |= {self._public.host}

    @property
    def certificate(self) -> ServerCertificate | None:
        """What the listener shows; None without TLS."""
        return None if self.tls is None or not self.is_tls else self.tls.shown

    def bound(self, address: Address) -> None:
        """Where it really listens, if ``listen`` left the port open."""
        self.listen = address

    @property
    def url(self) -> str:
        """The address for letters, links and e-mails, without a slash at its end."""
        if self._public is not None:
            return str(self._public)
        host = self.listen.host
        if is_loopback(host):
            host = "localhost"
        elif host in WILDCARDS:
            host = self._hostname
        return str(Origin("https" if self.is_tls else "http", host, self.listen.port))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names and IP addresses under which browsers of this network may come, for the node's own certificate."""
        numbers = (
            {address.host for address in own_addresses(self.listen)} if not is_loopback(self.listen.host) else set()
        )
        return tuple(sorted(self._names | numbers))

    def answers_to(self, request: web.Request) -> bool:
        """Whether the request names a host that this node is.

        A page of the web that lets its name resolve to this machine (DNS rebinding) still sends its own name. The
        very address that the connection came to is no name.
        """
        name = _host_of(request)
        arrived = request.get_extra_info("sockname")
        return name in self._names or (isinstance(arrived, tuple) and name == str(arrived[0]).partition("%")[0])

    def is_secure(self, request: web.Request) -> bool:
        """Whether the browser speaks TLS: with this listener, or with a proxy on this machine that keeps the name."""
        if self.is_tls:
            return True
        return self._public is not None and self._public.is_secure and _host_of(request) == self._public.host


def _host_of(request: web.Request) -> str:
    host = request.headers.get("Host", "").lower()
    return host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
