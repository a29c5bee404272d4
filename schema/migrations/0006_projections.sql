-- 0006_projections: which read models there are, how far each has come, and who runs it.
--
-- A projection is known by its name. Each time it is built, that is a *build*: tables in a PostgreSQL schema of its own,
-- and a checkpoint. Readers use views in one other schema; a switch makes them show another build's tables.

CREATE TABLE projection_builds (
  build         integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name          text        COLLATE "C" NOT NULL,
  version       integer     NOT NULL CHECK (version > 0),  -- declared by its author
  -- live: behind the views; new: built beside it; previous: was live, kept up to date for a way back.
  role          text        NOT NULL CHECK (role IN ('live', 'new', 'previous')),
  -- sql: a file, which anyone can run; swift: in a service's code; external: in code too, and it writes elsewhere.
  kind          text        NOT NULL CHECK (kind IN ('sql', 'swift', 'external')),
  source        text,                                      -- sql: the file's text …
  file          text        NOT NULL,                      -- … and its name, for messages; else the Swift type's
  categories    text[]      NOT NULL,                      -- which events it is of; empty: all
  types         text[]      NOT NULL,
  is_inline     boolean     NOT NULL,                      -- to be applied in the appends' own transactions, once live
  is_engaged    boolean     NOT NULL DEFAULT false,        -- is applied there now: then its checkpoint rests
  goes_live     boolean     NOT NULL,                      -- by itself, when it has caught up
  side_effects  boolean     NOT NULL,                      -- also while it is built
  is_indexed    boolean     NOT NULL DEFAULT false,        -- those indexes that come after the load are there
  caught_up_at  timestamptz,                               -- when it first reached the end of the log
  paused_at     timestamptz,
  failure       jsonb,                                     -- why it stopped: {position, stream, …, problem, at}
  created_at    timestamptz NOT NULL DEFAULT statement_timestamp(),
  live_since    timestamptz,
  UNIQUE (name, role) DEFERRABLE
);

-- Everything up to `position` is applied. Part -1 is the whole build; while it is loaded in parallel, parts 0 … 15 of its
-- streams are ahead of that, each by itself. Moved from a known position only, in the transaction that applies the
-- events: so no event is applied twice, whoever thinks that the build is his.
CREATE TABLE projection_checkpoints (
  build      integer     NOT NULL REFERENCES projection_builds ON DELETE CASCADE,
  part       smallint    NOT NULL,
  position   bigint      NOT NULL,
  applied    bigint      NOT NULL DEFAULT 0,               -- events
  updated_at timestamptz NOT NULL DEFAULT statement_timestamp(),
  PRIMARY KEY (build, part)
) WITH (fillfactor = 50);

-- One runner a build. A lease ends when it is not renewed in time, or when the advisory lock `presence`, which its owner
-- holds as long as it is connected, is gone.
CREATE TABLE projection_leases (
  build      integer     PRIMARY KEY REFERENCES projection_builds ON DELETE CASCADE,
  owner      uuid,
  presence   integer,
  process    text,                                         -- host and process id, for people
  epoch      bigint      NOT NULL DEFAULT 0,               -- rises with every owner
  expires_at timestamptz NOT NULL DEFAULT '-infinity',
  rate       bigint      NOT NULL DEFAULT 0                -- events a second, lately
) WITH (fillfactor = 50);

-- Events that a projection could not apply and was told to pass over. Each refers to the event; no payload is here.
CREATE TABLE projection_skipped (
  build    integer     NOT NULL REFERENCES projection_builds ON DELETE CASCADE,
  position bigint      NOT NULL,
  stream   text        COLLATE "C" NOT NULL,
  version  bigint      NOT NULL,
  type     text        COLLATE "C" NOT NULL,
  event_id uuid        NOT NULL,
  problem  text        NOT NULL,
  at       timestamptz NOT NULL DEFAULT statement_timestamp(),
  PRIMARY KEY (build, position)
);
