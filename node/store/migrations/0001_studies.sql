-- Studies, series, instances, and where their bytes lie. The whole index is encrypted (SQLCipher), so PHI may stand here.
-- UIDs are TEXT, random names BLOB(16), digests BLOB(32), times seconds since the Unix epoch, dates as in DICOM (YYYYMMDD).

-- A study's space: its random name and its key (wrapped under the master key). Committed before the first object of the
-- study is written; deleting this row makes every object of the study unreadable for ever (crypto-shredding).
CREATE TABLE space (
    ref         BLOB    PRIMARY KEY CHECK (length(ref) = 16),
    study_uid   TEXT    NOT NULL UNIQUE,
    key_version INTEGER NOT NULL,
    wrapped_key BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- A pack: one append-only file with objects of one space. What lies before `indexed_bytes` is in the tables below; what
-- lies behind it is read again at the next start, unless the pack is sealed (nothing will be appended, the rest is void).
-- `transfer` is set for a pack that holds what one transfer brought.
CREATE TABLE pack (
    name          BLOB    PRIMARY KEY CHECK (length(name) = 16),
    space         BLOB    NOT NULL REFERENCES space (ref) ON DELETE CASCADE,
    transfer      BLOB,
    indexed_bytes INTEGER NOT NULL,
    sealed        INTEGER NOT NULL DEFAULT 0 CHECK (sealed IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX pack_space ON pack (space);
CREATE INDEX pack_unsealed ON pack (name) WHERE sealed = 0;
CREATE INDEX pack_transfer ON pack (transfer) WHERE transfer IS NOT NULL;

-- A pack whose rows are gone and whose file is yet to be unlinked; written in the transaction that removed the rows.
CREATE TABLE doomed_pack (
    name BLOB PRIMARY KEY CHECK (length(name) = 16)
) STRICT, WITHOUT ROWID;

-- A study of which at least one instance can be seen. Patient and study level attributes are those of the instance that
-- came first. The three sums save a scan of `instance` wherever a list of studies is shown.
CREATE TABLE study (
    id                  INTEGER PRIMARY KEY,
    uid                 TEXT    NOT NULL UNIQUE,
    space               BLOB    NOT NULL UNIQUE REFERENCES space (ref),
    issuer              TEXT    NOT NULL,
    patient_id          TEXT    NOT NULL,
    patient_name        TEXT    NOT NULL,
    patient_name_match  TEXT    NOT NULL, -- folded for matching: no case, no accents
    patient_name_raw    BLOB    NOT NULL, -- the bytes as received
    birth_date          TEXT    NOT NULL,
    sex                 TEXT    NOT NULL,
    character_set       TEXT    NOT NULL,
    date                TEXT    NOT NULL,
    time                TEXT    NOT NULL,
    accession_number    TEXT    NOT NULL,
    study_id            TEXT    NOT NULL,
    description         TEXT    NOT NULL,
    referring_physician TEXT    NOT NULL,
    origin              BLOB,                       -- PeerId of the facility it was received from; NULL: one's own
    has_report          INTEGER NOT NULL DEFAULT 0, -- 1: holds a report document (SR, encapsulated PDF or CDA)
    series              INTEGER NOT NULL DEFAULT 0,
    instances           INTEGER NOT NULL DEFAULT 0,
    bytes               INTEGER NOT NULL DEFAULT 0,
    revision            INTEGER NOT NULL DEFAULT 0, -- the last closed one
    revision_open       INTEGER NOT NULL DEFAULT 1, -- 1: instances came since
    changed_at          INTEGER NOT NULL            -- when the last instance came
) STRICT;
CREATE INDEX study_patient ON study (patient_id, issuer);
CREATE INDEX study_name ON study (patient_name_match);
CREATE INDEX study_date ON study (date);
CREATE INDEX study_accession ON study (accession_number);
CREATE INDEX study_open ON study (changed_at) WHERE revision_open = 1;

CREATE TABLE series (
    id          INTEGER PRIMARY KEY,
    study_id    INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    uid         TEXT    NOT NULL UNIQUE,
    modality    TEXT    NOT NULL,
    number      TEXT    NOT NULL,
    description TEXT    NOT NULL,
    body_part   TEXT    NOT NULL,
    date        TEXT    NOT NULL,
    time        TEXT    NOT NULL,
    instances   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX series_study ON series (study_id, modality, body_part);

-- An instance that can be seen. `revision` is the first closed revision that contains it; NULL until one does.
CREATE TABLE instance (
    id              INTEGER PRIMARY KEY,
    series_id       INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    study_id        INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    uid             TEXT    NOT NULL UNIQUE,
    sop_class_uid   TEXT    NOT NULL,
    transfer_syntax TEXT    NOT NULL,
    number          TEXT    NOT NULL,
    rows            INTEGER NOT NULL,
    columns         INTEGER NOT NULL,
    frames          INTEGER NOT NULL,
    bits_allocated  INTEGER NOT NULL,
    file_meta       BLOB    NOT NULL,               -- group 0002 as received; empty if it came without
    size            INTEGER NOT NULL,               -- of the data set, in bytes
    digest          BLOB    NOT NULL CHECK (length(digest) = 32),
    object_id       BLOB    NOT NULL UNIQUE CHECK (length(object_id) = 16),
    pack            BLOB    NOT NULL REFERENCES pack (name),
    offset          INTEGER NOT NULL,               -- of its record in the pack
    revision        INTEGER,
    stored_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX instance_series ON instance (series_id);
CREATE INDEX instance_study ON instance (study_id, revision);
CREATE INDEX instance_pack ON instance (pack);

-- A closed revision of a study; its manifest is the study's instances whose `revision` is at most this number.
CREATE TABLE revision (
    study_id  INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    number    INTEGER NOT NULL,
    closed_at INTEGER NOT NULL,
    PRIMARY KEY (study_id, number)
) STRICT, WITHOUT ROWID;

-- What a transfer has brought so far: durable, invisible until the transfer's study is admitted as a whole. `meta` is the
-- record's meta data (msgpack) from which the rows above are made.
CREATE TABLE staged (
    transfer  BLOB    NOT NULL CHECK (length(transfer) = 16),
    uid       TEXT    NOT NULL,
    study_uid TEXT    NOT NULL,
    digest    BLOB    NOT NULL,
    object_id BLOB    NOT NULL UNIQUE,
    pack      BLOB    NOT NULL REFERENCES pack (name),
    offset    INTEGER NOT NULL,
    meta      BLOB    NOT NULL,
    PRIMARY KEY (transfer, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX staged_study ON staged (study_uid);
CREATE INDEX staged_pack ON staged (pack);

-- What came in and contradicts what is held: kept, never shown, never in the place of what was there first.
CREATE TABLE quarantine (
    id        INTEGER PRIMARY KEY,
    uid       TEXT    NOT NULL,
    study_uid TEXT    NOT NULL,
    digest    BLOB    NOT NULL,
    reason    TEXT    NOT NULL, -- content_differs, patient_differs or series_differs
    object_id BLOB    NOT NULL UNIQUE,
    pack      BLOB    NOT NULL REFERENCES pack (name),
    offset    INTEGER NOT NULL,
    meta      BLOB    NOT NULL,
    at        INTEGER NOT NULL,
    UNIQUE (uid, digest)
) STRICT;
CREATE INDEX quarantine_uid ON quarantine (uid);
CREATE INDEX quarantine_study ON quarantine (study_uid);
CREATE INDEX quarantine_pack ON quarantine (pack);
