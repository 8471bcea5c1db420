-- Who is signed in with a browser, and who failed to sign in.

-- A session. The cookie has 256 random bits, so a plain hash of it is enough to keep. `actor` is the caller as the audit log
-- names it: user:NAME, patient:ACCOUNT, link:ID.
CREATE TABLE session (
    digest     BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32), -- SHA-256 of the cookie's text
    actor      TEXT    NOT NULL,
    role       TEXT    NOT NULL CHECK (role IN ('clinician', 'operator', 'auditor', 'patient', 'recipient')),
    csrf       TEXT    NOT NULL,
    created_at INTEGER NOT NULL, -- seconds since the epoch, as all times here
    seen_at    INTEGER NOT NULL, -- to the minute
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_actor ON session (actor);

-- Failed attempts to sign in since the last that succeeded, an account (user:NAME, patient:ACCOUNT, link:ID) a row.
CREATE TABLE login_failure (
    account  TEXT    NOT NULL PRIMARY KEY,
    failures INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
