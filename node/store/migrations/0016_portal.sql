-- The portal: who may sign in, for which patients, by which letters they came, and what they are told by e-mail.

-- A person with credentials. The row stays after closing: the audit log refers to it.
CREATE TABLE portal_account (
    account      BLOB    NOT NULL PRIMARY KEY CHECK (length(account) = 16),
    sign_in_name TEXT    NOT NULL DEFAULT '', -- as it was chosen; empty: by passkey alone
    name_match   TEXT    UNIQUE,              -- folded, by which it is found
    passphrase   TEXT,                        -- argon2id in PHC form
    language     TEXT    NOT NULL,            -- of mails: en or es
    created_at   INTEGER NOT NULL,            -- seconds since the epoch, as all times here
    closed_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE portal_passkey (
    credential BLOB    NOT NULL PRIMARY KEY CHECK (length(credential) BETWEEN 1 AND 1023), -- WebAuthn section 4
    account    BLOB    NOT NULL REFERENCES portal_account (account) ON DELETE CASCADE,
    public_key BLOB    NOT NULL,              -- COSE_Key
    sign_count INTEGER NOT NULL,
    name       TEXT    NOT NULL,              -- as its owner calls it
    created_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX portal_passkey_account ON portal_passkey (account);

-- An account stands for a patient. `name` is who a proxy is, as staff wrote it down.
CREATE TABLE portal_access (
    access     BLOB    NOT NULL PRIMARY KEY CHECK (length(access) = 16),
    account    BLOB    NOT NULL REFERENCES portal_account (account),
    issuer     TEXT    NOT NULL,
    patient_id TEXT    NOT NULL,
    relation   TEXT    NOT NULL CHECK (relation IN ('self', 'proxy')),
    scope      TEXT    NOT NULL CHECK (scope IN ('see', 'share')),
    name       TEXT    NOT NULL DEFAULT '',
    since      INTEGER NOT NULL,
    until      INTEGER,
    given_by   TEXT    NOT NULL,
    ended_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX portal_access_account ON portal_access (account);
CREATE INDEX portal_access_patient ON portal_access (patient_id, issuer);

-- A letter. The code has 95 random bits, so a plain hash of it is enough to keep. `account`: it gives this account new
-- credentials; else it makes an account, or adds the patient to one.
CREATE TABLE portal_invitation (
    invitation   BLOB    NOT NULL PRIMARY KEY CHECK (length(invitation) = 16),
    lookup       BLOB    NOT NULL UNIQUE CHECK (length(lookup) = 32),
    issuer       TEXT    NOT NULL,
    patient_id   TEXT    NOT NULL,
    relation     TEXT    NOT NULL CHECK (relation IN ('self', 'proxy')),
    scope        TEXT    NOT NULL CHECK (scope IN ('see', 'share')),
    name         TEXT    NOT NULL DEFAULT '',
    access_until INTEGER,
    account      BLOB    REFERENCES portal_account (account),
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    expires_at   INTEGER NOT NULL,
    failures     INTEGER NOT NULL DEFAULT 0,  -- wrong dates of birth
    locked_at    INTEGER,
    used_at      INTEGER,
    withdrawn_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX portal_invitation_patient ON portal_invitation (patient_id, issuer);
CREATE INDEX portal_invitation_newest ON portal_invitation (created_at);

-- What staff decided about when the patient sees a study; without a row the delays of the settings hold.
CREATE TABLE portal_ruling (
    study  TEXT    NOT NULL PRIMARY KEY,
    kind   TEXT    NOT NULL CHECK (kind IN ('released', 'held')),
    reason TEXT    NOT NULL,                  -- read by the patient
    until  INTEGER,
    at     INTEGER NOT NULL,
    by     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Where and how an account wants to be told by e-mail. `code` proves a new address; `stop` ends the mails without signing in.
CREATE TABLE portal_mailbox (
    account       BLOB    NOT NULL PRIMARY KEY REFERENCES portal_account (account) ON DELETE CASCADE,
    address       TEXT    NOT NULL,
    mode          TEXT    NOT NULL CHECK (mode IN ('off', 'each', 'daily')),
    code          BLOB,                       -- SHA-256 of the code that was sent there; NULL: verified
    code_expires  INTEGER,
    code_failures INTEGER NOT NULL DEFAULT 0,
    asked_at      INTEGER NOT NULL DEFAULT 0, -- when a code was last sent
    asked         INTEGER NOT NULL DEFAULT 0, -- codes sent in the day before that
    verified_at   INTEGER,
    stop          TEXT    NOT NULL UNIQUE,
    pending       INTEGER NOT NULL DEFAULT 0, -- events of which no mail has told yet
    told_at       INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Mails that are to be sent. They hold no word about anybody: kind, address, and for a code the code.
CREATE TABLE portal_mail (
    id       INTEGER PRIMARY KEY,
    account  BLOB    NOT NULL REFERENCES portal_account (account) ON DELETE CASCADE,
    kind     TEXT    NOT NULL CHECK (kind IN ('code', 'alert')),
    address  TEXT    NOT NULL,
    language TEXT    NOT NULL,
    code     TEXT    NOT NULL DEFAULT '',
    stop     TEXT    NOT NULL DEFAULT '',
    made_at  INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX portal_mail_due ON portal_mail (due_at);

-- Up to which event of the audit log patients were told: one row.
CREATE TABLE portal_mark (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL
) STRICT;

-- "Who saw mine?" must not read the whole log: what events are about, taken out of their bytes. An event whose bytes
-- were damaged is about nobody; `audit verify` finds it.
ALTER TABLE audit_event ADD COLUMN patient TEXT
    AS (CASE WHEN json_valid(CAST(body AS TEXT)) THEN json_extract(CAST(body AS TEXT), '$.patient') END) VIRTUAL;
ALTER TABLE audit_event ADD COLUMN study TEXT
    AS (CASE WHEN json_valid(CAST(body AS TEXT)) THEN json_extract(CAST(body AS TEXT), '$.study') END) VIRTUAL;
ALTER TABLE audit_event ADD COLUMN actor TEXT
    AS (CASE WHEN json_valid(CAST(body AS TEXT)) THEN json_extract(CAST(body AS TEXT), '$.actor') END) VIRTUAL;
CREATE INDEX audit_event_patient ON audit_event (patient, position) WHERE patient IS NOT NULL;
CREATE INDEX audit_event_study ON audit_event (study, position) WHERE study IS NOT NULL;
CREATE INDEX audit_event_in_portal ON audit_event (actor, position) WHERE substr(actor, 1, 8) = 'patient:';
