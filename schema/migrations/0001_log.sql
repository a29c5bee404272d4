-- 0001_log: the log itself. Frozen: a released migration is never edited, a test compares its checksum.
-- Runs with search_path = the store's own PostgreSQL schema.

-- One row: which store this is. Sealed data is bound to store_id.
CREATE TABLE store (
  one        boolean     PRIMARY KEY DEFAULT true CHECK (one),
  store_id   uuid        NOT NULL DEFAULT gen_random_uuid(),
  created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO store DEFAULT VALUES;

-- The part of a stream name before its first '-'. Numbered, because the number leads every stream id.
CREATE TABLE categories (
  category_id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text     COLLATE "C" NOT NULL UNIQUE
);

-- A stream's name and its number, written once, at its first append, and never updated.
-- stream_id = category_id (15 bits) | number (40 bits) | shard (8 bits), so that a category is a range of ids
-- and the shard, 0 … 255, is part of every key that has the id. The shard is the first byte of SHA-256(name):
-- fixed for ever, on any server and in any language.
CREATE SEQUENCE stream_numbers AS bigint MINVALUE 1 MAXVALUE 1099511627775 CACHE 1 NO CYCLE;
CREATE TABLE streams (
  stream_id  bigint      PRIMARY KEY,
  name       text        COLLATE "C" NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- The events. Two indexes and no more: each costs every append (the partial one costs only appends that do not
-- say which version they expect). Nothing may depend on this being one table: it can become the first partition,
-- by position, of a partitioned log.
CREATE TABLE events (
  position       bigint      GENERATED ALWAYS AS IDENTITY (CACHE 1 NO CYCLE MAXVALUE 281474976710655) PRIMARY KEY,  -- 48 bits: see horizon
  stream_id      bigint      NOT NULL,
  version        bigint      NOT NULL,       -- from 1, without gaps: functions/append.sql sees to it
  recorded_at    timestamptz NOT NULL DEFAULT statement_timestamp(),
  occurred_at    timestamptz,                -- when it happened, where the writer said so
  event_id       uuid        NOT NULL,       -- the client's
  schema_version integer     NOT NULL,       -- from 1
  shard          smallint    NOT NULL,       -- stream_id & 255
  unplaced       boolean     NOT NULL,       -- appended without a known version: a retry is found by its id
  type           text        COLLATE "C" NOT NULL,
  metadata       bytea,                      -- a JSON object in UTF-8, or null
  data           bytea       NOT NULL,       -- the envelope: see Envelope.swift
  UNIQUE (stream_id, version)
);
CREATE UNIQUE INDEX events_unplaced_key ON events (stream_id, event_id) WHERE unplaced;

-- A sealed payload is already compressed where that pays: PostgreSQL need not try again.
ALTER TABLE events ALTER COLUMN data SET STORAGE EXTERNAL;

-- Inserts only: vacuum is there for the visibility map and for freezing, little and often.
ALTER TABLE events SET (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
