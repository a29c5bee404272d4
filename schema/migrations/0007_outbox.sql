-- 0007_outbox: consumer groups over the log. The log itself is the queue: no row here for an event that goes well.
--
-- A *cursor* stands for some of a group's 256 shards and says how far they are. All cursors of a group together have every
-- shard once. A *member* owns cursors as long as it lives; who takes one over raises its epoch, and from then on nothing that
-- the former owner says of it is accepted.

CREATE TABLE outbox_groups (
  group_id   integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text        COLLATE "C" NOT NULL UNIQUE,
  definition jsonb       NOT NULL,                         -- filter, partition key, policy: see ConsumerGroup.swift
  revision   bigint      NOT NULL DEFAULT 1,               -- rises with whatever its members have to look at again
  paused_at  timestamptz,
  failure    jsonb,                                        -- why it has stopped: {position, …, problem, at}
  created_at timestamptz NOT NULL DEFAULT statement_timestamp()
) WITH (fillfactor = 50);

-- One row a consumer. It lives until `expires_at`, which it moves on; or until the advisory lock `presence`, which it holds
-- as long as it is connected, is gone.
CREATE TABLE outbox_members (
  member     uuid        PRIMARY KEY,
  group_id   integer     NOT NULL REFERENCES outbox_groups ON DELETE CASCADE,
  process    text        NOT NULL,                         -- host and process id, for people
  presence   integer,
  joined_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
  expires_at timestamptz NOT NULL,
  status     jsonb                                         -- what it says of itself: see MemberStatus.swift
) WITH (fillfactor = 50);
CREATE INDEX ON outbox_members (group_id);

-- Changes only when shards change hands.
CREATE TABLE outbox_cursors (
  cursor_id bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  group_id  integer  NOT NULL REFERENCES outbox_groups ON DELETE CASCADE,
  shards    bit(256) NOT NULL,                             -- bit 0 is shard 0
  member    uuid,                                          -- its owner, perhaps a dead one
  epoch     bigint   NOT NULL DEFAULT 0                    -- rises with every owner
) WITH (fillfactor = 50);
CREATE INDEX ON outbox_cursors (group_id);

-- How far the cursors are, moved every few milliseconds: apart from them, so that whoever looks at owners need not step over
-- the dead versions of these rows while some old transaction keeps vacuum away. For the same reason the owner finds the row
-- by its ctid and not by an index.
CREATE TABLE outbox_positions (
  cursor_id bigint PRIMARY KEY REFERENCES outbox_cursors ON DELETE CASCADE,
  epoch     bigint NOT NULL DEFAULT 0,                     -- the cursor's: the fence
  position  bigint NOT NULL,                               -- every event of its shards up to here is done …
  open      bytea,                                         -- … but these: see OpenPositions.swift
  floors    bigint[],                                      -- by shard: done up to there already, though beyond `position`
  handled   bigint NOT NULL DEFAULT 0                      -- how many events
) WITH (fillfactor = 50);

-- Keys that are behind their cursor: one of their events failed, or they have more than fits into memory. What comes after
-- `position` of such a key, up to its cursor, is still to be delivered. No payload is here, nor in the tables below.
CREATE TABLE outbox_keys (
  group_id        integer     NOT NULL REFERENCES outbox_groups ON DELETE CASCADE,
  key             text        COLLATE "C" NOT NULL,
  shard           smallint    NOT NULL,
  position        bigint      NOT NULL,                    -- up to here the key is done
  due_at          timestamptz NOT NULL,                    -- infinity: held until a person decides
  attempts        integer     NOT NULL,                    -- of the event that comes next
  first_failed_at timestamptz,
  problem         text,
  PRIMARY KEY (group_id, key)
);

-- Single events that are to be delivered, or delivered again, whatever their cursor says; later events of their key do not
-- wait for them.
CREATE TABLE outbox_deferred (
  group_id        integer     NOT NULL REFERENCES outbox_groups ON DELETE CASCADE,
  position        bigint      NOT NULL,
  key             text        COLLATE "C" NOT NULL,
  shard           smallint    NOT NULL,
  reason          text        NOT NULL CHECK (reason IN ('redrive', 'timer', 'replay')),
  due_at          timestamptz NOT NULL,
  attempts        integer     NOT NULL,
  first_failed_at timestamptz,
  problem         text,
  PRIMARY KEY (group_id, position)
);

-- Dead letters: events that were given up, each a reference.
CREATE TABLE outbox_parked (
  group_id        integer     NOT NULL REFERENCES outbox_groups ON DELETE CASCADE,
  position        bigint      NOT NULL,
  key             text        COLLATE "C" NOT NULL,
  shard           smallint    NOT NULL,
  stream          text        COLLATE "C" NOT NULL,
  version         bigint      NOT NULL,
  type            text        COLLATE "C" NOT NULL,
  event_id        uuid        NOT NULL,
  problem         text        NOT NULL,
  fingerprint     text        NOT NULL,                    -- the same for problems of one kind
  attempts        integer     NOT NULL,
  first_failed_at timestamptz NOT NULL,
  parked_at       timestamptz NOT NULL DEFAULT statement_timestamp(),
  consumer        text        NOT NULL,                    -- host and process id
  holds_key       boolean     NOT NULL,                    -- later events of the key wait for a decision
  PRIMARY KEY (group_id, position)
);
CREATE INDEX ON outbox_parked (group_id, fingerprint);

-- What people did.
CREATE TABLE outbox_audit (
  audit_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  group_id integer     REFERENCES outbox_groups ON DELETE SET NULL,
  name     text        COLLATE "C" NOT NULL,               -- the group's
  action   text        NOT NULL,
  details  jsonb       NOT NULL,
  by       text        NOT NULL DEFAULT session_user,
  at       timestamptz NOT NULL DEFAULT statement_timestamp()
);
