-- seek_outbox_group: lets a group go on after a position, whatever it was doing: its members lose their cursors, and take
-- them again. Keys that were behind, and events that were to come again, are forgotten; dead letters stay.
CREATE OR REPLACE FUNCTION seek_outbox_group(of_group integer, to_position bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  kept   bigint;
  raised bigint;
BEGIN
  PERFORM FROM outbox_groups g WHERE g.group_id = of_group FOR NO KEY UPDATE;
  SELECT min(c.cursor_id), max(c.epoch) + 1 INTO kept, raised FROM outbox_cursors c WHERE c.group_id = of_group;
  -- Their epochs go on rising: what a member still says of an old one is not accepted.
  UPDATE outbox_positions p
     SET epoch    = raised,
         position = to_position,
         open     = NULL,
         floors   = NULL
   WHERE p.cursor_id = kept;
  UPDATE outbox_cursors c SET shards = ~0::bit(256), member = NULL, epoch = raised WHERE c.cursor_id = kept;
  DELETE FROM outbox_positions p
   USING outbox_cursors c
   WHERE p.cursor_id = c.cursor_id
     AND c.group_id = of_group
     AND c.cursor_id <> kept;
  DELETE FROM outbox_cursors c WHERE c.group_id = of_group AND c.cursor_id <> kept;
  DELETE FROM outbox_keys k WHERE k.group_id = of_group;
  DELETE FROM outbox_deferred d WHERE d.group_id = of_group;
  -- What they held back is forgotten.
  UPDATE outbox_parked d SET holds_key = false WHERE d.group_id = of_group AND d.holds_key;
  UPDATE outbox_groups g SET revision = g.revision + 1 WHERE g.group_id = of_group;
END
$$;
