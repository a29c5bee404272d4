-- outbox_begin: raises the epoch of a member's own cursor, which begins anew there, and gives where it is. Whatever the member sent
-- before under the old epoch, and may still be on its way, is seen here or not accepted any more. No row: it is another's.
CREATE OR REPLACE FUNCTION outbox_begin(cursor bigint, me uuid)
RETURNS TABLE (epoch bigint, shards bit(256), reached bigint, still_open bytea, above bigint[], place text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  raised bigint;
  mine   bit(256);
BEGIN
  UPDATE outbox_cursors c
     SET epoch = c.epoch + 1
   WHERE c.cursor_id = cursor
     AND c.member = me
  RETURNING c.epoch, c.shards INTO raised, mine;
  IF raised IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY
  UPDATE outbox_positions p
     SET epoch = raised
   WHERE p.cursor_id = cursor
  RETURNING raised, mine, p.position, p.open, p.floors, p.ctid::text;
END
$$;
