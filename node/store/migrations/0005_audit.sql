-- The audit log: an RFC 6962 Merkle tree over salted events (DESIGN: audit). Rows are only ever added.

-- One event. `position` is its index in the tree, from 0 and without gaps; `body` the exact bytes that the leaf hash
-- covers (JSON with a random salt, so that a leaf hash tells nothing about the event).
CREATE TABLE audit_event (
    position INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    type     TEXT    NOT NULL,
    body     BLOB    NOT NULL,
    leaf     BLOB    NOT NULL CHECK (length(leaf) = 32)
) STRICT;
CREATE INDEX audit_event_type ON audit_event (type, position);

-- The right edge of the tree, so that appending costs a few hashes and not a walk: exactly one row.
CREATE TABLE audit_frontier (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    frontier BLOB NOT NULL
) STRICT;

-- Signed tree heads (C2SP checkpoints as signed notes), newest last.
CREATE TABLE audit_checkpoint (
    size INTEGER PRIMARY KEY,
    root BLOB    NOT NULL CHECK (length(root) = 32),
    at   INTEGER NOT NULL,
    note TEXT    NOT NULL
) STRICT;
