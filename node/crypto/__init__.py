"""The crypto room: bytes in, bytes out. It knows neither files' meaning nor SQL nor HTTP, and it logs nothing.

Everything rests on two kinds of keys that are never mixed.

**The identity key** says who a node is. It is one Ed25519 key (``identity``), whose hash is the PeerId and from which
the node's one certificate follows byte for byte. A peer is trusted by pinning that certificate: ``tls`` makes the trust
list the set of accepted certificates, so that strangers fail in the handshake, before any of our code reads a byte of
theirs. The key signs five things, and no signature on one can be passed off as a signature on another, because the
signed bytes cannot be equal:

===================  ==================================================  ============================================
what                 signed bytes begin with                             set apart by
===================  ==================================================  ============================================
TLS 1.3 handshake    64 blanks, a context text, 00 (RFC 8446 4.4.3)      the blanks; holds a NUL
its certificate      30 82 (DER)                                         not a text; no domain begins so
binary messages      a ``Domain``, 00                                    the domain; holds a NUL
JWS (``jws``)        ``eyJ`` … of a fixed header that names the type     text without NUL, on one line
log notes            ``origin`` LF ``size`` LF, or ``cosignature/v1``    text without NUL, several lines; no size is
(``notes``)          LF ``time …`` LF                                    a word
===================  ==================================================  ============================================

Signed messages are verified as the exact bytes that came, in the one form that is accepted. Nothing in them chooses an
algorithm. Formats have one encoding for one meaning: base64 with stray bits, a header with another order of members or
a certificate with one field more is refused, not normalised.

**The master key** says who may read what is stored; it wraps study keys, which wrap object keys.

=================  ====================================================================================================
``objects``        the format of stored objects: chunks of AES-256-GCM that commit to their key, readable from anywhere
``seal``           the same construction for small secrets, and derived keys
``keystore``       the file that keeps master key and identity, opened by what ``protect`` describes
``passwords``      what is kept of a local user's password
=================  ====================================================================================================

What nodes do with each other has constructions of its own:

=================  ====================================================================================================
``oprf``           asking a holder about a patient without telling it whom one means (RFC 9497)
``announce``       entries that only those can read who can name the patient; the signed batches that carry them
``pairing``        how two nodes that have never met come to pin each other's certificate: a secret in an invitation
                   proves the joiner to the inviter, the invitation's pin proves the inviter to the joiner, and a phrase
                   that both operators compare catches an exchanged invitation
``sharecode``      the code that a patient carries
``tlog``           proofs about append-only logs: this entry is in it, and nothing before it was changed
=================  ====================================================================================================

``dicom_tls`` has nothing to do with identities: TLS as hospital systems speak it, with the facility's own certificates.

Rules of the room:

* Foreign exceptions (``nacl``, ``cryptography``, ``voprf``) end here: what a hostile input can cause is a class of
  ``node.errors``; what only our own mistake can cause is a ``ValueError``. A failed handshake is asyncio's to raise.
* Secrets are compared in constant time and are not in ``repr``. OpenSSL gets the TLS key through memory, not a file.
* Each construction is a published one, named where it is used, and is tested against its published vectors.
"""
