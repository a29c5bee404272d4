-- redrive_outbox: lets dead letters be tried again, at most so many a second; those of a key that is held in its order. Gives
-- how many. One transaction, which is written down.
CREATE OR REPLACE FUNCTION redrive_outbox(of_group integer, positions bigint[], a_second double precision) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  taken bigint;
BEGIN
  PERFORM FROM outbox_groups g WHERE g.group_id = of_group FOR NO KEY UPDATE;
  WITH letters AS (
    DELETE FROM outbox_parked p WHERE p.group_id = of_group AND p.position = ANY (positions) RETURNING p.*
  ), due AS (
    SELECT l.*,
           clock_timestamp() + coalesce((row_number() OVER (ORDER BY l.position) - 1) / a_second, 0) * interval '1 second'
             AS due_at
      FROM letters l
  ), held AS (
    -- What comes after it waits already: it is the key's next event again.
    UPDATE outbox_keys k
       SET position = d.position - 1,
           due_at   = d.due_at,
           attempts = 0,
           problem  = d.problem
      FROM due d
     WHERE d.holds_key
       AND k.group_id = of_group
       AND k.key = d.key
       AND k.position = d.position
       AND k.due_at = 'infinity'
    RETURNING d.position
  ), single AS (
    INSERT INTO outbox_deferred (group_id, position, key, shard, reason, due_at, attempts, first_failed_at, problem)
    SELECT of_group, d.position, d.key, d.shard, 'redrive', d.due_at, 0, NULL, d.problem
      FROM due d
     WHERE NOT EXISTS (SELECT FROM held h WHERE h.position = d.position)
    ON CONFLICT (group_id, position) DO NOTHING
  )
  SELECT count(*) INTO taken FROM due;
  IF taken > 0 THEN
    INSERT INTO outbox_audit (group_id, name, action, details)
    SELECT of_group, g.name, 'redrive', jsonb_build_object('events', taken, 'positions', to_jsonb(positions[1:100]))
      FROM outbox_groups g
     WHERE g.group_id = of_group;
    UPDATE outbox_groups g SET revision = g.revision + 1 WHERE g.group_id = of_group;
  END IF;
  RETURN taken;
END
$$;
