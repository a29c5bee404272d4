-- lock_log: waits for the appends under way and keeps others off, until the transaction ends: to have the appends apply an
-- inline projection, or not any more, from one moment on.
CREATE OR REPLACE FUNCTION lock_log() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
  LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;
END
$$;
