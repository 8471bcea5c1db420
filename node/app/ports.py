"""Looking whether the addresses are free before anything is opened, so that the usual mistake costs one line."""

import contextlib
import socket

from node.api.server import bind_tcp
from node.config import Settings
from node.errors.setup import cannot_listen
from node.model.trust import Address


def check_ports(settings: Settings) -> None:
    """Bind each address of ``settings`` for a moment.

    Raises:
        PortInUse, AddressUnavailable: another program listens there, or the address is not this machine's.
        InvalidAddress, ApiNeedsTls: an address that cannot be listened on.
    """
    with contextlib.ExitStack() as stack:
        for text in filter(None, (settings.peer.listen, settings.dicom.listen, settings.dicom.tls_listen)):
            stack.enter_context(_bound(Address.parse(text, allow_any_port=True)))
        stack.enter_context(bind_tcp(Address.parse(settings.api.listen, allow_any_port=True)))


def _bound(listen: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        return socket.create_server((listen.host, listen.port), family=family)
    except OSError as exc:
        raise cannot_listen(str(listen), exc) from exc
