-- 0000_migrations: what has been applied to this store.
CREATE TABLE migrations (
  number     integer     PRIMARY KEY,
  name       text        NOT NULL,
  digest     text        NOT NULL,           -- SHA-256 of the file
  applied_at timestamptz NOT NULL DEFAULT now()
);
