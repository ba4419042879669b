-- Version 3: what is stored can be checked, and what is kept is bounded.
CREATE TABLE meta(
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

ALTER TABLE session ADD COLUMN reserved_seq INTEGER NOT NULL DEFAULT 0; -- synced: none was given beyond it
ALTER TABLE session ADD COLUMN pruned_seq   INTEGER NOT NULL DEFAULT 0; -- none is kept up to here
ALTER TABLE session ADD COLUMN digest       INTEGER NOT NULL DEFAULT 0;

ALTER TABLE turn ADD COLUMN last_seq        INTEGER;                    -- the turn's `end`
ALTER TABLE turn ADD COLUMN prompt_digest   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE turn ADD COLUMN progress_digest INTEGER NOT NULL DEFAULT 0;

-- The small columns first: a row is looked at without its body.
ALTER TABLE event_batch RENAME TO event_batch_1;
CREATE TABLE event_batch(
  session_id TEXT    NOT NULL,
  first_seq  INTEGER NOT NULL,
  last_seq   INTEGER NOT NULL,
  at         INTEGER NOT NULL,        -- of its last event, wall time
  digest     INTEGER NOT NULL,
  body       BLOB    NOT NULL,
  PRIMARY KEY(session_id, first_seq)
) STRICT;
