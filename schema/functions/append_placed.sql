-- append_placed: appends many events of many streams at versions that the caller has seen to be free: the version before
-- the first of each stream's was seen committed, and the rest follow without a gap. As events are never removed nothing
-- needs to be looked up, and UNIQUE (stream_id, version) finds whoever was there before.
--
-- unplaced: whether an event's append expected no exact version, so that this is only where the caller believes the
-- stream's end; null when all did. An earlier try of such a one is found by UNIQUE (stream_id, event_id).
--
-- One entry an event. Two calls wait for each other where they want the same version, so streams come in ascending
-- order of their ids (else two calls can deadlock), and each stream's events in order.
--
-- Names are as in append_event.
--
-- Returns the positions, in the same order. When any version is taken nothing is appended, and the last row is null,
-- whatever rows are before it: append says which. The same when an event is there already.
CREATE OR REPLACE FUNCTION :"schema".append_placed(
  stream_ids bigint[], versions bigint[], unplaced boolean[], event_ids uuid[], types text[],
  schema_versions integer[], occurred_at timestamptz[], metadata bytea[], data bytea[]
)
RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
#variable_conflict use_variable
BEGIN
  -- Announce, as append does.
  IF pg_catalog.pg_advisory_xact_lock_shared(
       pg_catalog.int8or(
         pg_catalog.int8shl(pg_catalog.int8and(':"schema".events'::pg_catalog.regclass::pg_catalog.oid::bigint, 32767), 48),
         coalesce(pg_catalog.pg_sequence_last_value(':"schema".events_position_seq'), 0))) IS NULL THEN
    NULL;
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
EXCEPTION WHEN unique_violation THEN
  -- The rows from before stay in the result.
  RETURN NEXT NULL;
END
$$;
