-- Local users and their tokens.

-- A person or a local system that uses the API. A row is never deleted: the audit log refers to the name.
CREATE TABLE user (
    name        TEXT    NOT NULL PRIMARY KEY,
    role        TEXT    NOT NULL CHECK (role IN ('clinician', 'operator', 'auditor')),
    password    TEXT,             -- argon2id in PHC form; NULL: no password, tokens only
    created_at  INTEGER NOT NULL, -- seconds since the epoch, as all times here
    disabled_at INTEGER           -- NULL while active
) STRICT, WITHOUT ROWID;

-- A bearer token. The text has 256 random bits, so a plain hash of it is enough to keep.
CREATE TABLE token (
    digest     BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32), -- SHA-256 of the text
    user       TEXT    NOT NULL REFERENCES user (name),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX token_user ON token (user);
