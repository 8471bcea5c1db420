-- What is kept however old it gets, and what looking through the packs has found.

-- A study that nobody and nothing may delete until the protection is taken back. It may stand for a study that is not
-- here (yet): then it holds for what comes.
CREATE TABLE protected_study (
    study_uid TEXT    NOT NULL PRIMARY KEY,
    reason    TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    by        TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Where the look through the packs is: exactly one row. Packs are looked at in the order of their names; `position` is the
-- last one that is done (empty: none yet of this round). `ended_at` is NULL while a round is under way.
CREATE TABLE scrub (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    began_at INTEGER NOT NULL,
    ended_at INTEGER,
    position BLOB    NOT NULL,
    objects  INTEGER NOT NULL, -- looked at in this round
    bytes    INTEGER NOT NULL
) STRICT;
INSERT INTO scrub (id, began_at, ended_at, position, objects, bytes) VALUES (1, 0, 0, x'', 0, 0);

-- An object that is not what was stored, as long as the index knows of its pack.
CREATE TABLE damaged_object (
    object_id BLOB    NOT NULL PRIMARY KEY CHECK (length(object_id) = 16),
    pack      BLOB    NOT NULL REFERENCES pack (name) ON DELETE CASCADE,
    flaw      TEXT    NOT NULL CHECK (flaw IN ('pack_missing', 'damaged', 'misplaced')),
    found_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX damaged_object_pack ON damaged_object (pack);
