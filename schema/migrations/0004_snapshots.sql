-- 0004_snapshots: folded states of streams, so that a load reads the last few events and not all of them. A cache:
-- deleting every row changes no result.
--
-- A row fits a reader only if the state's type, its declared version and the fingerprint of its shape are the reader's
-- own, and if event `version` of the stream is the event that the row was made after. Several shapes stand beside each
-- other while two versions of a program run. Sealed like events, under the key of the same subject.
CREATE TABLE snapshots (
  stream_id      bigint      NOT NULL,
  state_type     text        COLLATE "C" NOT NULL,
  schema_version integer     NOT NULL,       -- declared, from 1
  fingerprint    bytea       NOT NULL,       -- of the names and types of the state's fields
  version        bigint      NOT NULL,       -- the state is the one after this event …
  event_id       uuid        NOT NULL,       -- … which has this id
  latest_time    timestamptz NOT NULL,       -- no event up to there happened later
  checksum       bytea       NOT NULL,       -- SHA-256: see PostgreSQLSnapshots.swift
  data           bytea       NOT NULL,       -- the envelope: see Envelope.swift
  created_at     timestamptz NOT NULL DEFAULT statement_timestamp(),
  PRIMARY KEY (stream_id, state_type, schema_version, fingerprint, version)
);
ALTER TABLE snapshots ALTER COLUMN data SET STORAGE EXTERNAL;
