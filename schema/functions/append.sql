-- append: adds events to streams; every append of the call gets its own verdict as data, never as an exception.
-- It looks where each stream is. A caller who has seen that takes append_event or append_placed, and comes here when
-- those say that someone was there before.
--
-- One entry an append (the events of one caller for one stream); ordered by stream id, so that two calls wait for
-- each other in one order only:
--   stream_ids  bigint[]  the stream's id; 0 where the caller does not know it and gives the name
--   names       text[]    the stream's name where the id is 0, else null; null altogether when every id is known
--   expected    bigint[]  >= 0 exactly this version (0: no stream), -1 any version, -2 any but an empty stream
--   groups      int[]     appends of one group stand or fall together; null when each stands alone
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
  stream_ids bigint[], names text[], expected bigint[], groups integer[], first_ids uuid[],
  append_of integer[], offsets integer[], event_ids uuid[], types text[], schema_versions integer[],
  occurred_at timestamptz[], metadata bytea[], data bytea[],
  key_of integer[], key_ids uuid[], key_subjects text[], key_masters text[], key_wrapped bytea[],
  OUT out_stream_ids bigint[], OUT outcomes smallint[], OUT versions bigint[], OUT positions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
-- Planned once a session, and for a full table even when it is still empty: by index. (Else each call plans anew,
-- which costs more than it does.)
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
  violated text;
  announced integer;  -- How often this transaction has, before; null: it has not, or only once.
