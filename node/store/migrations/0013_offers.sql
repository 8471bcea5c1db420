-- Offers (docs/protocol/offers.md): a holder sends a study without being asked. What it allows is an ordinary directive; the
-- offer tells the recipient, which then asks as always.

ALTER TABLE peer ADD COLUMN auto_accept INTEGER NOT NULL DEFAULT 0 CHECK (auto_accept IN (0, 1));

-- An offer of this node (`direction` out) or to it (in). `token` is the holder's JWS exactly as signed. `request_id` is the
-- request that the recipient made of it; the rest of the story is that request's.
CREATE TABLE offer (
    offer_id   BLOB    NOT NULL PRIMARY KEY CHECK (length(offer_id) = 16),
    direction  TEXT    NOT NULL CHECK (direction IN ('in', 'out')),
    peer       BLOB    NOT NULL CHECK (length(peer) = 32),
    state      TEXT    NOT NULL CHECK (state IN ('QUEUED', 'OFFERED', 'ACCEPTED', 'REFUSED', 'EXPIRED')),
    token      TEXT    NOT NULL,
    studies    TEXT    NOT NULL,            -- JSON array of UIDs
    consent_id BLOB,                        -- out: the directive that allows it
    request_id BLOB,                        -- in: what was asked when it was accepted
    reason     TEXT    NOT NULL DEFAULT '', -- why it was refused
    made_by    TEXT    NOT NULL,            -- out: who offered; in: who decided, or empty
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    untold     INTEGER NOT NULL DEFAULT 0,  -- 1: the other side must still be told (the offer, or its refusal)
    attempts   INTEGER NOT NULL DEFAULT 0,
    attempt_at INTEGER NOT NULL DEFAULT 0,  -- when the other side is tried next
    code       TEXT    NOT NULL DEFAULT ''  -- why the last attempt failed
) STRICT;
CREATE INDEX offer_untold ON offer (attempt_at) WHERE untold = 1;
CREATE INDEX offer_state ON offer (direction, state);
