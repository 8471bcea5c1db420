"""What speaks DICOM: files, data sets, media, the Storage SCP, DICOM JSON.

**Who is trusted.** Nobody: a data set may come from a CD, a broken modality or an attacker, and plain parsers can be
made to use gigabytes by a few hundred kilobytes. So the daemon itself looks only at what has one meaning and a known
bound: the file meta information of a file (``part10``), command sets and PDUs of an association (``upper_layer``),
the items of encapsulated pixel data. Everything else is parsed in worker processes (``pool``, ``process``,
``worker``) that have limits on memory and time, hold no key, can write no file, and die with the daemon. What a
worker answers is decoded strictly.

**What is kept.** The bytes of the data set, exactly as they came: odd lengths, wrong VRs, unknown SOP classes and
transfer syntaxes and all. The index gets a handful of elements, decoded to UTF-8; nothing is ever written back.
Refused is only what cannot be kept honestly: a data set that ends in the middle of an element, that lacks one of its
four UIDs or has one that is none, a file that does not say its transfer syntax.

**How a header is read.** ``structure`` walks a data set without keeping values; ``scan`` picks out the elements of
``model.instance.InstanceHeader``, an order of magnitude faster than pydicom. What is not plainly in the declared
encoding goes to pydicom (``heads``), in the worker. Both end in ``scan.facts_of`` and ``charset``, so that they
cannot differ about what a value means; the tests hold both against pydicom's own reading of every file it comes with.
``glance`` reads an ordinary image's header where it arrives; whatever is not plain goes to a worker.
A worker is given the first 16 KiB and asks for more only if it must: pixel data never crosses to it.

**The network.** ``upper_layer`` is the protocol (its docstring says how); ``scp`` decides who may associate and hands
instances to the sink: any storage class, the peer's first transfer syntax, success told only after the sink has said
that the bytes are durable (``received``). ``services`` lists what is served. Queries, retrieval and storage commitment
go to the sharing room; what callers name in them is read by ``identifier``, within limits.

**What leaves for a PACS.** ``contexts`` says in which forms to propose a study, ``outgoing`` makes the one that was
accepted: the stored bytes, a copy under the local patient's name (``reconcile``; ``recode``: in another encoding), or
another transfer syntax. What is deflated is read forward, within a limit (``inflate``).

**What is withdrawn or corrected.** ``keyobject`` reads rejection notes in a worker, ``keynote`` what it may believe of
one; ``corrected`` is the metadata of an instance whose patient was corrected.

**What a person imports.** ``sources`` finds files in folders, archives and media (``dicomdir``). **What a viewer
asks.** ``metadata`` is the DICOM JSON of a whole header (in the worker), ``jsonmodel`` that of QIDO-RS results.

**What is shown.** ``pixels`` says where the pixels of an instance lie, ``frames`` finds one frame with range reads;
both decode nothing. ``decode``, ``grayscale``, ``overlay`` and ``render`` make pictures and ``report`` makes pages, in
workers of their own that import numpy and the decoders when the first picture is asked for.
"""
