"""TLS 1.3 between nodes: who gets through the handshake is exactly the trust list of that moment.

Certificates are pinned, never judged: the accepted ones are the anchors, and none of them may issue another. What the
standard library and OpenSSL do here, and the rules that follow (each has a test in ``tests/unit/test_tls.py``):

* A context's anchors can be added to but not taken away, so each version of the trust list gets a fresh context. The
  listening context is empty (it accepts nobody) and its ``sni_callback``, which runs for every ClientHello, with or
  without a server name, assigns the context of the present version.
* That assignment exchanges certificate, key and anchors, but *not* ``verify_mode`` and ``verify_flags``: those stay as
  the listening context had them when the connection began. So the listening context itself asks for a certificate and
  is strict; an assigned one could neither demand nor waive it.
* The pairing context, which must waive it, is therefore chosen before the connection's own TLS begins
  (:class:`_Undecided`).
* A resumed session would bypass all this: no context issues tickets.
* In TLS 1.3 the client finishes before the server has judged its certificate: the client learns of a refusal by an
  alert on its first read.
"""

import os
import ssl
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node.crypto.identity import Identity, public_key_of_certificate
from node.errors.crypto_identity import TlsKeyUnusable

Context = TypeVar("Context", bound=ssl.SSLContext)

PAIRING_NAME = "pair.leveret.invalid"  # the server name that asks for the pairing context


