-- What is not shown any more, and why: withdrawals, rejection notes, corrected identities, the history of revisions.
-- UIDs, patients and peers stand as in the other files.

-- An instance that was visible, or would have become it, and is hidden: kept, in no list and no answer. `revision` is
-- the first closed revision that contains it, `removed_in` the first that does not any more (NULL: it was in none).
-- `meta` is the record's meta data (msgpack), as in `staged`.
CREATE TABLE hidden (
    id         INTEGER PRIMARY KEY,
    uid        TEXT    NOT NULL,
    study_uid  TEXT    NOT NULL,
    series_uid TEXT    NOT NULL,
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),
    reason     TEXT    NOT NULL CHECK (reason IN
        ('rejected_quality', 'rejected_safety', 'wrong_worklist_entry', 'rejection_note', 'retracted', 'superseded')),
    revision   INTEGER,
    removed_in INTEGER,
    object_id  BLOB    NOT NULL UNIQUE,
    pack       BLOB    NOT NULL REFERENCES pack (name),
    offset     INTEGER NOT NULL,
    meta       BLOB    NOT NULL,
    hidden_at  INTEGER NOT NULL,
    UNIQUE (uid, digest)
) STRICT;
CREATE INDEX hidden_study ON hidden (study_uid, series_uid);
CREATE INDEX hidden_pack ON hidden (pack);

