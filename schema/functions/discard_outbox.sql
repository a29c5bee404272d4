-- discard_outbox: takes dead letters away for good: their events stay in the log. A key that was held by one goes on. Gives
-- how many. One transaction, which is written down with its reason: skip, or purge.
CREATE OR REPLACE FUNCTION discard_outbox(of_group integer, positions bigint[], reason text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  taken bigint;
BEGIN
  PERFORM FROM outbox_groups g WHERE g.group_id = of_group FOR NO KEY UPDATE;
  WITH letters AS (
    DELETE FROM outbox_parked p WHERE p.group_id = of_group AND p.position = ANY (positions) RETURNING p.*
  ), held AS (
    UPDATE outbox_keys k
       SET due_at = clock_timestamp()
      FROM letters l
     WHERE l.holds_key
       AND k.group_id = of_group
       AND k.key = l.key
       AND k.position = l.position
       AND k.due_at = 'infinity'
  )
  SELECT count(*) INTO taken FROM letters;
  IF taken > 0 THEN
    INSERT INTO outbox_audit (group_id, name, action, details)
    SELECT of_group, g.name, reason, jsonb_build_object('events', taken, 'positions', to_jsonb(positions[1:100]))
      FROM outbox_groups g
     WHERE g.group_id = of_group;
    UPDATE outbox_groups g SET revision = g.revision + 1 WHERE g.group_id = of_group;
  END IF;
  RETURN taken;
END
$$;
