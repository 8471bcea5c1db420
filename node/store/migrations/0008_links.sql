-- Received studies that a person here linked to a local patient, and the delivery of studies to a PACS.

-- A received study belongs to this local patient: said by a person, and taken back by deleting the row (the audit log
-- keeps who and when). What the person said of the patient beside the id stands here; where it is empty, the
-- facility's own studies of that patient say it at the moment of delivery.
CREATE TABLE study_link (
    study      TEXT    NOT NULL PRIMARY KEY,
    issuer     TEXT    NOT NULL,
    patient_id TEXT    NOT NULL CHECK (patient_id <> ''),
    name       TEXT    NOT NULL DEFAULT '',
    birth_date TEXT    NOT NULL DEFAULT '',
    sex        TEXT    NOT NULL DEFAULT '',
    linked_at  INTEGER NOT NULL,
    linked_by  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX study_link_patient ON study_link (patient_id, issuer);

-- A study that is gone belongs to nobody.
CREATE TRIGGER linked_study_deleted AFTER DELETE ON study BEGIN
    DELETE FROM study_link WHERE study = OLD.uid;
END;

-- An order to send a study to a PACS. `request_id` is set while, or because, the study comes by that request; `issuer`
-- and `patient_id` are the local patient that the request named and, from the first attempt on, the one under whom the
-- study is delivered (empty: as it is). `accession` is the local accession number, if one was given.
CREATE TABLE delivery (
    delivery_id     BLOB    NOT NULL PRIMARY KEY CHECK (length(delivery_id) = 16),
    study           TEXT    NOT NULL,            -- empty until a request has brought it
    pacs            TEXT    NOT NULL,
    request_id      BLOB    CHECK (length(request_id) = 16),
    issuer          TEXT    NOT NULL DEFAULT '',
    patient_id      TEXT    NOT NULL DEFAULT '',
    accession       TEXT    NOT NULL DEFAULT '',
    state           TEXT    NOT NULL CHECK (state IN
        ('EXPECTED', 'UNLINKED', 'QUEUED', 'SENDING', 'SUSPENDED', 'COMPLETED', 'INCOMPLETE', 'FAILED', 'CANCELLED')),
    code            TEXT    NOT NULL DEFAULT '',  -- why it waits, stands still or failed
    attempts        INTEGER NOT NULL DEFAULT 0,   -- in a row that got nothing done
    instances_total INTEGER NOT NULL DEFAULT 0,
    bytes_total     INTEGER NOT NULL DEFAULT 0,
    ordered_by      TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX delivery_newest ON delivery (created_at);
CREATE INDEX delivery_state ON delivery (state);
CREATE INDEX delivery_request ON delivery (request_id) WHERE request_id IS NOT NULL;

-- What became of one instance. An instance without a row is still to be sent.
CREATE TABLE delivery_instance (
    delivery_id BLOB    NOT NULL REFERENCES delivery (delivery_id) ON DELETE CASCADE,
    instance    TEXT    NOT NULL,
    outcome     TEXT    NOT NULL CHECK (outcome IN ('sent', 'warning', 'refused', 'not_convertible')),
    status      INTEGER,                        -- that the PACS answered (PS3.4 table B.2-1)
    code        TEXT    NOT NULL DEFAULT '',    -- why it was not sent
    syntax      TEXT    NOT NULL DEFAULT '',    -- transfer syntax in which it was sent
    converted   TEXT    NOT NULL DEFAULT '',    -- '', 'lossless', or 'lossy_decoded': what was done to its encoding
    size        INTEGER NOT NULL,               -- of the stored data set
    PRIMARY KEY (delivery_id, instance)
) STRICT, WITHOUT ROWID;
