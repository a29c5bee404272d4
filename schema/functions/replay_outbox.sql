-- replay_outbox: gives a group some events once more, apart from the order of their keys. One transaction, which is written down.
CREATE OR REPLACE FUNCTION replay_outbox(
  of_group integer, positions bigint[], keys text[], shards bigint[], first bigint, last bigint
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
  PERFORM FROM outbox_groups g WHERE g.group_id = of_group FOR NO KEY UPDATE;
  INSERT INTO outbox_deferred (group_id, position, key, shard, reason, due_at, attempts)
  SELECT of_group, e.position, e.key, e.shard, 'replay', clock_timestamp(), 0
    FROM unnest(positions, keys, shards) AS e (position, key, shard)
      ON CONFLICT (group_id, position) DO NOTHING;
  INSERT INTO outbox_audit (group_id, name, action, details)
  SELECT of_group, g.name, 'replay', jsonb_build_object('events', cardinality(positions), 'after', first, 'upTo', last)
    FROM outbox_groups g
   WHERE g.group_id = of_group;
  UPDATE outbox_groups g SET revision = g.revision + 1 WHERE g.group_id = of_group;
END
$$;
