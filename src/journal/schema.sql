-- Version 1. Rows are plain; bodies of events are the lines as they go on the wire.
CREATE TABLE session(
  id               TEXT    PRIMARY KEY,
  agent            TEXT    NOT NULL,
  agent_session_id TEXT,              -- the CLI's own session id, once it said it
  workspace        TEXT    NOT NULL,
  created_at       INTEGER NOT NULL,
  task_taken       INTEGER NOT NULL DEFAULT 0, -- 1: the session's first task became a turn
  acked_seq        INTEGER NOT NULL DEFAULT 0  -- the Hub has all events up to here
) STRICT;

CREATE TABLE turn(
  id           TEXT    PRIMARY KEY,
  session_id   TEXT    NOT NULL REFERENCES session(id),
  ordinal      INTEGER NOT NULL,      -- order of acceptance within the session, from 1
  command_id   TEXT,                  -- the Hub's or client's id for the prompt: never run twice
  prompt       TEXT    NOT NULL,
  state        TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'ended')),
  attempt      INTEGER NOT NULL DEFAULT 0,
  run_id       TEXT,                  -- the current attempt's run
  spool_offset INTEGER NOT NULL DEFAULT 0,  -- parsed and committed up to here
  ordinal_next INTEGER NOT NULL DEFAULT 0,  -- the run's next event ordinal
  adapter      BLOB,                  -- the adapter's snapshot at spool_offset
  first_seq    INTEGER,               -- the turn's first event
  outcome      TEXT,
  created_at   INTEGER NOT NULL,
  ended_at     INTEGER,
  UNIQUE(session_id, ordinal),
  UNIQUE(session_id, command_id)
) STRICT;

-- One row holds the events of one burst, so that a flood costs one insert.
CREATE TABLE event_batch(
  session_id TEXT    NOT NULL,
  first_seq  INTEGER NOT NULL,
  last_seq   INTEGER NOT NULL,
  body       BLOB    NOT NULL,
  PRIMARY KEY(session_id, first_seq)
) STRICT;
