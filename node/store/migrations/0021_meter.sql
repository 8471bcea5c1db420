-- What a clinician says that a fetched prior changed: one row a request, which may be changed or taken back. `effect`:
-- before_order: seen before anything was ordered; not_ordered: nothing was ordered because of it; cancelled: an order
-- was cancelled because of it. The last two spared the `examination` (a key of model/doses.py; else empty).
-- The dose is what the fetched study's own dose report says, in the report's words and unit; empty without one.
CREATE TABLE spared_repeat (
    request_id   BLOB    NOT NULL PRIMARY KEY CHECK (length(request_id) = 16),
    effect       TEXT    NOT NULL CHECK (effect IN ('before_order', 'not_ordered', 'cancelled')),
    examination  TEXT    NOT NULL DEFAULT '',
    dose_name    TEXT    NOT NULL DEFAULT '',
    dose_value   REAL    NOT NULL DEFAULT 0,
    dose_unit    TEXT    NOT NULL DEFAULT '',
    confirmed_by TEXT    NOT NULL,             -- actor, as in audit events
    confirmed_at INTEGER NOT NULL              -- seconds since the epoch
) STRICT;

-- The list of requests begins with the newest.
CREATE INDEX request_sent_created ON request_sent (created_at);
