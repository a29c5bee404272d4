-- append: adds events to streams; every append of the call gets its own verdict as data, never as an exception.
--
-- One entry an append (the events of one caller for one stream); ordered by stream id, so that two calls wait for
-- each other in one order only:
--   stream_ids  bigint[]  the stream's id; 0 where the caller does not know it and gives the name
--   names       text[]    the stream's name where the id is 0, else null; null altogether when every id is known
--   expected    bigint[]  >= 0 exactly this version (0: no stream), -1 any version, -2 any but an empty stream
--   groups      int[]     appends of one group stand or fall together; null when each stands alone
--   proven      boolean[] the caller has seen the expected version committed; as events are never removed it need not
--                         be looked up, and UNIQUE (stream_id, version) finds whoever was there before
--   first_ids   uuid[]    the id of its first event: finds an earlier try of the same append
-- One entry an event, in order within its append:
--   append_of   int[]     which append, from 1
--   offsets     int[]     its distance, from 1, to the version that the stream has now
--   event_ids uuid[], types text[], schema_versions int[], occurred_at timestamptz[], metadata bytea[], data bytea[]
-- One entry a data key that the store may not have yet (null when there is none), and the append that needs it:
--   key_of int[], key_ids uuid[], key_subjects text[], key_masters text[], key_wrapped bytea[]
--
-- A call has for each stream either one append, or only appends that expect any version and stand alone.
--
-- Returns one row of arrays, one entry an append: its stream's id (0: no such stream, none made), the outcome
-- (0 appended, 1 version conflict, 2 done before, 3 refused with its group) and a version (the one before its first
-- event, not counting earlier appends of the call to the same stream; the stream's actual version; the one before the
-- first event of the earlier try); and the positions of the appended events, by stream id and then in order.
CREATE OR REPLACE FUNCTION append(
  stream_ids bigint[], names text[], expected bigint[], groups integer[], proven boolean[], first_ids uuid[],
  append_of integer[], offsets integer[], event_ids uuid[], types text[], schema_versions integer[],
  occurred_at timestamptz[], metadata bytea[], data bytea[],
  key_of integer[], key_ids uuid[], key_subjects text[], key_masters text[], key_wrapped bytea[],
  OUT out_stream_ids bigint[], OUT outcomes smallint[], OUT versions bigint[], OUT positions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_variable
DECLARE
  last_position bigint;
BEGIN
  -- 1. Announce: a shared lock whose key carries the last position drawn. Readers stop at the smallest such key (see
  --    horizon). In statements of their own before anything is drawn, and outside the exception block, because a
  --    sub-transaction that rolls back releases its locks.
  SELECT CASE WHEN q.is_called THEN q.last_value ELSE q.last_value - 1 END
    INTO last_position
    FROM events_position_seq q;
  IF last_position >= 281474976710655 THEN
    RAISE EXCEPTION 'position % is past the 48 bits that the horizon can express', last_position
      USING ERRCODE = 'program_limit_exceeded';
  END IF;
  PERFORM pg_advisory_xact_lock_shared(('events'::regclass::oid::bigint & 32767) << 48 | last_position);

  -- 2. Where every expected version is known to be there, insert. UNIQUE (stream_id, version) finds whoever was first.
  IF true = ALL (proven) AND names IS NULL AND key_ids IS NULL THEN
    BEGIN
      WITH appended AS (
        INSERT INTO events (stream_id, version, occurred_at, event_id, schema_version, shard, unplaced, type, metadata,
                            data)
        SELECT stream_ids[e.append_of], expected[e.append_of] + e.distance, e.occurred_at, e.event_id, e.schema_version,
               (stream_ids[e.append_of] & 255)::smallint, false, e.type, e.metadata, e.data
          FROM unnest(append_of, offsets, event_ids, types, schema_versions, occurred_at, metadata, data)
               AS e (append_of, distance, event_id, type, schema_version, occurred_at, metadata, data)
        RETURNING position
      )
      SELECT array_agg(position) INTO positions FROM appended;
      out_stream_ids := stream_ids;
      outcomes := array_fill(0::smallint, ARRAY[cardinality(expected)]);
      versions := expected;
      RETURN;
    EXCEPTION WHEN unique_violation THEN
      -- Some append of the call is late: look which, in a new snapshot.
      proven := array_fill(false, ARRAY[cardinality(proven)]);
    END;
  END IF;

  -- 3. Else look first.
  SELECT c.out_stream_ids, c.outcomes, c.versions, c.positions
    INTO out_stream_ids, outcomes, versions, positions
    FROM append_checked(stream_ids, names, expected, groups, proven, first_ids, append_of, offsets, event_ids, types,
                        schema_versions, occurred_at, metadata, data, key_of, key_ids, key_subjects, key_masters,
                        key_wrapped) AS c;
END
$$;
