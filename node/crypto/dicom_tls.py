"""DICOM TLS: contexts of the BCP 195 profile (PS3.15 section B.9) for the DICOM listener and for calls to a PACS.

Unlike between nodes, the certificates are the hospital's: signed by an authority it chose, or pinned one by one. TLS
1.3, and TLS 1.2 with the forward-secret AEAD suites that the profile asks for; nothing older, no renegotiation.
"""

import ssl

from node.crypto.identity import Identity
from node.crypto.tls import load_key
from node.errors.dimse import DicomTlsUnusable

# RFC 9325 section 4.2: the suites recommended for TLS 1.2. Those of TLS 1.3 are all AEAD.
_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)


class KeyPair:
    """What this node shows to DICOM systems: files that an operator names (PEM), else its own identity."""

    def __init__(self, identity: Identity, certificate: str = "", key: str = "") -> None:
        """Raises DicomTlsUnusable: one of the two files is named without the other."""
        if bool(certificate) != bool(key):
            raise DicomTlsUnusable("a certificate and its key belong together")
        self._identity = identity
        self._certificate = certificate
        self._key = key

    def load(self, context: ssl.SSLContext) -> None:
        """Raises DicomTlsUnusable: a file cannot be read, or they do not belong together."""
        if not self._certificate:
            load_key(context, self._identity)
            return
        try:
            # Empty: a key that needs a password is refused, where OpenSSL would ask on the terminal.
            context.load_cert_chain(self._certificate, self._key, password=b"")
        except (OSError, ssl.SSLError) as exc:
            raise DicomTlsUnusable("certificate and key") from exc


def server_context(pair: KeyPair, client_ca: str) -> ssl.SSLContext:
    """To listen with. ``client_ca``: a PEM file; callers must then show a certificate signed by one of these.

    Raises DicomTlsUnusable.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    pair.load(context)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cafile=client_ca)
        except OSError as exc:  # ssl.SSLError is one
            raise DicomTlsUnusable("authorities of callers") from exc
    return context


def client_context(pair: KeyPair, ca: str) -> ssl.SSLContext:
    """To call with: shows ``pair`` if asked, accepts who is signed by (or is) a certificate of ``ca``, PEM.

    The name in the certificate is not looked at: hospital networks call by address, and ``ca`` is entered for one
    system. Raises DicomTlsUnusable.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # `ca` may be the system's own certificate
    pair.load(context)
    try:
        context.load_verify_locations(cadata=ca)
    except (OSError, ValueError) as exc:
        raise DicomTlsUnusable("the authority of the DICOM system") from exc
    return context


def _context(protocol: "ssl._SSLMethod") -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context
