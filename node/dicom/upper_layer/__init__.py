"""The DICOM upper layer (PS3.8), and of PS3.7 what storage, queries, retrieval and storage commitment need.

**A protocol as a small library.** Everything below ``association`` and ``wire`` is bytes in, values out: no sockets, no
clock, no tasks. ``framing`` cuts the byte stream into PDUs without copying; ``pdu`` and ``items`` read and write them;
``table`` is the state machine of PS3.8 section 9.2 as a table; ``machine`` joins the three to one association as one
side sees it. ``negotiation`` decides what to accept; ``command`` and ``messages`` make DIMSE messages of presentation
data values, ``incoming`` says what a request asks for, ``outgoing`` cuts what is sent into fragments. ``watch`` says
when to lose patience, from times it is given.

**Two kinds of trouble.** ``LocalProtocolError``: we asked for what the state does not allow; nothing has changed, and
it is a defect of ours. ``RemoteProtocolError``: the peer broke the protocol; the machine answers as the standard says
(A-ABORT) and tells. Neither leaves this package.

**Nobody is trusted.** Each length that a peer sends is compared with a named limit (``limits``) before anything of that
size is kept. A P-DATA-TF is handed on in pieces as it arrives, so that its length, and that of a data set, cost no
memory here. Data sets in memory are bounded each and together (``intake``); larger ones are streamed to whoever stores
them, at the pace of the disk. A peer that says nothing, trickles, does not read its answers, or only connects is cut.

**On asyncio.** ``association`` drives one accepted machine over one transport: what bytes cause happens at once in the
transport's callback; only storing and operations (``operation``) are tasks. While a complete instance is being stored,
nothing is read from its sender; during an operation reading goes on, for the C-CANCEL, and the operation may ask its
caller back (``dialogue``). ``server`` listens, bounds, watches and ends. ``requestor`` calls other systems, over
``wire``.
"""
