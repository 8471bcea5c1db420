"""What a facility does with its studies and its peers: one module a use case.

The only room that sees peers, store and DICOM together. It knows nothing of HTTP: the local API (``api``) and the peer
handlers (``peers.handlers_*``) verify, decode, and call one use case each.

**In.** ``ingest`` takes instances from every door and closes revisions; ``imports`` keeps the runs of `leveret import`.

**Put right.** ``rejections`` reads notes that say which images must not be used, ``corrections`` says who a patient
really is, ``quarantine`` decides about what contradicts what is held. Whatever was wrong is withdrawn: ``withdrawals``
tells everybody it was released to, ``withdrawn`` is what a node does that is told, ``history`` what a study was.

**Kept.** ``retention`` deletes what is old enough or not wanted, ``scrub`` reads everything now and then and finds what
the disk has lost.

**Known.** ``trust`` is who may speak to this node, ``pairing`` how a facility becomes one of them (``cards``,
``invitations``). ``announce`` writes a feed for each peer, ``feeds`` follows theirs; ``answers`` serves questions about
patients, ``locate`` asks them.

**Consent.** ``share_codes`` makes codes, ``consents`` keeps what patients allowed and forbade (``fhir_consent``: as
FHIR), ``emergencies`` what broke the glass, to be looked at later. ``evidence`` says what the consent is worth that a
request brings, ``on_file`` what announcements may tell because of it, ``endings`` what stops when it is taken back.

**Out.** ``holder`` takes requests and decides (``release``: the facts, and what is written), ``inbox`` lets a person
decide, ``serve`` streams what was released (``stream``), ``receipts`` ends it. ``offers`` begins from the other end: a
facility sends what nobody asked for, and the recipient's request takes it.

**Over here.** ``requests`` asks (``asking``, ``subjects``) and ``transfer`` drives what was granted: ``inbound`` goes
through one transfer's states, ``pull`` and ``incoming`` bring its instances in, within a ``budget`` of memory.

**To the facility's own systems.** ``pacs`` knows them and ``pacs_test`` tries them out; ``outward`` says what they may
have: one's own studies, and received ones that a person linked to a local patient (``links``, ``local_identity``).
``dimse`` answers them, by ``find``, ``retrieve`` and ``commitment``; ``search`` is what can be asked, over DICOMweb
too. ``deliveries`` are orders to send, ``delivery_engine`` carries each to its end by the steps in ``delivering``, and
``sender`` is one attempt.

Whatever matters to a patient is one transaction: the decision, the use of the code and the audit event. ``audit``
signs and proves that log, ``witness`` has peers co-sign it, ``export`` says it in other systems' words. Nothing is
told, sent or shown before it is durable, and ``reading`` waits until it can be read. ``users`` are the people of this
facility who call.
"""
