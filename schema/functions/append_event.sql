-- append_event: append_placed for a single event that is a transaction of its own: it needs neither arrays nor a
-- sub-transaction.
--
-- Returns the position. Raises unique_violation when the version is taken, or an unplaced event is there already: ON
-- CONFLICT would say so quietly, but inserts in two steps, which costs a lone append 8 %.
--
-- Every name is qualified, operators are called as functions, and no search_path is set: setting it costs a tenth of
-- the call.
CREATE OR REPLACE FUNCTION :"schema".append_event(
  stream_id bigint, version bigint, unplaced boolean, event_id uuid, type text, schema_version integer,
  occurred_at timestamptz, metadata bytea, data bytea
)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
#variable_conflict use_column
DECLARE
  appended bigint;
BEGIN
  -- Announce, as append does.
  IF pg_catalog.pg_advisory_xact_lock_shared(
       pg_catalog.int8or(
         pg_catalog.int8shl(pg_catalog.int8and(':"schema".events'::pg_catalog.regclass::pg_catalog.oid::bigint, 32767), 48),
         coalesce(pg_catalog.pg_sequence_last_value(':"schema".events_position_seq'), 0))) IS NULL THEN
    NULL;
  END IF;
  INSERT INTO :"schema".events AS e (stream_id, version, occurred_at, event_id, schema_version, shard, unplaced, type,
                                    metadata, data)
  VALUES (append_event.stream_id, append_event.version, append_event.occurred_at, append_event.event_id,
          append_event.schema_version, pg_catalog.int8and(append_event.stream_id, 255)::smallint, append_event.unplaced,
          append_event.type, append_event.metadata, append_event.data)
  RETURNING e.position INTO appended;
  RETURN appended;
END
$$;
