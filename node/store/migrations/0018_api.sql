-- Programs that use the local API: what each token is good for, and answers that are given again.

-- What people call the token, for what it is good ('': whatever the user's role may do; else scopes, separated by blanks),
-- and when it was last used, to the hour (NULL: never).
ALTER TABLE token ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE token ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
ALTER TABLE token ADD COLUMN used_at INTEGER;

-- A POST with an Idempotency-Key, and what was answered: the same again for the same, for a day. The answer may hold PHI or a
-- secret (a share code), as everything in this database may.
CREATE TABLE idempotent_call (
    digest     BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32), -- SHA-256 over caller, route, path and key
    said       BLOB    NOT NULL CHECK (length(said) = 32),               -- SHA-256 over query and body
    status     INTEGER,                                                  -- of the answer; NULL while it is being made
    kind       TEXT    NOT NULL DEFAULT '',                              -- its media type
    body       BLOB    NOT NULL DEFAULT x'',
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotent_call_age ON idempotent_call (created_at);
