-- horizon_lock: announces an append before it draws positions.
--
-- Takes a shared, transaction-level advisory lock on (namespace << 48 | last position drawn so far). Readers stop
-- at the smallest such key (see horizon). It must run in a statement of its own before the positions are drawn, and
-- outside any exception block, because a sub-transaction that rolls back releases its locks.
CREATE OR REPLACE FUNCTION horizon_lock() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  last_position bigint;
BEGIN
  SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END
    INTO last_position
    FROM events_position_seq;
  IF last_position >= 281474976710655 THEN
    RAISE EXCEPTION 'position % is past the 48 bits that the horizon can express', last_position
      USING ERRCODE = 'program_limit_exceeded';
  END IF;
  PERFORM pg_advisory_xact_lock_shared(horizon_namespace() << 48 | last_position);
END
$$;
