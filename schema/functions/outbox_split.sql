-- outbox_split: gives some shards of an owner's cursor to another member, or to nobody (null). Whoever gets them goes on where
-- the cursor is: nothing of these shards may be in flight.
CREATE OR REPLACE FUNCTION outbox_split(cursor bigint, of_epoch bigint, given bit(256), to_member uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  mine   integer;
  number bigint;
  rest   bit(256);
BEGIN
  SELECT c.group_id INTO mine FROM outbox_cursors c WHERE c.cursor_id = cursor;
  PERFORM FROM outbox_groups g WHERE g.group_id = mine FOR NO KEY UPDATE;
  SELECT c.shards & ~given INTO rest FROM outbox_cursors c WHERE c.cursor_id = cursor AND c.epoch = of_epoch FOR UPDATE;
  IF rest IS NULL THEN
    RAISE EXCEPTION 'cursor % is not at epoch % any more: another member has taken it over', cursor, of_epoch
      USING ERRCODE = 'ESO01';
  END IF;
  IF rest = 0::bit(256) THEN
    UPDATE outbox_cursors c SET member = to_member, epoch = c.epoch + 1 WHERE c.cursor_id = cursor;
    UPDATE outbox_positions p SET epoch = p.epoch + 1 WHERE p.cursor_id = cursor;
  ELSE
    -- Epochs only rise, for each shard: handlers may fence with them.
    INSERT INTO outbox_cursors (group_id, shards, member, epoch)
    SELECT mine, c.shards & given, to_member, of_epoch + 1 FROM outbox_cursors c WHERE c.cursor_id = cursor
    RETURNING cursor_id INTO number;
    INSERT INTO outbox_positions (cursor_id, epoch, position, open, floors)
    SELECT number, of_epoch + 1, p.position, p.open, p.floors FROM outbox_positions p WHERE p.cursor_id = cursor;
    UPDATE outbox_cursors c SET shards = rest WHERE c.cursor_id = cursor;
  END IF;
END
$$;
