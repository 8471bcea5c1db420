-- SMART Health Links (docs/protocol/health-links.md). Times are seconds since the epoch.

-- A link that a patient, or staff for one, gave out. Its address has 256 random bits, of which a plain hash is kept: the
-- address cannot be told again, not even by this node. `key` encrypts the files, and is forgotten when the link ends.
CREATE TABLE health_link (
    link_id    BLOB    NOT NULL PRIMARY KEY CHECK (length(link_id) = 16),
    url_digest BLOB    NOT NULL UNIQUE CHECK (length(url_digest) = 32), -- SHA-256 of the random part of the address
    key        BLOB    CHECK (key IS NULL OR length(key) = 32),
    issuer     TEXT    NOT NULL,
    patient_id TEXT    NOT NULL,
    studies    TEXT    NOT NULL,            -- JSON array of UIDs; empty: all own ones of the patient, later ones too
    from_date  TEXT    NOT NULL,            -- YYYYMMDD or empty, of the study, inclusive
    to_date    TEXT    NOT NULL,
    label      TEXT    NOT NULL,
    purpose    TEXT    NOT NULL,
    consent    TEXT    NOT NULL,            -- how staff know that the patient wants it
    direct     INTEGER NOT NULL CHECK (direct IN (0, 1)), -- 1: one file at the address (flag U)
    passcode   TEXT,                        -- argon2id (PHC); NULL: none
    attempts   INTEGER NOT NULL CHECK (attempts > 0),
    failures   INTEGER NOT NULL DEFAULT 0 CHECK (failures BETWEEN 0 AND attempts), -- wrong passcodes, for ever
    uses       INTEGER CHECK (uses > 0),    -- NULL: no limit
    used       INTEGER NOT NULL DEFAULT 0 CHECK (uses IS NULL OR used <= uses),
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    locked_at  INTEGER,
    revoked_at INTEGER,
    CHECK (direct = 0 OR passcode IS NULL)
) STRICT;
CREATE INDEX health_link_patient ON health_link (issuer, patient_id);
CREATE INDEX health_link_key ON health_link (expires_at) WHERE key IS NOT NULL;

-- That somebody opened a link. `recipient` is what they called themselves: never more than a text to show.
CREATE TABLE health_link_access (
    id        INTEGER PRIMARY KEY,
    link_id   BLOB    NOT NULL REFERENCES health_link (link_id) ON DELETE CASCADE,
    at        INTEGER NOT NULL,
    recipient TEXT    NOT NULL,
    outcome   TEXT    NOT NULL CHECK (outcome IN ('opened', 'passcode', 'over'))
) STRICT;
CREATE INDEX health_link_access_link ON health_link_access (link_id, id);

-- A bearer token for DICOMweb that was handed out under a link, by its digest (it has 256 random bits).
CREATE TABLE health_link_token (
    digest     BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    link_id    BLOB    NOT NULL REFERENCES health_link (link_id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX health_link_token_link ON health_link_token (link_id);
