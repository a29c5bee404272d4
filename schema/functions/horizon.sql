-- horizon: the position up to which everything is decided. Every event at or below it that will ever be committed
-- is visible to any statement that starts after this one has returned.
--
-- The order is the proof: first the last position drawn, then the locks of appends that are still open, and the
-- events themselves only in a later statement with a snapshot of its own (READ COMMITTED).
--
-- The upper 16 bits of the keys come from the identity of the events table. Two stores of one database that happen to
-- share them can stall each other's readers, never make them skip.
CREATE OR REPLACE FUNCTION horizon() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  last_position bigint;
  held_position bigint;
BEGIN
  -- A standby does not see the locks of the primary's appends, and its sequence runs ahead: it would skip events.
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'the server is a standby, which cannot tell how far the log is decided'
      USING ERRCODE = 'cannot_connect_now',
            HINT = 'Connect to the primary: target_session_attrs=primary.';
  END IF;
  SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END
    INTO last_position
    FROM events_position_seq;
  SELECT min((classid::bigint & 65535) << 32 | objid::bigint)
    INTO held_position
    FROM pg_locks
   WHERE locktype = 'advisory'
     AND objsubid = 1
     AND mode = 'ShareLock'
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND classid::bigint >> 16 = ('events'::regclass::oid::bigint & 32767);
  RETURN least(last_position, held_position);
END
$$;
