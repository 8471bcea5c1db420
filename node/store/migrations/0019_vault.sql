-- Restored backups, the log that goes on after one, epochs of announcements, forks of feeds, failover.

-- A restore: this node's data were put back to what they were when a backup was made. What happened between is known to
-- others alone, so nothing is released without an operator until `reviewed_at`. Until `asked_at` the peers have not been asked
-- what they saw last, and nothing may be appended to the log.
CREATE TABLE restoration (
    id          INTEGER PRIMARY KEY,
    restored_at INTEGER NOT NULL,
    backup_at   INTEGER NOT NULL,            -- as the backup says; 0: not known
    log_end     INTEGER NOT NULL,            -- the position at which the log as restored ends
    codes       INTEGER NOT NULL DEFAULT 0,  -- share codes that it made void
    transfers   INTEGER NOT NULL DEFAULT 0,  -- outgoing transfers that it ended
    asked_at    INTEGER,
    heard       TEXT    NOT NULL DEFAULT '', -- JSON: what each peer had seen, see store/restored.py
    reviewed_at INTEGER,
    reviewed_by TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX restoration_open ON restoration (id) WHERE reviewed_at IS NULL;

-- The trees that the audit log consists of: one for a node that was never restored, one more after each restore.
-- `incarnation` is 1 or, like a feed's, the time of the restore; `base` is the position of the tree's first event. Between the
-- last event of one and the base of the next are the positions that lost events may have had.
CREATE TABLE audit_log (
    incarnation INTEGER PRIMARY KEY CHECK (incarnation > 0),
    base        INTEGER NOT NULL UNIQUE CHECK (base >= 0),
    began_at    INTEGER NOT NULL
) STRICT;
INSERT INTO audit_log (incarnation, base, began_at) VALUES (1, 0, 0);

CREATE TABLE audit_node_next (
    incarnation INTEGER NOT NULL,
    level       INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    hash        BLOB    NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (incarnation, level, number)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_node_next SELECT 1, level, number, hash FROM audit_node;
DROP TABLE audit_node;
ALTER TABLE audit_node_next RENAME TO audit_node;

CREATE TABLE audit_checkpoint_next (
    incarnation INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    root        BLOB    NOT NULL CHECK (length(root) = 32),
    at          INTEGER NOT NULL,
    note        TEXT    NOT NULL,
    PRIMARY KEY (incarnation, size)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_checkpoint_next SELECT 1, size, root, at, note FROM audit_checkpoint;

CREATE TABLE audit_cosignature_next (
    incarnation INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    peer        BLOB    NOT NULL CHECK (length(peer) = 32),
    line        TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (incarnation, size, peer),
    FOREIGN KEY (incarnation, size) REFERENCES audit_checkpoint_next (incarnation, size)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_cosignature_next SELECT 1, size, peer, line, at FROM audit_cosignature;
DROP TABLE audit_cosignature;
DROP TABLE audit_checkpoint;
ALTER TABLE audit_checkpoint_next RENAME TO audit_checkpoint;
ALTER TABLE audit_cosignature_next RENAME TO audit_cosignature;
CREATE INDEX audit_cosignature_peer ON audit_cosignature (peer, incarnation, size);

-- Which tree of the peer's log it is that was co-signed last.
ALTER TABLE witnessed ADD COLUMN incarnation INTEGER NOT NULL DEFAULT 1;

-- A peer's log began anew: the last head of the old tree that was co-signed here, and the first of the new one.
CREATE TABLE witness_restart (
    peer        BLOB    NOT NULL CHECK (length(peer) = 32),
    incarnation INTEGER NOT NULL,
    held        TEXT    NOT NULL,
    given       TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (peer, incarnation)
) STRICT, WITHOUT ROWID;

-- When the present epoch of the feed for a peer began.
ALTER TABLE announce_feed ADD COLUMN epoch_at INTEGER NOT NULL DEFAULT 0;
UPDATE announce_feed SET epoch_at = unixepoch();

-- What it takes to put a batch of the present epoch together again, byte for byte, as the first half of a proof: its header and
-- signature, and which entries it had.
ALTER TABLE feed_batch ADD COLUMN header BLOB;
ALTER TABLE feed_batch ADD COLUMN signature BLOB;
ALTER TABLE feed_entry ADD COLUMN sequence INTEGER NOT NULL DEFAULT -1;

-- Two batches that a peer signed and that cannot both be true. `first` is the one that was taken over (NULL where its entries
-- are not kept any more), `second` the one that was refused. Until `thawed_at` nothing more of that feed is taken over.
CREATE TABLE feed_fork (
    id          INTEGER PRIMARY KEY,
    peer        BLOB    NOT NULL CHECK (length(peer) = 32),
    incarnation INTEGER NOT NULL,
    sequence    INTEGER NOT NULL, -- of the second
    first       BLOB,
    second      BLOB    NOT NULL,
    at          INTEGER NOT NULL,
    thawed_at   INTEGER,
    thawed_by   TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX feed_fork_frozen ON feed_fork (peer) WHERE thawed_at IS NULL;

-- Where else a request of this node may be made if its holder cannot be reached (PeerIds, blank-separated), and which
-- request was made there.
ALTER TABLE request_sent ADD COLUMN fallbacks TEXT NOT NULL DEFAULT '';
ALTER TABLE request_sent ADD COLUMN continued_as BLOB CHECK (length(continued_as) = 16);
