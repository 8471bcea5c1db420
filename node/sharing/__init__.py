"""What a facility does with its studies and its peers: one module a use case.

The only room that sees peers, store and DICOM together. It knows nothing of HTTP: the local API (``api``) and the peer
handlers (``peers.handlers_*``) verify, decode, and call one use case each.

**In.** ``ingest`` takes instances from every door and closes revisions; ``imports`` keeps the runs of `leveret import`.

**Known.** ``trust`` is who may speak to this node, ``pairing`` how a facility becomes one of them (``cards``,
``invitations``). ``announce`` writes a feed for each peer, ``feeds`` follows theirs; ``answers`` serves questions about
patients, ``locate`` asks them.

**Out.** ``share_codes`` makes consents. ``holder`` takes requests and decides (``release``: the facts, and what is
written), ``inbox`` lets a person decide, ``serve`` streams what was released (``stream``), ``receipts`` ends it.

**Over here.** ``requests`` asks (``asking``, ``subjects``) and ``transfer`` drives what was granted: ``inbound`` goes
through one transfer's states, ``pull`` and ``incoming`` bring its instances in, within a ``budget`` of memory.

Whatever matters to a patient is one transaction: the decision, the use of the code and the audit event (``audit``
signs and proves that log). Nothing is told, sent or shown before it is durable. ``users`` are the people of this
facility who call.
"""
