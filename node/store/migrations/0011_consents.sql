-- The other kinds of consent (directives, patients' keys and grants, attestations, emergencies), and what an operator
-- allows a peer beyond share codes. Patients and UIDs stand here in clear: the whole index is encrypted.

ALTER TABLE peer ADD COLUMN accept_share_code INTEGER NOT NULL DEFAULT 1 CHECK (accept_share_code IN (0, 1));
ALTER TABLE peer ADD COLUMN accept_patient_key INTEGER NOT NULL DEFAULT 1 CHECK (accept_patient_key IN (0, 1));
ALTER TABLE peer ADD COLUMN accept_directive INTEGER NOT NULL DEFAULT 1 CHECK (accept_directive IN (0, 1));
ALTER TABLE peer ADD COLUMN daily_releases INTEGER NOT NULL DEFAULT 0 CHECK (daily_releases >= 0);
ALTER TABLE peer ADD COLUMN purposes TEXT NOT NULL DEFAULT '';
ALTER TABLE peer ADD COLUMN hours TEXT NOT NULL DEFAULT '';

-- What a patient allowed or forbade. Empty lists narrow nothing. A revoked one stays: releases refer to it.
CREATE TABLE directive (
    consent_id  BLOB    NOT NULL PRIMARY KEY CHECK (length(consent_id) = 16),
    issuer      TEXT    NOT NULL,
    patient_id  TEXT    NOT NULL,
    effect      TEXT    NOT NULL CHECK (effect IN ('PERMIT', 'DENY')),
    recipient   BLOB    CHECK (length(recipient) = 32), -- NULL: any trusted peer
    studies     TEXT    NOT NULL,                       -- JSON array of UIDs
    modalities  TEXT    NOT NULL,                       -- JSON array
    body_parts  TEXT    NOT NULL,                       -- JSON array
    from_date   TEXT    NOT NULL,                       -- of the study, YYYYMMDD or empty
    to_date     TEXT    NOT NULL,
    purposes    TEXT    NOT NULL,                       -- JSON array of purpose-of-use codes
    starts_at   INTEGER NOT NULL,
    until       INTEGER,
    created_at  INTEGER NOT NULL,
    recorded_by TEXT    NOT NULL,                       -- who saw the patient decide
    revoked_at  INTEGER
) STRICT;
CREATE INDEX directive_patient ON directive (issuer, patient_id);

-- A patient's own Ed25519 key, bound in person.
CREATE TABLE patient_key (
    public_key BLOB    NOT NULL PRIMARY KEY CHECK (length(public_key) = 32),
    issuer     TEXT    NOT NULL,
    patient_id TEXT    NOT NULL,
    bound_at   INTEGER NOT NULL,
    bound_by   TEXT    NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX patient_key_patient ON patient_key (issuer, patient_id);

-- What a request brought as its consent: a grant (written when it was first used), an attestation, an emergency.
CREATE TABLE brought_consent (
    consent_id BLOB    NOT NULL PRIMARY KEY CHECK (length(consent_id) = 16),
    kind       TEXT    NOT NULL CHECK (kind IN ('patient_key', 'attested', 'emergency')),
    peer       BLOB    NOT NULL CHECK (length(peer) = 32),
    issuer     TEXT    NOT NULL DEFAULT '',   -- of the patient whose images were released; empty: none yet
    patient_id TEXT    NOT NULL DEFAULT '',
    token      BLOB    NOT NULL,              -- grant: the patient's JWS; else the facts as they stood in the request
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX brought_consent_patient ON brought_consent (issuer, patient_id);

-- A release by break-glass that somebody must look at afterwards.
CREATE TABLE emergency_review (
    request_id  BLOB    NOT NULL PRIMARY KEY CHECK (length(request_id) = 16),
    consent_id  BLOB    NOT NULL,
    peer        BLOB    NOT NULL CHECK (length(peer) = 32),
    released_at INTEGER NOT NULL,
    reviewed_at INTEGER,
    reviewed_by TEXT    NOT NULL DEFAULT '',
    verdict     TEXT    NOT NULL DEFAULT '' CHECK (verdict IN ('', 'justified', 'unjustified')),
    note        TEXT    NOT NULL DEFAULT '',
    told_at     INTEGER                       -- when the patient was told
) STRICT, WITHOUT ROWID;
CREATE INDEX emergency_review_day ON emergency_review (released_at);

-- A request's consent may be of any kind now: without the reference to share_code, with its kind and the hidden cause.
CREATE TABLE request_received_next (
    request_id   BLOB    NOT NULL PRIMARY KEY CHECK (length(request_id) = 16),
    peer         BLOB    NOT NULL CHECK (length(peer) = 32),
    digest       BLOB    NOT NULL CHECK (length(digest) = 32),  -- SHA-256 of the body
    body         BLOB    NOT NULL,                              -- exactly as it was signed
    consent_id   BLOB,                                          -- that it proved, brought or rests on
    consent_kind TEXT    NOT NULL DEFAULT '',
    state        TEXT    NOT NULL CHECK (state IN ('REVIEW', 'PERMITTED', 'REFUSED', 'FAILED')),
    code         TEXT    NOT NULL DEFAULT '',                   -- why it was refused, as the requester hears it
    cause        TEXT    NOT NULL DEFAULT '',                   -- why it was refused, for this facility alone
    reasons      TEXT    NOT NULL DEFAULT '',                   -- why a person must look, blank-separated
    received_at  INTEGER NOT NULL,
    decided_at   INTEGER NOT NULL,
    decided_by   TEXT    NOT NULL                               -- 'node', or who decided in the inbox
) STRICT;
INSERT INTO request_received_next
    SELECT request_id, peer, digest, body, consent_id, CASE WHEN consent_id IS NULL THEN '' ELSE 'share_code' END,
           state, code, '', reasons, received_at, decided_at, decided_by
    FROM request_received;
DROP TABLE request_received;
ALTER TABLE request_received_next RENAME TO request_received;
CREATE INDEX request_received_state ON request_received (state, received_at);
CREATE INDEX request_received_consent ON request_received (consent_id);
CREATE INDEX request_received_peer ON request_received (peer, decided_at);

-- The proof of a request of this node, of any kind (JSON), until it is answered; `lookup_id` and `mac` were a share code's.
ALTER TABLE request_sent ADD COLUMN proof BLOB;
ALTER TABLE request_sent DROP COLUMN lookup_id;
ALTER TABLE request_sent DROP COLUMN mac;
