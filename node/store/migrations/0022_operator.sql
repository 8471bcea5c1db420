-- What operators and auditors look at in the console.

-- What a yes would have released when the request was put up for review: JSON array of Study Instance UIDs. A release of all
-- that waits compares what it would release now with this.
ALTER TABLE request_received ADD COLUMN scope TEXT NOT NULL DEFAULT '[]';

-- An offer can be taken back: its consent was revoked, or nothing is left of what was offered (state WITHDRAWN, in both
-- directions). SQLite cannot change a CHECK, so the table is made anew.
CREATE TABLE offer_new (
    offer_id   BLOB    NOT NULL PRIMARY KEY CHECK (length(offer_id) = 16),
    direction  TEXT    NOT NULL CHECK (direction IN ('in', 'out')),
    peer       BLOB    NOT NULL CHECK (length(peer) = 32),
    state      TEXT    NOT NULL CHECK (state IN ('QUEUED', 'OFFERED', 'ACCEPTED', 'REFUSED', 'EXPIRED', 'WITHDRAWN')),
    token      TEXT    NOT NULL,
    studies    TEXT    NOT NULL,            -- JSON array of UIDs
    consent_id BLOB,                        -- out: the directive that allows it
    request_id BLOB,                        -- in: what was asked when it was accepted
    reason     TEXT    NOT NULL DEFAULT '', -- why it was refused or taken back
    made_by    TEXT    NOT NULL,            -- out: who offered; in: who decided, or empty
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    untold     INTEGER NOT NULL DEFAULT 0,  -- 1: the other side must still be told (the offer, its refusal, its end)
    attempts   INTEGER NOT NULL DEFAULT 0,
    attempt_at INTEGER NOT NULL DEFAULT 0,  -- when the other side is tried next
    code       TEXT    NOT NULL DEFAULT ''  -- why the last attempt failed
) STRICT;
INSERT INTO offer_new SELECT offer_id, direction, peer, state, token, studies, consent_id, request_id, reason, made_by,
    created_at, expires_at, untold, attempts, attempt_at, code FROM offer;
DROP TABLE offer;
ALTER TABLE offer_new RENAME TO offer;
CREATE INDEX offer_untold ON offer (attempt_at) WHERE untold = 1;
CREATE INDEX offer_state ON offer (direction, state);

-- What auditors search by. (0016 reads actor, patient and study out of the body.)
CREATE INDEX audit_event_actor ON audit_event (actor, position);
CREATE INDEX audit_event_at ON audit_event (at, position);