BEGIN
  -- 1. Announce: a shared lock whose key carries the last position drawn. Readers stop at the smallest such key (see
  --    horizon). In a statement of its own before anything is looked up or drawn, and outside the exception block,
  --    because a sub-transaction that rolls back releases its locks.
  --    Each is an entry of the server's lock table, which all databases share. A transaction that has made n appends, and so
  --    has drawn n positions at least since its first lock, rounds down to a power of 2 that is n / 2 at most: few locks for
  --    many appends, and none below the first. (Were n wrong, the position would still only be too small, which is safe.)
  IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
    -- Empty once a transaction of the session had set it.
    announced := concat('0', current_setting('eventstore.announced', true))::integer;
    IF set_config('eventstore.announced', (announced + 1)::text, true) IS NULL THEN
      NULL;  -- Never; an IF because PL/pgSQL evaluates its condition without planning a query.
    END IF;
  END IF;
  IF pg_advisory_xact_lock_shared(('events'::regclass::oid::bigint & 32767) << 48
                                  | coalesce(pg_sequence_last_value('events_position_seq'), 0)
                                    & CASE WHEN announced >= 100
                                           THEN -(1::bigint << length(ltrim(announced::bit(31)::text, '0')) - 2)
                                           ELSE -1 END) IS NULL THEN
    NULL;
  END IF;

  -- 2. Names to ids. A stream is made only for an append that may be its first.
  out_stream_ids := stream_ids;
  IF names IS NOT NULL THEN
    out_stream_ids := ARRAY (
      WITH made AS MATERIALIZED (
        SELECT s.name, s.stream_id
          FROM stream_ids(ARRAY (
                 SELECT n.name
                   FROM unnest(names, expected) AS n (name, expected)
                  WHERE n.name IS NOT NULL AND n.expected IN (0, -1))) AS s
      )
      SELECT CASE WHEN a.stream_id <> 0 THEN a.stream_id ELSE coalesce(m.stream_id, s.stream_id, 0) END
        FROM unnest(stream_ids, names) WITH ORDINALITY AS a (stream_id, name, ord)
        LEFT JOIN made m ON m.name = a.name
        LEFT JOIN streams s ON s.name = a.name
       ORDER BY a.ord);
    -- Else two could be told the same version. The caller sends them one by one.
    IF EXISTS (SELECT
                 FROM unnest(out_stream_ids, expected) AS a (stream_id, expected)
                WHERE a.stream_id <> 0
                GROUP BY a.stream_id
               HAVING count(*) > 1 AND bool_or(a.expected <> -1)) THEN
      RAISE EXCEPTION 'a stream stands twice in one call, once with an expected version'
        USING ERRCODE = 'invalid_parameter_value';
    END IF;
  END IF;

  FOR attempt IN 1 .. 100 LOOP
    -- 3. Where is each stream now? Before the insert: only so do positions follow versions.
    versions := ARRAY (
      SELECT coalesce((SELECT e.version
                         FROM events e
                        WHERE e.stream_id = a.stream_id
                        ORDER BY e.version DESC
                        LIMIT 1), 0)
        FROM unnest(out_stream_ids) WITH ORDINALITY AS a (stream_id, ord)
       ORDER BY a.ord);

    -- 4. Verdicts.
    outcomes := ARRAY (
      SELECT CASE WHEN a.expected = a.version OR a.expected = -1 OR (a.expected = -2 AND a.version > 0)
                  THEN 0 ELSE 1 END::smallint
        FROM unnest(expected, versions) WITH ORDINALITY AS a (expected, version, ord)
       ORDER BY a.ord);

    -- An earlier try of the same append is found by the id of its first event: at the expected place, or, where no
    -- place was expected, by the index of such events.
    IF 1 = ANY (outcomes) OR 0 > ANY (expected) THEN
      SELECT array_agg(CASE WHEN t.earlier IS NULL THEN t.outcome ELSE 2 END::smallint ORDER BY t.ord),
             array_agg(coalesce(t.earlier, t.version) ORDER BY t.ord)
        INTO outcomes, versions
        FROM (SELECT a.ord, a.outcome, a.version,
                     CASE
                       WHEN a.expected < 0 THEN
                         (SELECT e.version - 1 FROM events e
                           WHERE e.stream_id = a.stream_id AND e.unplaced
                             AND e.event_id = ANY (CASE WHEN attempt = 1 THEN ARRAY[a.first_id] ELSE ARRAY (
                                   SELECT u.event_id FROM unnest(append_of, event_ids) AS u (append_of, event_id)
                                    WHERE u.append_of = a.ord) END)
                           ORDER BY e.event_id = a.first_id DESC
                           LIMIT 1)
                       WHEN a.expected < a.version THEN
                         (SELECT a.expected FROM events e
                           WHERE e.stream_id = a.stream_id AND e.version = a.expected + 1
                             AND e.event_id = a.first_id)
                     END AS earlier
                FROM unnest(out_stream_ids, expected, first_ids, outcomes, versions) WITH ORDINALITY
                     AS a (stream_id, expected, first_id, outcome, version, ord)) AS t;
    END IF;

    -- A group with a member that cannot be appended is not appended.
    IF groups IS NOT NULL THEN
      outcomes := ARRAY (
        SELECT CASE WHEN a.outcome = 0 AND bool_or(a.outcome <> 0) OVER (PARTITION BY a.grp)
                    THEN 3::smallint ELSE a.outcome END
          FROM unnest(groups, outcomes) WITH ORDINALITY AS a (grp, outcome, ord)
         ORDER BY a.ord);
    END IF;

    -- 5. Draw positions and insert, in order of stream and version.
    BEGIN
      IF key_ids IS NOT NULL THEN
        INSERT INTO data_keys (key_id, subject, master_key_id, wrapped_key)
        SELECT k.key_id, k.subject, k.master_key_id, k.wrapped_key
          FROM unnest(key_of, key_ids, key_subjects, key_masters, key_wrapped)
               AS k (key_of, key_id, subject, master_key_id, wrapped_key)
         WHERE outcomes[k.key_of] = 0
         ORDER BY k.key_id
            ON CONFLICT DO NOTHING;
      END IF;

      IF names IS NULL AND 0 = ALL (outcomes) THEN
        WITH appended AS (
          INSERT INTO events (stream_id, version, occurred_at, event_id, schema_version, shard, unplaced, type,
                              metadata, data)
          SELECT out_stream_ids[e.append_of], versions[e.append_of] + e.distance, e.occurred_at, e.event_id,
                 e.schema_version, (out_stream_ids[e.append_of] & 255)::smallint, expected[e.append_of] < 0, e.type,
                 e.metadata, e.data
            -- In the select list, as in append_placed.
            FROM (SELECT unnest(append_of), unnest(offsets), unnest(event_ids), unnest(types), unnest(schema_versions),
                         unnest(occurred_at), unnest(metadata), unnest(data))
                 AS e (append_of, distance, event_id, type, schema_version, occurred_at, metadata, data)
          RETURNING position
        )
        SELECT array_agg(position) INTO positions FROM appended;
      ELSE
        -- The caller could not order new streams by id, nor count without the appends that are refused.
        WITH appended AS (
          INSERT INTO events (stream_id, version, occurred_at, event_id, schema_version, shard, unplaced, type,
                              metadata, data)
          SELECT s.stream_id, s.base + row_number() OVER (PARTITION BY s.stream_id ORDER BY s.ord), s.occurred_at,
                 s.event_id, s.schema_version, (s.stream_id & 255)::smallint, s.unplaced, s.type, s.metadata, s.data
            FROM (SELECT out_stream_ids[e.append_of] AS stream_id, versions[e.append_of] AS base,
                         expected[e.append_of] < 0 AS unplaced, e.*
                    FROM unnest(append_of, event_ids, types, schema_versions, occurred_at, metadata, data)
                         WITH ORDINALITY
                         AS e (append_of, event_id, type, schema_version, occurred_at, metadata, data, ord)
                   WHERE outcomes[e.append_of] = 0) AS s
           ORDER BY s.stream_id, s.ord
          RETURNING position
        )
        SELECT array_agg(position) INTO positions FROM appended;
      END IF;
      RETURN;
    EXCEPTION WHEN unique_violation THEN
      -- Another writer committed to one of the streams in between: look again, in a new snapshot. From now on every
      -- id of an append that expects no version is looked for, not only its first.
      GET STACKED DIAGNOSTICS violated = CONSTRAINT_NAME;
      IF violated = 'events_unplaced_key' AND attempt > 3 THEN
        -- Nobody else has these ids: two appends of this call share one. The caller sends them one by one.
        RAISE;
      END IF;
    END;
  END LOOP;
  RAISE EXCEPTION 'the append met other writers 100 times in a row' USING ERRCODE = 'serialization_failure';
END
$$;
