"""The store: what this node keeps, encrypted, and what it promises about it.

Two things lie on the disk. **Packs** (``packs.py``, ``pack_format.py``) are append-only files of encrypted objects,
each pack with objects of one study. **The index** (``engine.py``, ``migrations/``) is an SQLCipher database in WAL
mode. No file name and no byte of either shows a patient, a UID or a pixel; there are no other files, not for a
moment.

The order of things
===================

    study key durable → object durable → success told → row in the index

1. The row with a study's wrapped key is committed before the study's first object is written (``spaces.py``). A
   durable object whose key is not durable cannot exist.
2. An object is durable with one ``fdatasync``, which all puts that wait at that moment share (``packs.py``). The
   record carries, encrypted, everything that the index needs (``pack_format.RecordMeta``): when the object is
   durable, so is its place in the index, and C-STORE may answer success.
3. The index follows in batches (``indexer.py``), and notes for each pack how far it has come. A start after a crash
   reads on from there (``replay.py``): every whole record that verifies is indexed, what a crash tore off at the end
   is cut. A record is never acknowledged before the sync, so nothing acknowledged is in the torn part.
4. No pack is appended to by two runs: after replay all are sealed, and sealed files never change (a backup copies
   each of them once), but for the wrapped key of one object that somebody shreds (``quarantine.py``).
5. Rows decide again what the put decided (``index_rows.py``), under a unique SOP Instance UID. So replay may meet a
   record twice and still no instance is there twice.

How an object is kept
=====================

As it is, or packed (``codec.py``): cut into blocks that are shuffled and compressed, with a table at the end, so that
any range costs its blocks. What is packed travels to peers as it lies, and theirs is kept as it comes
(``packing.py``). Digest and size are always those of the data set.

What is one instance
====================

The SHA-256 of the data set without group 0002 decides. The same digest under the same SOP Instance UID is success
without writing. Another digest is *quarantine*: kept, never visible, never in the place of the first. Quarantined too
is what names a held study under another patient, a held series under another study, or a study of another origin.
Concurrent puts of one SOP Instance UID take turns (``intake.py``); a put looks at the index and at the records that are
durable but not in it yet.

What turns out to be wrong is *hidden* (``hiding.py``): its row leaves ``instance`` for ``hidden``, so that nothing else
has to know of it; a *tombstone* (``tombstones.py``) sees to it that what is buried arrives hidden. What was hidden
counts as held: a resend is success, and resurrects nothing. Old manifests still name it. Who a patient turned out to be
stands in ``identity.py`` and ``corrections.py``; under whom else a study's bytes may stand is no contradiction then.

What a transfer brings is *staged*: durable, and invisible until ``admission.py`` makes the whole study visible, closes
its revision and writes whatever else the caller's transaction holds, or nothing of all that.

What may be deleted, and when, is decided by ``retention.py``; ``scrub.py`` looks whether what lies on the disk is still
what was stored.

On the way to the disk
======================

Most of what a put costs is not the disk but the way there, so it is made short. Threads take whatever waits and bring
it back together (``workers.py``); in them a data set is hashed and packed while the rest of it arrives
(``preparing.py``), into memory that is used again (``buffers.py``); the index is asked from the same thread
(``direct.py``, ``known.py``). What is too large for memory goes into a pack of its own as it comes (``streaming.py``).

Keys
====

master key (key store) → study key (row ``space``) → data key (record header) → object. Each wrap is bound to object,
study and key version. Deleting a study (``removal.py``) removes its key row; secure_delete and a truncated write-ahead
log see to it that the wrapped key is not left in a free page, and the packs are unlinked.

When the disk fails
===================

A write that finds no space is taken back, and its puts are refused with ``DiskFull``; so are puts that would touch
the reserve, which the index needs to stay writable. After any other error, and after any error of fdatasync, the pack
is given up at its last durable byte and never synced again; its puts fail with ``StorageFailed``. Reading goes on in
every case. A damaged object is ``ObjectDamaged`` and names the object; not a byte of a chunk that does not verify is
handed out.

Other rooms' rows (trust, feeds, consents, requests, transfers, audit, users) are modules beside these: plain functions
that take a ``Read`` or a ``Write``.
"""
