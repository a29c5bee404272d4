-- outbox_claim: gives a member cursors that nobody owns who lives, until it has `most` shards; of the last it may take a
-- part. The group's row is locked: claims, splits and merges of a group come one after the other.
CREATE OR REPLACE FUNCTION outbox_claim(me uuid, most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  mine   integer;
  live   uuid[];
  room   integer;
  got    integer := 0;
  free   record;
  part   bit(256);
  number bigint;
BEGIN
  SELECT m.group_id INTO mine FROM outbox_members m WHERE m.member = me;
  IF mine IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM FROM outbox_groups g WHERE g.group_id = mine FOR NO KEY UPDATE;
  live := ARRAY (SELECT l.member FROM live_outbox_members(mine) l);
  IF NOT me = ANY (live) THEN
    RETURN 0;
  END IF;
  SELECT most - coalesce(sum(bit_count(c.shards)), 0) INTO room FROM outbox_cursors c WHERE c.member = me;
  FOR free IN
    SELECT c.cursor_id, c.shards, bit_count(c.shards)::integer AS count
      FROM outbox_cursors c
     WHERE c.group_id = mine
       AND (c.member IS NULL OR NOT c.member = ANY (live))
     ORDER BY c.cursor_id
       FOR UPDATE
  LOOP
    EXIT WHEN room <= 0;
    -- From here on the former owner moves nothing. Before anything is copied: it may have been moving it.
    UPDATE outbox_cursors c SET member = me, epoch = c.epoch + 1 WHERE c.cursor_id = free.cursor_id;
    UPDATE outbox_positions p SET epoch = p.epoch + 1 WHERE p.cursor_id = free.cursor_id;
    IF free.count > room THEN
      -- Its first shards are this member's; the others go to a cursor of their own, which stays free.
      SELECT bit_or(set_bit(0::bit(256), s.shard, 1)) INTO part
        FROM (SELECT n AS shard
                FROM generate_series(0, 255) n
               WHERE get_bit(free.shards, n) = 1
               ORDER BY n
               LIMIT room) s;
      INSERT INTO outbox_cursors (group_id, shards, epoch)
      SELECT mine, free.shards & ~part, c.epoch FROM outbox_cursors c WHERE c.cursor_id = free.cursor_id
      RETURNING cursor_id INTO number;
      INSERT INTO outbox_positions (cursor_id, epoch, position, open, floors)
      SELECT number, p.epoch, p.position, p.open, p.floors FROM outbox_positions p WHERE p.cursor_id = free.cursor_id;
      UPDATE outbox_cursors c SET shards = part WHERE c.cursor_id = free.cursor_id;
      free.count := room;
    END IF;
    room := room - free.count;
    got := got + free.count;
  END LOOP;
  -- Nothing is theirs any more.
  DELETE FROM outbox_members m
   WHERE m.group_id = mine
     AND NOT m.member = ANY (live)
     AND NOT EXISTS (SELECT FROM outbox_cursors c WHERE c.member = m.member);
  RETURN got;
END
$$;