-- What must stay hidden when it comes, or comes again: the instances of a study (`uid` empty: all of them) that are of
-- this origin (empty: one's own; a peer can only bury what is its own). `digest` empty: whatever the bytes.
CREATE TABLE tombstone (
    id        INTEGER PRIMARY KEY,
    study_uid TEXT    NOT NULL,
    uid       TEXT    NOT NULL DEFAULT '',
    origin    BLOB    NOT NULL DEFAULT x'' CHECK (length(origin) IN (0, 32)),
    digest    BLOB    NOT NULL DEFAULT x'' CHECK (length(digest) IN (0, 32)),
    reason    TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    UNIQUE (study_uid, uid, origin, digest)
) STRICT;

-- A study of which nothing can be seen any more, as it was last. `revision` goes on if something of it can be seen again.
CREATE TABLE withdrawn_study (
    uid          TEXT    NOT NULL PRIMARY KEY,
    issuer       TEXT    NOT NULL,
    patient_id   TEXT    NOT NULL,
    patient_name TEXT    NOT NULL,
    birth_date   TEXT    NOT NULL,
    sex          TEXT    NOT NULL,
    date         TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    modalities   TEXT    NOT NULL,            -- JSON array
    origin       BLOB,
    instances    INTEGER NOT NULL,
    revision     INTEGER NOT NULL,
    reason       TEXT    NOT NULL,            -- as in `hidden`
    words        TEXT    NOT NULL,            -- why, for people
    at           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Why each revision of a study was closed, and what it then consisted of.
CREATE TABLE revision_history (
    study_uid TEXT    NOT NULL,
    number    INTEGER NOT NULL,
    closed_at INTEGER NOT NULL,
    cause     TEXT    NOT NULL CHECK (cause IN ('instances', 'rejection', 'replacement', 'correction', 'retraction')),
    instances INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    PRIMARY KEY (study_uid, number)
) STRICT, WITHOUT ROWID;

INSERT INTO revision_history (study_uid, number, closed_at, cause, instances, bytes)
    SELECT s.uid, r.number, r.closed_at, 'instances',
        (SELECT count(*) FROM instance i WHERE i.study_id = s.id AND i.revision <= r.number),
        (SELECT coalesce(sum(i.size), 0) FROM instance i WHERE i.study_id = s.id AND i.revision <= r.number)
    FROM revision r JOIN study s ON s.id = r.study_id;

-- A correction of who a patient is. `kind`: merge (A40: one patient turned out to be another), correct (A08: what is
-- said of a patient was wrong), move (a study belongs to another patient). The new identity stands here, the old one of
-- each study below, so that a correction can be undone.
CREATE TABLE correction (
    correction  BLOB    NOT NULL PRIMARY KEY CHECK (length(correction) = 16),
    kind        TEXT    NOT NULL CHECK (kind IN ('merge', 'correct', 'move')),
    issuer      TEXT    NOT NULL,
    patient_id  TEXT    NOT NULL,
    into_issuer TEXT    NOT NULL,
    into_id     TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    birth_date  TEXT    NOT NULL,
    sex         TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    made_at     INTEGER NOT NULL,
    made_by     TEXT    NOT NULL,
    undone_at   INTEGER
) STRICT;

CREATE TABLE correction_study (
    correction BLOB NOT NULL REFERENCES correction (correction) ON DELETE CASCADE,
    study_uid  TEXT NOT NULL,
    issuer     TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    name       TEXT NOT NULL,
    birth_date TEXT NOT NULL,
    sex        TEXT NOT NULL,
    PRIMARY KEY (correction, study_uid)
) STRICT, WITHOUT ROWID;

-- Patients whose new studies are another patient's, because the two were merged or the id was corrected.
CREATE TABLE patient_alias (
    issuer     TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    correction BLOB NOT NULL REFERENCES correction (correction) ON DELETE CASCADE,
    PRIMARY KEY (issuer, patient_id)
) STRICT, WITHOUT ROWID;

-- Under whom else the bytes of a study's instances may stand: what does not contradict the study.
CREATE TABLE formerly (
    study_uid  TEXT NOT NULL,
    issuer     TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    PRIMARY KEY (study_uid, issuer, patient_id)
) STRICT, WITHOUT ROWID;

-- Key objects that were looked at: what is a rejection note was applied in the transaction of this row.
CREATE TABLE key_object_seen (
    uid TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE INDEX instance_key_object ON instance (uid) WHERE sop_class_uid = '1.2.840.10008.5.1.4.1.1.88.59';

-- What this node withdrew of its own. `words` is what recipients are told.
CREATE TABLE withdrawal (
    withdrawal BLOB    NOT NULL PRIMARY KEY CHECK (length(withdrawal) = 16),
    study_uid  TEXT    NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN
        ('retraction', 'rejection', 'replacement', 'correction', 'consent_revoked')),
    reason     TEXT    NOT NULL,              -- as in `hidden`; empty for a correction
    words      TEXT    NOT NULL,
    instances  INTEGER NOT NULL,
    made_at    INTEGER NOT NULL,
    made_by    TEXT    NOT NULL
) STRICT;
CREATE INDEX withdrawal_study ON withdrawal (study_uid);

-- One recipient of a withdrawal and the signed notice for it, exactly as it is sent. `position` is the order in which a
-- recipient is told. `code` is why the last attempt failed or why the recipient refuses; `ack` its signed word.
CREATE TABLE withdrawal_notice (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    notice     BLOB    NOT NULL UNIQUE CHECK (length(notice) = 16),
    withdrawal BLOB    NOT NULL REFERENCES withdrawal (withdrawal) ON DELETE CASCADE,
    peer       BLOB    NOT NULL CHECK (length(peer) = 32),
    token      TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('QUEUED', 'ACKNOWLEDGED', 'REFUSED')),
    code       TEXT    NOT NULL DEFAULT '',
    ack        TEXT,
    outcome    TEXT    NOT NULL DEFAULT '',   -- what the recipient says it did
    settled_at INTEGER
) STRICT;
CREATE INDEX withdrawal_notice_queue ON withdrawal_notice (peer, position) WHERE state = 'QUEUED';
CREATE INDEX withdrawal_notice_of ON withdrawal_notice (withdrawal);

-- The queue of one destination: when it is tried next, after how many failures in a row.
CREATE TABLE withdrawal_destination (
    peer       BLOB    NOT NULL PRIMARY KEY CHECK (length(peer) = 32),
    attempts   INTEGER NOT NULL,
    attempt_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A notice that an origin sent here, and what was answered: the same one again gets the same answer.
CREATE TABLE withdrawal_received (
    notice      BLOB    NOT NULL PRIMARY KEY CHECK (length(notice) = 16),
    peer        BLOB    NOT NULL CHECK (length(peer) = 32),
    study_uid   TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    words       TEXT    NOT NULL,
    instances   INTEGER NOT NULL,
    outcome     TEXT    NOT NULL,
    token       TEXT    NOT NULL,
    ack         TEXT    NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;
CREATE INDEX withdrawal_received_newest ON withdrawal_received (received_at);
