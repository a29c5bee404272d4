-- 0008_schedules: events that are to be appended later: at a time, or again and again as a cron expression says.
--
-- The event is kept as its row in the log will be, its payload sealed. A scheduler appends it in the transaction that moves
-- `due_at` on, or removes the row: so each occurrence is appended exactly once, however many schedulers there are.

CREATE TABLE schedules (
  name           text        COLLATE "C" PRIMARY KEY,
  event_id       uuid        NOT NULL,       -- the event's; those of a cron's occurrences are made from it and their time
  stream         text        COLLATE "C" NOT NULL,
  type           text        COLLATE "C" NOT NULL,
  schema_version integer     NOT NULL,
  occurred_at    timestamptz,
  metadata       bytea,
  subject        text        COLLATE "C",    -- null: the stream
  data           bytea       NOT NULL,       -- the envelope: see Envelope.swift
  cron           text,                       -- null: once
  cron_fields    jsonb,                      -- the same as lists of numbers: see next_occurrence
  time_zone      text,
  each_missed    boolean     NOT NULL DEFAULT true,   -- else one event for all occurrences that no scheduler was there for
  ends_at        timestamptz,
  due_at         timestamptz NOT NULL,       -- the next occurrence
  look_at        timestamptz NOT NULL,       -- when a scheduler is to look at it: then, or later after a failure
  attempts       integer     NOT NULL DEFAULT 0,      -- in vain, of the next occurrence
  problem        text,
  occurrences    bigint      NOT NULL DEFAULT 0,      -- appended
  last_at        timestamptz,                -- the last one that was appended
  created_by     text        NOT NULL DEFAULT session_user,
  created_at     timestamptz NOT NULL DEFAULT statement_timestamp(),
  CHECK ((cron IS NULL) = (cron_fields IS NULL) AND (cron IS NULL) = (time_zone IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX ON schedules (look_at);
ALTER TABLE schedules ALTER COLUMN data SET STORAGE EXTERNAL;
