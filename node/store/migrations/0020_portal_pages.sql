-- What patients bring and ask for in the portal, and the key of the names by which its pages call studies.

-- One row: 32 random bytes. Pages name a study by a MAC of its UID and the account under this key, so that an address
-- tells nothing, means nothing to another account, and stays the same over restarts.
CREATE TABLE portal_handle_key (
    key BLOB NOT NULL CHECK (length(key) = 32)
) STRICT;
INSERT INTO portal_handle_key (key) VALUES (randomblob(32));

-- Images that a patient brought (a CD, a folder, a ZIP). While OPEN files arrive; WAITING for staff to look; the instances
-- are in `staged` under this id as their transfer until they are accepted. `actor` is who brought them, `issuer` and
-- `patient_id` whose they are said to be.
CREATE TABLE portal_upload (
    upload     BLOB    NOT NULL PRIMARY KEY CHECK (length(upload) = 16),
    actor      TEXT    NOT NULL,
    issuer     TEXT    NOT NULL,
    patient_id TEXT    NOT NULL,
    note       TEXT    NOT NULL,            -- what the patient says of them
    state      TEXT    NOT NULL CHECK (state IN ('OPEN', 'WAITING', 'ACCEPTED', 'REFUSED', 'DELETED')),
    files      INTEGER NOT NULL DEFAULT 0,  -- DICOM files that were taken
    bytes      INTEGER NOT NULL DEFAULT 0,
    refused    INTEGER NOT NULL DEFAULT 0,  -- files that are none, or cannot be read
    begun_at   INTEGER NOT NULL,            -- seconds since the epoch, as all times here
    decided_at INTEGER,
    decided_by TEXT    NOT NULL DEFAULT '',
    reason     TEXT    NOT NULL DEFAULT ''  -- why it was refused; the patient reads it
) STRICT, WITHOUT ROWID;
CREATE INDEX portal_upload_state ON portal_upload (state, begun_at);
CREATE INDEX portal_upload_actor ON portal_upload (actor, begun_at);

-- The studies that an accepted upload brought: what its patient may delete again.
CREATE TABLE portal_upload_study (
    upload    BLOB NOT NULL REFERENCES portal_upload (upload),
    study_uid TEXT NOT NULL,
    PRIMARY KEY (upload, study_uid)
) STRICT, WITHOUT ROWID;

-- What a patient asks of the facility about a record (a correction, an amendment), and what the facility answered.
CREATE TABLE portal_message (
    message     BLOB    NOT NULL PRIMARY KEY CHECK (length(message) = 16),
    actor       TEXT    NOT NULL,
    issuer      TEXT    NOT NULL,
    patient_id  TEXT    NOT NULL,
    study_uid   TEXT,                        -- NULL: not about one study
    kind        TEXT    NOT NULL CHECK (kind IN ('CORRECTION', 'AMENDMENT', 'QUESTION')),
    text        TEXT    NOT NULL,
    sent_at     INTEGER NOT NULL,
    answer      TEXT    NOT NULL DEFAULT '',
    outcome     TEXT    NOT NULL DEFAULT '' CHECK (outcome IN ('', 'DONE', 'DECLINED', 'ANSWERED')),
    answered_at INTEGER,
    answered_by TEXT    NOT NULL DEFAULT '',
    seen_at     INTEGER                      -- when the patient first saw the answer
) STRICT, WITHOUT ROWID;
CREATE INDEX portal_message_open ON portal_message (sent_at) WHERE answered_at IS NULL;
CREATE INDEX portal_message_actor ON portal_message (actor, sent_at);
