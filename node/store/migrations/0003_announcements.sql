-- Announcements and location (docs/protocol/announcements.md, docs/protocol/locating.md).
-- A peer is named by the SHA-256 behind its PeerId (32 bytes), a study by its Study Instance UID.

-- What must never be announced -----------------------------------------------------------------------------------

-- A patient who opted out of announcements.
CREATE TABLE opt_out (
    issuer     TEXT    NOT NULL,
    patient_id TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (issuer, patient_id)
) STRICT, WITHOUT ROWID;

-- A study that somebody marked sensitive.
CREATE TABLE sensitive_study (
    study TEXT    NOT NULL PRIMARY KEY,
    at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What this node writes ------------------------------------------------------------------------------------------

-- Own studies whose announcement may have changed, newest `id` last, each study once: a feed that has followed the list
-- up to some id (announce_feed.mark) has nothing to say of anything before it. The triggers below keep it, in the
-- transaction of whatever they watch.
CREATE TABLE announce_change (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    study TEXT    NOT NULL UNIQUE
) STRICT;

INSERT INTO announce_change (study) SELECT uid FROM study WHERE origin IS NULL AND revision > 0 ORDER BY id;

CREATE TRIGGER revision_closed AFTER INSERT ON revision BEGIN
    DELETE FROM announce_change WHERE study = (SELECT uid FROM study WHERE id = NEW.study_id AND origin IS NULL);
    INSERT INTO announce_change (study) SELECT uid FROM study WHERE id = NEW.study_id AND origin IS NULL;
END;

CREATE TRIGGER study_deleted AFTER DELETE ON study WHEN OLD.origin IS NULL BEGIN
    DELETE FROM announce_change WHERE study = OLD.uid;
    INSERT INTO announce_change (study) VALUES (OLD.uid);
END;

CREATE TRIGGER patient_corrected AFTER UPDATE OF issuer, patient_id, patient_name, birth_date, sex ON study
WHEN OLD.origin IS NULL BEGIN
    DELETE FROM announce_change WHERE study = NEW.uid;
    INSERT INTO announce_change (study) VALUES (NEW.uid);
END;

CREATE TRIGGER opted_out AFTER INSERT ON opt_out BEGIN
    DELETE FROM announce_change WHERE study IN
        (SELECT uid FROM study WHERE patient_id = NEW.patient_id AND issuer = NEW.issuer);
    INSERT INTO announce_change (study)
        SELECT uid FROM study WHERE patient_id = NEW.patient_id AND issuer = NEW.issuer AND origin IS NULL;
END;

CREATE TRIGGER opted_in AFTER DELETE ON opt_out BEGIN
    DELETE FROM announce_change WHERE study IN
        (SELECT uid FROM study WHERE patient_id = OLD.patient_id AND issuer = OLD.issuer);
    INSERT INTO announce_change (study)
        SELECT uid FROM study WHERE patient_id = OLD.patient_id AND issuer = OLD.issuer AND origin IS NULL;
END;

CREATE TRIGGER marked_sensitive AFTER INSERT ON sensitive_study BEGIN
    DELETE FROM announce_change WHERE study = NEW.study;
    INSERT INTO announce_change (study) VALUES (NEW.study);
END;

CREATE TRIGGER unmarked_sensitive AFTER DELETE ON sensitive_study BEGIN
    DELETE FROM announce_change WHERE study = OLD.study;
    INSERT INTO announce_change (study) VALUES (OLD.study);
END;

-- The feed that this node writes for one peer. `seed` is the VOPRF key of the epoch; it is null once destroyed (the peer
-- was revoked), and the next feed for that peer is a new incarnation. `next` is the sequence number of the batch to come,
-- `head` the hash of the last one, `terms` the settings under which the changes up to `mark` were told: under others, all is told anew
-- where it differs.
CREATE TABLE announce_feed (
    peer        BLOB    NOT NULL PRIMARY KEY CHECK (length(peer) = 32),
    incarnation INTEGER NOT NULL CHECK (incarnation > 0),
    epoch       INTEGER NOT NULL CHECK (epoch > 0),
    seed        BLOB    CHECK (length(seed) = 32),
    next        INTEGER NOT NULL CHECK (next >= 0),
    head        BLOB    NOT NULL CHECK (length(head) = 32),
    mark        INTEGER NOT NULL,
    terms       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- A signed batch, exactly as it is sent. Rows are only ever added, and removed only with the whole incarnation.
CREATE TABLE announce_batch (
    peer     BLOB    NOT NULL,
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    made_at  INTEGER NOT NULL,
    data     BLOB    NOT NULL,
    PRIMARY KEY (peer, sequence)
) STRICT;

-- How many entries were made under a token (SHA-256 of it) in the present key: the next entry takes this number as its
-- `i`. The number only grows; it belongs to the token, so that patients who share the token never share a tag.
CREATE TABLE announce_counter (
    peer  BLOB    NOT NULL,
    token BLOB    NOT NULL CHECK (length(token) = 32),
    next  INTEGER NOT NULL CHECK (next > 0),
    PRIMARY KEY (peer, token)
) STRICT, WITHOUT ROWID;

-- What a peer was last told of a study. `ref` is the opaque name that the peer knows the study by: random, and the same
-- for as long as the peer is known, so that a request may name it.
CREATE TABLE announced (
    peer      BLOB    NOT NULL,
    study     TEXT    NOT NULL,
    ref       BLOB    NOT NULL CHECK (length(ref) = 16),
    revision  INTEGER NOT NULL,
    detail    INTEGER NOT NULL CHECK (detail IN (0, 1)),
    consent   INTEGER NOT NULL CHECK (consent IN (0, 1)),
    withdrawn INTEGER NOT NULL CHECK (withdrawn IN (0, 1)),
    PRIMARY KEY (peer, study),
    UNIQUE (peer, ref)
) STRICT, WITHOUT ROWID;

-- The tokens under which the study stands announced to that peer: where a withdrawal, or a patient's corrected name, must
-- be told too.
CREATE TABLE announced_token (
    peer  BLOB    NOT NULL,
    study TEXT    NOT NULL,
    token BLOB    NOT NULL,
    kind  TEXT    NOT NULL,
    PRIMARY KEY (peer, study, token)
) STRICT, WITHOUT ROWID;

-- How many questions a peer was answered on a day (days since 1970-01-01 UTC).
CREATE TABLE questions_answered (
    peer      BLOB    NOT NULL,
    day       INTEGER NOT NULL,
    questions INTEGER NOT NULL,
    PRIMARY KEY (peer, day)
) STRICT, WITHOUT ROWID;

-- What this node reads -------------------------------------------------------------------------------------------

-- How far a peer's feed was followed: the last batch that was verified and taken over.
CREATE TABLE feed (
    peer        BLOB    NOT NULL PRIMARY KEY CHECK (length(peer) = 32),
    incarnation INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    public_key  BLOB    NOT NULL CHECK (length(public_key) = 32),
    sequence    INTEGER NOT NULL,
    head        BLOB    NOT NULL CHECK (length(head) = 32),
    entries     INTEGER NOT NULL,
    synced_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The hash of each batch taken over, to tell a replay from a fork.
CREATE TABLE feed_batch (
    peer     BLOB    NOT NULL,
    sequence INTEGER NOT NULL,
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (peer, sequence)
) STRICT, WITHOUT ROWID;

-- The entries of a peer's present epoch: noise, except to who can compute a tag.
CREATE TABLE feed_entry (
    peer BLOB NOT NULL,
    tag  BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (peer, tag)
) STRICT, WITHOUT ROWID;

-- The VOPRF outputs that a peer's answers gave for tokens (SHA-256 of each), kept until its epoch ends.
CREATE TABLE feed_answer (
    peer  BLOB NOT NULL,
    token BLOB NOT NULL CHECK (length(token) = 32),
    f     BLOB NOT NULL CHECK (length(f) = 64),
    PRIMARY KEY (peer, token)
) STRICT, WITHOUT ROWID;

-- Which study a peer's opaque ref turned out to be, learned from a release.
CREATE TABLE feed_ref (
    peer  BLOB NOT NULL,
    ref   BLOB NOT NULL CHECK (length(ref) = 16),
    study TEXT NOT NULL,
    PRIMARY KEY (peer, ref)
) STRICT, WITHOUT ROWID;

-- A random secret that makes local user names into pseudonyms towards one peer.
CREATE TABLE pseudonym_key (
    peer BLOB NOT NULL PRIMARY KEY,
    key  BLOB NOT NULL CHECK (length(key) = 32)
) STRICT, WITHOUT ROWID;

-- Revoking a peer destroys the key made for it, in the same transaction: nothing that it kept can be asked about again. Of
-- what it told, the position stays, so that an old history cannot be played to this node after a new pairing.
CREATE TRIGGER peer_revoked AFTER UPDATE OF state ON peer WHEN NEW.state = 'REVOKED' BEGIN
    UPDATE announce_feed SET seed = NULL WHERE peer = NEW.peer;
    DELETE FROM announce_batch WHERE peer = NEW.peer;
    DELETE FROM announce_counter WHERE peer = NEW.peer;
    DELETE FROM announced_token WHERE peer = NEW.peer;
    DELETE FROM feed_entry WHERE peer = NEW.peer;
    DELETE FROM feed_answer WHERE peer = NEW.peer;
    UPDATE feed SET entries = 0 WHERE peer = NEW.peer;
END;

-- Local priors by name, birth date and sex start here.
CREATE INDEX study_birth_date ON study (birth_date);
