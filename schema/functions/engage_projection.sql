-- engage_projection: from the end of this transaction on, a build is applied in the transactions of the appends (or is
-- not any more: then its checkpoint is the end of the log). The caller holds the lock on events that excludes appends.
CREATE OR REPLACE FUNCTION engage_projection(build integer, is_engaged boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
  UPDATE projection_builds b
     SET is_engaged = engage_projection.is_engaged
   WHERE b.build = engage_projection.build;
  UPDATE projection_checkpoints c
     SET position = coalesce((SELECT max(e.position) FROM events e), 0), updated_at = clock_timestamp()
   WHERE c.build = engage_projection.build
     AND c.part = -1
     AND NOT engage_projection.is_engaged;
  -- A session's setting of an earlier transaction is an empty text: see require_inline.
  DROP TRIGGER IF EXISTS events_inline ON events;
  IF EXISTS (SELECT FROM projection_builds b WHERE b.is_engaged) THEN
    CREATE TRIGGER events_inline
      BEFORE INSERT ON events
      FOR EACH STATEMENT EXECUTE FUNCTION require_inline();
  END IF;
END
$$;
