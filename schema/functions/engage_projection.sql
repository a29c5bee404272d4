-- engage_projection: from the end of this transaction on, a build is applied in the transactions of the appends (or is
-- not any more: then its checkpoint is the end of the log). The caller holds the lock on events that excludes appends.
CREATE OR REPLACE FUNCTION engage_projection(build integer, is_engaged boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
  UPDATE projection_builds b
     SET is_engaged = engage_projection.is_engaged
   WHERE b.build = engage_projection.build
     AND b.is_engaged <> engage_projection.is_engaged;
  IF NOT FOUND THEN
    -- Another was first: its checkpoint is its own business by now.
    RETURN;
  END IF;
  UPDATE projection_checkpoints c
     SET position = coalesce((SELECT max(e.position) FROM events e), 0), updated_at = clock_timestamp()
   WHERE c.build = engage_projection.build
     AND c.part = -1
     AND NOT engage_projection.is_engaged;
  -- Made once, then switched on and off: to drop it would take a lock that readers of the log hold off.
  IF EXISTS (SELECT FROM projection_builds b WHERE b.is_engaged) THEN
    IF NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = 'events'::regclass AND t.tgname = 'events_inline') THEN
      CREATE TRIGGER events_inline
        BEFORE INSERT ON events
        FOR EACH STATEMENT EXECUTE FUNCTION require_inline();
    END IF;
    ALTER TABLE events ENABLE TRIGGER events_inline;
  ELSIF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = 'events'::regclass AND t.tgname = 'events_inline') THEN
    ALTER TABLE events DISABLE TRIGGER events_inline;
  END IF;
END
$$;
