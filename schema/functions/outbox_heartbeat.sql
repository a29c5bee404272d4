-- outbox_heartbeat: prolongs a member's lease, and tells it all that it has to know: one statement. No row: it is no member
-- any more.
CREATE OR REPLACE FUNCTION outbox_heartbeat(me uuid, milliseconds bigint, held_presence integer, said text)
RETURNS TABLE (
  revision     bigint,
  is_paused    boolean,
  has_stopped  boolean,
  own_cursors  bigint[],
  own_epochs   bigint[],
  own_shards   integer,
  other_members text[],     -- that live …
  other_shards bigint[],    -- … and what they own
  free_shards  integer,     -- that nobody owns who lives
  at           timestamptz  -- by the server's clock
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  mine integer;
  live uuid[];
BEGIN
  UPDATE outbox_members m
     SET expires_at = clock_timestamp() + milliseconds * interval '1 millisecond',
         -- Behind a proxy that shares sessions the lock may go while its connection stays: then only time counts.
         presence   = CASE WHEN is_present('outbox_members', held_presence) THEN held_presence END,
         status     = said::jsonb
   WHERE m.member = me
  RETURNING m.group_id INTO mine;
  IF mine IS NULL THEN
    RETURN;
  END IF;
  live := ARRAY (SELECT l.member FROM live_outbox_members(mine) l WHERE l.member <> me ORDER BY l.member);
  RETURN QUERY
  SELECT g.revision, g.paused_at IS NOT NULL, g.failure IS NOT NULL,
         coalesce(array_agg(c.cursor_id ORDER BY c.cursor_id) FILTER (WHERE c.member = me), '{}'),
         coalesce(array_agg(c.epoch ORDER BY c.cursor_id) FILTER (WHERE c.member = me), '{}'),
         coalesce(sum(bit_count(c.shards)) FILTER (WHERE c.member = me), 0)::integer,
         live::text[],
         ARRAY (SELECT coalesce((SELECT sum(bit_count(o.shards))
                                   FROM outbox_cursors o
                                  WHERE o.group_id = mine
                                    AND o.member = l.member), 0)::bigint
                  FROM unnest(live) WITH ORDINALITY AS l (member, place)
                 ORDER BY l.place),
         coalesce(sum(bit_count(c.shards))
                    FILTER (WHERE c.member IS NULL OR NOT (c.member = me OR c.member = ANY (live))), 0)::integer,
         clock_timestamp()
    FROM outbox_groups g
    LEFT JOIN outbox_cursors c ON c.group_id = g.group_id
   WHERE g.group_id = mine
   GROUP BY g.group_id;
END
$$;
