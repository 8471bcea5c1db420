-- The facility's own DICOM systems, and what they asked this node to commit to.

-- A DICOM system that an operator entered: it may query and retrieve, and studies may be sent to it.
CREATE TABLE pacs (
    name             TEXT    NOT NULL PRIMARY KEY,
    ae_title         TEXT    NOT NULL UNIQUE,  -- a Move Destination is named by it alone
    host             TEXT    NOT NULL,         -- name or IP address
    port             INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    calls_from       TEXT    NOT NULL,         -- further addresses or networks that it calls from, comma-separated
    tls              INTEGER NOT NULL CHECK (tls IN (0, 1)),
    ca               TEXT    NOT NULL,         -- PEM: who signs its certificate, or the certificate itself
    same_association INTEGER NOT NULL CHECK (same_association IN (0, 1)), -- 1: takes commitment reports where it asked
    added_at         INTEGER NOT NULL          -- seconds since the epoch, as all times here
) STRICT, WITHOUT ROWID;

-- A request for storage commitment (PS3.4 annex J) that was accepted and whose report is to be delivered. `items` is a
-- JSON list of [SOP class UID, SOP instance UID]. What became of each is looked up when the report is made.
CREATE TABLE commitment (
    id              INTEGER PRIMARY KEY,
    ae_title        TEXT    NOT NULL, -- who asked
    transaction_uid TEXT    NOT NULL,
    items           TEXT    NOT NULL,
    requested_at    INTEGER NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_at         INTEGER,          -- when the report is tried next; NULL: it was delivered, or given up
    reported_at     INTEGER,          -- when it was delivered
    UNIQUE (ae_title, transaction_uid)
) STRICT;
CREATE INDEX commitment_due ON commitment (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX commitment_age ON commitment (requested_at);
