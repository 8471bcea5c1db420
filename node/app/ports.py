"""Looking whether the addresses are free before anything is opened, so that the usual mistake costs one line."""

import contextlib
import socket

from node.api.listener import bind_tcp
from node.api.reach import Reach
from node.config import Settings
from node.crypto.web_tls import check_files
from node.errors.setup import NotAnswering, cannot_listen
from node.errors.trust import InvalidAddress
from node.model.trust import Address

_SELF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # who listens everywhere answers here  # noqa: S104 - compared, not bound
_CONNECT_SECONDS = 3.0


def check_ports(settings: Settings) -> None:
    """Bind each address of ``settings`` for a moment.

    Raises:
        PortInUse, AddressUnavailable: another program listens there, or the address is not this machine's.
        InvalidAddress, ApiNeedsTls: an address that cannot be listened on.
        WebTlsUnusable: the API's certificate cannot be shown.
    """
    with contextlib.ExitStack() as stack:
        for name, text in (
            ("peer.listen", settings.peer.listen),
            ("dicom.listen", settings.dicom.listen),
            ("dicom.tls_listen", settings.dicom.tls_listen),
        ):
            if text or not name.endswith("tls_listen"):
                stack.enter_context(_bound(listen_address(name, text)))
        listen_address("api.listen", settings.api.listen)  # names the setting
        stack.enter_context(bind_tcp(Reach(settings.api).listen))
        check_files(settings.api.tls_certificate, settings.api.tls_key)


def check_answering(settings: Settings) -> None:
    """Connect to each address of ``settings``, behind which this node's daemon is running, for a moment.

    Raises:
        NotAnswering: nobody accepts a connection there.
        InvalidAddress: an address that cannot be listened on.
    """
    listens = {
        "peer.listen": settings.peer.listen,
        "dicom.listen": settings.dicom.listen,
        "api.listen": settings.api.listen,
    }
    if settings.dicom.tls_listen:
        listens["dicom.tls_listen"] = settings.dicom.tls_listen
    for name, text in listens.items():
        address = listen_address(name, text)
        if not address.port:  # any free one; the daemon alone knows which
            continue
        host = _SELF.get(address.host, address.host)
        try:
            socket.create_connection((host, address.port), _CONNECT_SECONDS).close()
        except OSError as exc:
            raise NotAnswering(f"{name} = {address}") from exc


def listen_address(name: str, text: str) -> Address:
    """The address that the setting ``name`` says. Raises InvalidAddress, which names the setting."""
    try:
        return Address.parse(text, allow_any_port=True)
    except InvalidAddress as exc:
        section, _, key = name.partition(".")
        raise InvalidAddress(f"[{section}] {key}") from exc


def _bound(listen: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        return socket.create_server((listen.host, listen.port), family=family)
    except OSError as exc:
        raise cannot_listen(str(listen), exc) from exc
