-- outbox_merge: makes one cursor of two that have the same owner. Where they are together the owner has worked out: nothing
-- may be in flight of either.
CREATE OR REPLACE FUNCTION outbox_merge(
  one bigint, one_epoch bigint, other bigint, other_epoch bigint, reached bigint, still_open bytea, above bigint[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  mine integer;
  more bit(256);
  was  bigint;
BEGIN
  SELECT c.group_id INTO mine FROM outbox_cursors c WHERE c.cursor_id = one;
  PERFORM FROM outbox_groups g WHERE g.group_id = mine FOR NO KEY UPDATE;
  DELETE FROM outbox_positions p
   WHERE p.cursor_id = other
     AND p.epoch = other_epoch
  RETURNING p.handled INTO was;
  DELETE FROM outbox_cursors c WHERE c.cursor_id = other AND c.epoch = other_epoch RETURNING c.shards INTO more;
  IF was IS NULL OR more IS NULL THEN
    RAISE EXCEPTION 'cursor % is not at epoch % any more', other, other_epoch USING ERRCODE = 'ESO01';
  END IF;
  UPDATE outbox_cursors c
     SET shards = c.shards | more,
         epoch  = greatest(one_epoch, other_epoch) + 1
   WHERE c.cursor_id = one
     AND c.epoch = one_epoch;
  UPDATE outbox_positions p
     SET epoch    = greatest(one_epoch, other_epoch) + 1,
         position = reached,
         open     = still_open,
         floors   = above,
         handled  = p.handled + was
   WHERE p.cursor_id = one
     AND p.epoch = one_epoch;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'cursor % is not at epoch % any more', one, one_epoch USING ERRCODE = 'ESO01';
  END IF;
END
$$;
