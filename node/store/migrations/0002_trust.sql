-- Whom this node trusts, and the invitations that lead there. A peer is named by the SHA-256 behind its PeerId (32 bytes).

-- A peer that has paired with this node. The row stays after revocation: history and audit refer to it.
CREATE TABLE peer (
    peer          BLOB    NOT NULL PRIMARY KEY CHECK (length(peer) = 32),
    state         TEXT    NOT NULL CHECK (state IN ('PENDING', 'TRUSTED', 'SUSPENDED', 'REVOKED')),
    since         INTEGER NOT NULL,             -- when the state was entered
    certificate   BLOB    NOT NULL,             -- DER; the only one this peer's TLS may present
    safety_phrase TEXT    NOT NULL,             -- what both operators compare
    card          TEXT    NOT NULL,             -- its newest card (signed), from which come name and addresses
    card_sequence INTEGER NOT NULL,             -- of that card; never goes back
    last_seen     INTEGER,                      -- when it last proved who it is; written once a minute at most
    -- The operator's policy for this peer (`peers policy`).
    accept_attested  INTEGER NOT NULL CHECK (accept_attested IN (0, 1)),
    accept_emergency INTEGER NOT NULL CHECK (accept_emergency IN (0, 1)),
    auto_release     INTEGER NOT NULL CHECK (auto_release IN (0, 1)),
    label_detail     INTEGER NOT NULL CHECK (label_detail IN (0, 1)),
    max_rate         INTEGER NOT NULL CHECK (max_rate >= 0), -- bytes a second sent to it; 0: no limit
    daily_questions  INTEGER NOT NULL CHECK (daily_questions >= 0)
) STRICT, WITHOUT ROWID;

-- An invitation this node made. It is open until it is redeemed, withdrawn or expired; the row goes some time after that.
CREATE TABLE invitation (
    invitation   BLOB    NOT NULL PRIMARY KEY CHECK (length(invitation) = 16),
    secret       BLOB    NOT NULL CHECK (length(secret) = 16), -- one-time; proves to a late joiner's face what happened
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    auto_confirm INTEGER NOT NULL CHECK (auto_confirm IN (0, 1)),
    bound_to     BLOB    CHECK (length(bound_to) = 32),        -- the only peer that may redeem it; NULL: anybody
    redeemed_by  BLOB    CHECK (length(redeemed_by) = 32),     -- the peer that did
    redeemed_at  INTEGER,
    withdrawn_at INTEGER
) STRICT, WITHOUT ROWID;

-- What this node last said about itself: one row. `sequence` never goes back, `facts` says when a new card is due.
CREATE TABLE own_card (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    sequence   INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    facts      BLOB    NOT NULL, -- name and addresses as they stand in it
    card       TEXT    NOT NULL
) STRICT;
