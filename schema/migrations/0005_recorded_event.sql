-- 0005_recorded_event: an event as the statements of a read model see it. Sets of events are passed to them as one array of
-- these, opened: they stand in no table.
CREATE TYPE recorded_event AS (
  position       bigint,
  id             uuid,
  stream         text,
  version        bigint,
  type           text,
  schema_version integer,
  time           timestamptz,
  recorded_at    timestamptz,
  data           jsonb,
  bytes          bytea,
  metadata       jsonb,
  redacted       boolean
);
