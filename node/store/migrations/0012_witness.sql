-- Witnessing: peers co-sign this node's checkpoints, and this node theirs (docs/protocol/witness.md).

-- Hashes of perfect subtrees of the audit log, from 256 leaves up, so that a proof costs a few hundred hashes and not a
-- walk. `level` is the binary logarithm of the leaves below, `number` counts such subtrees from 0.
CREATE TABLE audit_node (
    level  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hash   BLOB    NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, number)
) STRICT, WITHOUT ROWID;

-- A peer's word that one of this node's checkpoints continues the log that it knew: a C2SP cosignature line.
CREATE TABLE audit_cosignature (
    size INTEGER NOT NULL REFERENCES audit_checkpoint (size),
    peer BLOB    NOT NULL CHECK (length(peer) = 32),
    line TEXT    NOT NULL,
    at   INTEGER NOT NULL,
    PRIMARY KEY (size, peer)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_cosignature_peer ON audit_cosignature (peer, size);

-- The largest checkpoint of each peer's log that this node has co-signed: written before the signature leaves.
CREATE TABLE witnessed (
    peer BLOB    NOT NULL PRIMARY KEY CHECK (length(peer) = 32),
    size INTEGER NOT NULL,
    root BLOB    NOT NULL CHECK (length(root) = 32),
    note TEXT    NOT NULL,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Two signed heads of one log that cannot both be true, as evidence. `kind`: forked, shrank.
CREATE TABLE witness_conflict (
    id    INTEGER PRIMARY KEY,
    peer  BLOB    NOT NULL CHECK (length(peer) = 32),
    kind  TEXT    NOT NULL CHECK (kind IN ('forked', 'shrank')),
    held  TEXT    NOT NULL,
    given TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    UNIQUE (peer, kind, given)
) STRICT;