class ServerTls:
    """The accepting side. ``context`` is for ``loop.create_server`` and its kin (asyncio, not blocking sockets).

    Trusts nobody, and pairs with nobody, until told so. Changes count from the next ClientHello on; connections that
    are up already are their owner's to abort.
    """

    def __init__(self, identity: Identity) -> None:
        """Raises TlsKeyUnusable."""
        self._identity = identity
        self._trusted: frozenset[bytes] = frozenset()
        self._current = _server_context(identity, ssl.SSLContext)
        self._pairing = _server_context(identity, _PairingContext)
        self._pairing.verify_mode = ssl.CERT_NONE
        self._listening = _server_context(identity, _ListeningContext)
        self._listening.sni_callback = self._assign

    @property
    def context(self) -> ssl.SSLContext:
        """The context to listen with; always the same."""
        return self._listening

    def set_trust(self, certificates: Iterable[bytes]) -> None:
        """From now on accept exactly these certificates (DER).

        Raises:
            BadCertificate: one of them is not a node's certificate; nothing is changed.
        """
        wanted = frozenset(certificates)
        for certificate in wanted - self._trusted:
            public_key_of_certificate(certificate)
        context = _server_context(self._identity, ssl.SSLContext)
        _load_anchors(context, wanted)
        self._current, self._trusted = context, wanted

    def open_pairing(self, is_open: bool) -> None:  # noqa: FBT001 - the one thing it is about
        """Whether the server name PAIRING_NAME gets a context that asks for no client certificate."""
        self._listening.pairing = self._pairing if is_open else None

    def _assign(self, tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        if name == PAIRING_NAME:  # pairing is closed, or the connection would not have come here
            return int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        tls.context = self._current
        return None


def client_context(identity: Identity, peer_certificate: bytes) -> ssl.SSLContext:
    """For connections to one peer: presents ``identity``, accepts ``peer_certificate`` (DER) and nothing else.

    Raises:
        BadCertificate: that is not a node's certificate. TlsKeyUnusable: no /proc.
    """
    context = pairing_client_context(peer_certificate)
    load_key(context, identity)
    return context


def pairing_client_context(inviter_certificate: bytes) -> ssl.SSLContext:
    """For joining: presents no certificate, accepts the inviter's (DER) and nothing else.

    Connect with the server name PAIRING_NAME. Raises BadCertificate.
    """
    public_key_of_certificate(inviter_certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate is pinned; where it answers does not matter
    _harden(context)
    _load_anchors(context, [inviter_certificate])
    return context


def peer_key_of(tls: ssl.SSLObject) -> bytes | None:
    """The public key of the node at the other end of a connection that is up; None if it showed no certificate.

    ``tls`` is a transport's ``get_extra_info("ssl_object")``.
    """
    certificate = tls.getpeercert(binary_form=True)
    return None if certificate is None else public_key_of_certificate(certificate)


def is_pairing(tls: ssl.SSLObject) -> bool:
    """Whether the pairing context serves this connection: its client is a stranger, whatever it says later."""
    return isinstance(tls.context, _PairingContext)


class _PairingContext(ssl.SSLContext):
    """Marks the pairing context, so that a connection can be asked which context serves it."""


class _ListeningContext(ssl.SSLContext):
    """The context that a listener is given. Blocking sockets (``wrap_socket``) never get to the pairing context."""

    pairing: ssl.SSLContext | None = None  # while pairing is open

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Begin a connection; asyncio calls this once for each."""
        mutual = super().wrap_bio(incoming, outgoing, *args, **kwargs)
        if self.pairing is None:
            return mutual
        return cast("ssl.SSLObject", _Undecided(self, mutual, incoming, outgoing))


class _Undecided:
    """A connection while an invitation is open: mutual or pairing is decided by its ClientHello.

    The bytes of the ClientHello go to a probe, which stops at the server name, and then to the chosen one of the two. A
    ClientHello that the probe cannot read goes the mutual way, which refuses it. From then on this is nothing but the
    chosen object.
    """

    def __init__(
        self, listening: _ListeningContext, mutual: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        self._listening = listening
        self._chosen = mutual
        self._incoming = incoming
        self._outgoing = outgoing
        self._heard = bytearray()  # bounded: OpenSSL's limit for a ClientHello is 128 KiB
        self._ear = ssl.MemoryBIO()
        self._probe: _Probe | None = _make_probe(self._ear)

    def do_handshake(self) -> None:
        """As ``ssl.SSLObject.do_handshake``: raises SSLWantReadError until the other side has sent enough."""
        if self._probe is not None:
            self._listen(self._probe)
        self._chosen.do_handshake()

    def _listen(self, probe: "_Probe") -> None:
        new = self._incoming.read()
        self._heard += new
        self._ear.write(new)
        try:
            probe.do_handshake()
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError:  # always: either it knows the name now, or the ClientHello is none
            self._probe = None
        if probe.name == PAIRING_NAME and self._listening.pairing is not None:
            self._chosen = self._listening.pairing.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(bytes(self._heard))
        self._heard.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chosen, name)


class _Probe(ssl.SSLObject):
    """Reads a ClientHello with OpenSSL's own parser, as far as the server name, and answers nothing."""

    name: str | None = None


def _make_probe(ear: ssl.MemoryBIO) -> _Probe:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.sslobject_class = _Probe
    context.sni_callback = _overhear
    return cast("_Probe", context.wrap_bio(ear, ssl.MemoryBIO(), server_side=True))


def _overhear(tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int:
    cast("_Probe", tls).name = name
    return int(ssl.ALERT_DESCRIPTION_INTERNAL_ERROR)  # ends the probe's handshake; nobody is sent this


def _harden(context: ssl.SSLContext) -> None:
    """What every context of a node has, on both sides."""
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT


def _server_context(identity: Identity, kind: type[Context]) -> Context:
    context = kind(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.num_tickets = 0  # a resumed session would outlive its peer's removal
    load_key(context, identity)
    return context


def _load_anchors(context: ssl.SSLContext, certificates: Iterable[bytes]) -> None:
    if anchors := b"".join(certificates):
        context.load_verify_locations(cadata=anchors)


def load_key(context: ssl.SSLContext, identity: Identity) -> None:
    """Hand key and certificate to OpenSSL, which takes them from a path only: this one names memory, not a disk."""
    key = Ed25519PrivateKey.from_private_bytes(identity.seed)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem += ssl.DER_cert_to_PEM_cert(identity.certificate).encode()
    try:
        with os.fdopen(os.memfd_create("leveret", os.MFD_CLOEXEC), "wb", buffering=0) as memory:
            memory.write(pem)
            context.load_cert_chain(f"/proc/self/fd/{memory.fileno()}")
    except OSError as exc:  # ssl.SSLError is one
        raise TlsKeyUnusable from exc
