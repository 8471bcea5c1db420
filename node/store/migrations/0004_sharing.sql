-- Consent, requests and transfers (DESIGN: consent, request, release; transfer). UIDs and patients stand here in clear:
-- the whole index is encrypted. Peers are the 32 bytes of their PeerId, ids 16 random bytes, times seconds since the epoch.

-- A share code that this facility gave to a patient. The code itself is not kept: only the name under which a request
-- looks it up and the key that checks the proof, both derived from it.
CREATE TABLE share_code (
    consent_id BLOB    NOT NULL PRIMARY KEY CHECK (length(consent_id) = 16),
    lookup_id  BLOB    NOT NULL UNIQUE,
    mac_key    BLOB    NOT NULL,
    issuer     TEXT    NOT NULL,
    patient_id TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    uses       INTEGER NOT NULL CHECK (uses > 0),
    used       INTEGER NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND uses),
    failures   INTEGER NOT NULL DEFAULT 0,   -- proofs that named this code and were wrong
    locked_at  INTEGER,                      -- after too many of them
    revoked_at INTEGER
) STRICT;
CREATE INDEX share_code_patient ON share_code (issuer, patient_id);

-- What a share code covers: these studies and no others, fixed when it was made.
CREATE TABLE share_code_study (
    consent_id BLOB NOT NULL REFERENCES share_code (consent_id) ON DELETE CASCADE,
    study_uid  TEXT NOT NULL,
    PRIMARY KEY (consent_id, study_uid)
) STRICT, WITHOUT ROWID;

-- How often a peer failed to prove a share code on one day (days since the epoch); older days may be deleted.
CREATE TABLE code_failure (
    peer     BLOB    NOT NULL CHECK (length(peer) = 32),
    day      INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    PRIMARY KEY (peer, day)
) STRICT, WITHOUT ROWID;

-- A request that a peer made here. The primary key is what stops a replay: its row is written in the transaction that
-- consumes the use and records the decision, before a byte leaves. The same request again finds its answer here.
CREATE TABLE request_received (
    request_id  BLOB    NOT NULL PRIMARY KEY CHECK (length(request_id) = 16),
    peer        BLOB    NOT NULL CHECK (length(peer) = 32),
    digest      BLOB    NOT NULL CHECK (length(digest) = 32),  -- SHA-256 of the body
    body        BLOB    NOT NULL,                              -- exactly as it was signed
    consent_id  BLOB REFERENCES share_code (consent_id),       -- of the code that it proved
    state       TEXT    NOT NULL CHECK (state IN ('REVIEW', 'PERMITTED', 'REFUSED', 'FAILED')),
    code        TEXT    NOT NULL DEFAULT '',                   -- why it was refused
    reasons     TEXT    NOT NULL DEFAULT '',                   -- why a person must look, blank-separated
    received_at INTEGER NOT NULL,
    decided_at  INTEGER NOT NULL,
    decided_by  TEXT    NOT NULL                               -- 'node', or who decided in the inbox
) STRICT;
CREATE INDEX request_received_state ON request_received (state, received_at);
CREATE INDEX request_received_consent ON request_received (consent_id);

-- A request that this node made of a peer. `body` and the proof are sent again until there is an answer; the share code
-- itself is never kept.
CREATE TABLE request_sent (
    request_id BLOB    NOT NULL PRIMARY KEY CHECK (length(request_id) = 16),
    peer       BLOB    NOT NULL CHECK (length(peer) = 32),
    body       BLOB    NOT NULL,
    lookup_id  BLOB,
    mac        BLOB,
    state      TEXT    NOT NULL CHECK (state IN ('ASKED', 'REVIEW', 'PERMITTED', 'REFUSED', 'FAILED')),
    code       TEXT    NOT NULL DEFAULT '',
    user       TEXT    NOT NULL,
    timeout    INTEGER NOT NULL,              -- seconds without contact after which an unanswered request fails
    created_at INTEGER NOT NULL
) STRICT;

-- A transfer, in either direction, under the id of its request. Written QUEUED (in) or AUTHORIZED (out); the manifest is
-- the holder's JWS exactly as signed, and its hash is what the receipt is about.
CREATE TABLE transfer (
    request_id      BLOB    NOT NULL PRIMARY KEY CHECK (length(request_id) = 16),
    direction       TEXT    NOT NULL CHECK (direction IN ('in', 'out')),
    peer            BLOB    NOT NULL CHECK (length(peer) = 32),
    state           TEXT    NOT NULL CHECK (state IN
        ('QUEUED', 'AUTHORIZED', 'TRANSFERRING', 'SUSPENDED', 'VERIFYING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    code            TEXT    NOT NULL DEFAULT '',
    manifest        TEXT,
    manifest_digest BLOB,
    expires_at      INTEGER,                  -- of the release
    instances_total INTEGER NOT NULL DEFAULT 0,
    bytes_total     INTEGER NOT NULL DEFAULT 0,
    instances_done  INTEGER NOT NULL DEFAULT 0,
    bytes_done      INTEGER NOT NULL DEFAULT 0,
    wire_bytes      INTEGER NOT NULL DEFAULT 0,
    seconds         REAL    NOT NULL DEFAULT 0,
    receipt         TEXT,                     -- the recipient's JWS
    receipt_done_at INTEGER,                  -- in: the holder acknowledged it (or never will); out: when it came
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX transfer_state ON transfer (direction, state);
CREATE INDEX transfer_newest ON transfer (created_at);

-- Which studies a transfer carries, and at which revision.
CREATE TABLE transfer_study (
    request_id BLOB    NOT NULL REFERENCES transfer (request_id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    study_uid  TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    PRIMARY KEY (request_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX transfer_study_uid ON transfer_study (study_uid);
