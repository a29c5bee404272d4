-- 0002_keys: envelope encryption. A data key seals the payloads of one subject and is kept here wrapped by a
-- master key, which never comes near the database.

-- The master keys that this store has been written with, to refuse a wrong one before anything is written.
CREATE TABLE master_keys (
  master_key_id text        COLLATE "C" PRIMARY KEY,
  proof         bytea       NOT NULL,        -- a constant sealed by the key and bound to store_id
  created_at    timestamptz NOT NULL DEFAULT now()
);

-- A subject may have several data keys (two processes that met it first at the same time): shredding a subject
-- destroys all of them. The row stays then, with wrapped_key null, to say so.
CREATE TABLE data_keys (
  key_id        uuid        PRIMARY KEY,
  subject       text        COLLATE "C" NOT NULL,
  master_key_id text        COLLATE "C" NOT NULL REFERENCES master_keys,
  wrapped_key   bytea,
  created_at    timestamptz NOT NULL DEFAULT now(),
  shredded_at   timestamptz,
  CHECK ((wrapped_key IS NULL) = (shredded_at IS NOT NULL))
);
CREATE INDEX data_keys_subject ON data_keys (subject);
