-- append_placed: appends many events of many streams at versions that the caller believes to be free: of a stream that is
-- there, the version before the first was seen committed; of one that is not, they begin with 1; and the rest follow
-- without a gap. As events are never removed nothing needs to be looked up, and unique indexes find whoever was there
-- before.
--
-- One entry an event:
--   stream_ids  bigint[]   of the events of streams that are there, which come first
--   name_of     integer[]  of the others, which of names, from 1; null when there are none
--   unplaced    boolean[]  whether the event's append expected no exact version, so that this is only where the caller
--                          believes the stream's end; null when all did. An earlier try of such a one is found by
--                          UNIQUE (stream_id, event_id).
--   the others as in append_event
-- One entry a stream that is to be made: names text[]; null when there is none.
-- One entry a data key that the store may not have yet: key_ids uuid[] and so on; null when there is none.
--
-- Two calls wait for each other where they want the same, so names come in ascending order, then streams in ascending order
-- of their ids (else two calls can deadlock), and each stream's events in order.
--
-- Returns the positions, in the same order, and then the ids of the new streams, in the order of names. When a version is
-- taken, or a name, nothing is appended, and the last row is null, whatever rows are before it: append says which. The same
-- when an event is there already, or a new stream's category is not.
CREATE OR REPLACE FUNCTION :"schema".append_placed(
  stream_ids bigint[], versions bigint[], unplaced boolean[], event_ids uuid[], types text[],
  schema_versions integer[], occurred_at timestamptz[], metadata bytea[], data bytea[],
  names text[], name_of integer[],
  key_ids uuid[], key_subjects text[], key_masters text[], key_wrapped bytea[]
)
RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
#variable_conflict use_variable
DECLARE
  made bigint[];
  announced integer;
BEGIN
  -- Announce, as append does.
  IF pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL THEN
    -- Empty once a transaction of the session had set it.
    announced := pg_catalog.concat('0', pg_catalog.current_setting('eventstore.announced', true))::integer;
    IF pg_catalog.set_config('eventstore.announced', pg_catalog.int4pl(announced, 1)::pg_catalog.text, true) IS NULL THEN
      NULL;
    END IF;
  END IF;
  IF pg_catalog.pg_advisory_xact_lock_shared(
       pg_catalog.int8or(
         pg_catalog.int8shl(pg_catalog.int8and(':"schema".events'::pg_catalog.regclass::pg_catalog.oid::bigint, 32767), 48),
         pg_catalog.int8and(
           coalesce(pg_catalog.pg_sequence_last_value(':"schema".events_position_seq'), 0),
           CASE WHEN pg_catalog.int4ge(announced, 100)
                THEN pg_catalog.int8um(
                       pg_catalog.int8shl(
                         1, pg_catalog.int4mi(pg_catalog.length(pg_catalog.ltrim(announced::bit(31)::pg_catalog.text, '0')), 2)))
                ELSE -1 END))) IS NULL THEN
    NULL;
  END IF;

  IF names IS NOT NULL THEN
    WITH made AS (
      INSERT INTO :"schema".streams (stream_id, name)
      SELECT pg_catalog.int8or(
               pg_catalog.int8or(
                 pg_catalog.int8shl(
                   (SELECT c.category_id FROM :"schema".categories c
                     WHERE c.name OPERATOR(pg_catalog.=) pg_catalog.split_part(n.name, '-', 1))::bigint, 48),
                 pg_catalog.int8shl(pg_catalog.nextval(':"schema".stream_numbers'), 8)),
               pg_catalog.get_byte(pg_catalog.sha256(pg_catalog.convert_to(n.name, 'UTF8')), 0)),
             n.name
        FROM pg_catalog.unnest(names) AS n (name)
      RETURNING stream_id
    )
    SELECT pg_catalog.array_agg(m.stream_id) INTO made FROM made m;
    stream_ids := pg_catalog.array_cat(
      stream_ids, ARRAY (SELECT made[o.number] FROM pg_catalog.unnest(name_of) AS o (number)));
  END IF;

  IF key_ids IS NOT NULL THEN
    INSERT INTO :"schema".data_keys (key_id, subject, master_key_id, wrapped_key)
    SELECT k.key_id, k.subject, k.master_key_id, k.wrapped_key
      FROM ROWS FROM (pg_catalog.unnest(key_ids), pg_catalog.unnest(key_subjects), pg_catalog.unnest(key_masters),
                      pg_catalog.unnest(key_wrapped))
           AS k (key_id, subject, master_key_id, wrapped_key)
     ORDER BY k.key_id
        ON CONFLICT DO NOTHING;
  END IF;

  -- Arrays are unnested in the select list: as functions in FROM each would be written into a store of rows of its own.
  RETURN QUERY
    INSERT INTO :"schema".events (stream_id, version, occurred_at, event_id, schema_version, shard, unplaced, type,
                                  metadata, data)
    SELECT e.stream_id, e.version, e.occurred_at, e.event_id, e.schema_version,
           pg_catalog.int8and(e.stream_id, 255)::smallint, coalesce(e.unplaced, false), e.type, e.metadata, e.data
      FROM (SELECT pg_catalog.unnest(stream_ids), pg_catalog.unnest(versions), pg_catalog.unnest(unplaced),
                   pg_catalog.unnest(event_ids), pg_catalog.unnest(types), pg_catalog.unnest(schema_versions),
                   pg_catalog.unnest(occurred_at), pg_catalog.unnest(metadata), pg_catalog.unnest(data))
           AS e (stream_id, version, unplaced, event_id, type, schema_version, occurred_at, metadata, data)
    RETURNING position;
  IF names IS NOT NULL THEN
    RETURN QUERY SELECT pg_catalog.unnest(made);
  END IF;
EXCEPTION WHEN unique_violation OR not_null_violation THEN
  -- The rows from before stay in the result.
  RETURN NEXT NULL;
END
$$;
